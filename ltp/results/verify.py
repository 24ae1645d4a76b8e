"""Which results are as they were written, and which are damaged, unfinished or outdated."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from ltp.common.errors import LTPError
from ltp.common.io import file_sha256, shown
from ltp.results import dataset
from ltp.results.checkpoint import weights_sha256
from ltp.results.lineage import Lineage, read_record
from ltp.results.manifest import FIX, MANIFESTS, METRICS, file_problem, read_manifest
from ltp.results.run import CHECKPOINT, PREDICTIONS, read_metrics


def verify_files(directory: Path, files: Mapping[str, str], only: tuple[str, ...] | None = None) -> list[str]:
    """What is wrong with the files (name → sha256) of a manifest, one line each; empty when ok.

    ``only`` limits the hashing to files of these names; of the others, presence alone is checked.
    """
    problems = []
    for name, sha256 in sorted(files.items()):
        file = directory / name
        hashed = only is None or name in only
        why = file_problem(file, sha256) if hashed else (None if file.is_file() else "is missing")
        if why:
            problems.append(f"{shown(file)}: {why}; {FIX}")
    return problems


def _verify_manifest(path: Path) -> list[str]:
    try:
        record = read_metrics(path) if path.name == METRICS else read_manifest(path, path.stem)
    except LTPError as error:
        return [str(error)]
    return verify_files(path.parent, record["files"])


def verify_run(directory: str | os.PathLike[str]) -> list[str]:
    """What is wrong with the directory of a run, a conversion or data, a line each; every file is hashed."""
    directory = Path(directory)
    if (directory / dataset.INFO).exists():
        return dataset.verify(directory)
    found = [directory / name for name in MANIFESTS if (directory / name).exists()] or [directory / METRICS]
    return [problem for path in found for problem in _verify_manifest(path)]


def verify_tree(root: str | os.PathLike[str]) -> tuple[list[Path], list[tuple[Path, str]]]:
    """Check all data, every run and every conversion below ``root``.

    Returns the directories that are ok, and (directory, why) for those that are not: damaged, unfinished, or made from
    a run, a conversion, local text or a local encoder that has been changed since. Sources that are not there cannot be
    compared. Raises LTPError when ``root`` is not a folder.
    """
    if not os.path.isdir(root):
        raise LTPError(f"{shown(root)}: is not a folder; expected the folder of results")
    ok: list[Path] = []
    corrupt: list[tuple[Path, str]] = []
    for directory, finished in _walk(Path(root)):
        if finished:
            problems = verify_run(directory) or _changed_sources(directory)
        else:
            problems = [f"{shown(directory)}: is not finished (no {METRICS}); run snakemake again"]
        corrupt += [(directory, problem) for problem in problems]
        if not problems:
            ok.append(directory)
    lineage = Lineage()
    for directory in list(ok):
        if source := lineage.made_anew(directory):
            ok.remove(directory)
            corrupt.append((directory, f"{shown(directory)}: was made from an earlier {shown(source)}; {FIX}"))
    return ok, corrupt


def _changed_sources(directory: Path) -> list[str]:
    """The local files, or the local encoder, that data or a base run were made from and that are others by now."""
    fix = "put it back, or run snakemake again"
    if (directory / dataset.INFO).exists():
        inputs = dataset.read_info(directory).get("inputs", {})
        changed = [path for path, sha256 in inputs.items() if Path(path).is_file() and file_sha256(path) != sha256]
        return [f"{shown(path)}: was changed since the data in {shown(directory)} were made; {fix}" for path in changed]
    encoder = read_record(directory).get("encoder")
    if encoder and encoder["source"] == "local" and (folder := Path(encoder["name"]).expanduser()).is_dir():
        try:
            is_changed = weights_sha256(folder) != encoder["sha256"]
        except (LTPError, OSError):
            is_changed = True
        if is_changed:
            return [f"{shown(folder)}: its weights were changed since {shown(directory)} was trained from them; {fix}"]
    return []


def _walk(root: Path) -> Iterator[tuple[Path, bool]]:
    """(directory, whether it has a manifest) for every directory that is a run or was to become one."""
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        finished = any(name in names for name in (*MANIFESTS, dataset.INFO))
        if finished or CHECKPOINT in subfolders or "model.safetensors" in names or PREDICTIONS in names:
            yield Path(folder), finished
        if CHECKPOINT in subfolders:
            subfolders.remove(CHECKPOINT)
