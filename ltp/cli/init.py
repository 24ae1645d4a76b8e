"""Start a study in a new folder: the Snakefile, the workflow, the grids and the profiles of this version of ltp."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import ltp
from ltp.common.errors import LTPError
from ltp.common.io import shown

EXAMPLE = "ltp init my-study && cd my-study && ltp plan && snakemake --cores all"

PARTS = ("config", "profiles", "workflow", "Snakefile")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``ltp init``."""
    parser.add_argument("directory", metavar="DIR", help="folder of the study; made where it is not there")


def run(arguments: argparse.Namespace) -> int:
    """``ltp init``: write the files and say what comes next."""
    directory = Path(arguments.directory)
    write_study(directory)
    print(f"{shown(directory)}: holds {', '.join(PARTS)}; next, there: edit config/grid.yaml, snakemake --cores all")
    return 0


def write_study(directory: Path) -> None:
    """Copy a study's files into ``directory``. Raises LTPError where one of them is there already."""
    source = study_files()
    for part in PARTS:
        if (directory / part).exists():
            raise LTPError(f"{shown(directory / part)}: is there already; expected a folder without a study")
    for part in PARTS:
        for file in sorted(_files(source / part)):
            target = directory / file.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)  # with its permissions: profiles/kubernetes holds programs


def study_files() -> Path:
    """The folder that holds PARTS: ``ltp/_study``, which setup.py puts into the wheel; else the checkout.

    A package that is installed as editable lies in its checkout, and has no copy that could be out of date.
    """
    package = Path(ltp.__file__).parent
    for folder in (package / "_study", package.parent):
        if (folder / "Snakefile").is_file():
            return folder
    raise LTPError(f"{package / '_study'}: not there; install ltp again")


def _files(part: Path) -> list[Path]:
    """A file itself; of a folder all files below it but compiled ones."""
    return [path for path in (part, *part.rglob("*")) if path.is_file() and "__pycache__" not in path.parts]
