"""``ltp init`` from a checkout; test_install.py tries it from a wheel."""

import os

import pytest

from ltp.cli.init import PARTS, study_files
from ltp.cli.main import main


def files(root, *parts) -> dict[str, bytes]:
    """The files of a study below ``root``, compiled ones left out."""
    found = (path for part in parts for path in (root / part, *(root / part).rglob("*")))
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in found
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_a_new_study_holds_what_the_checkout_holds(tmp_path, capsys):
    assert main(["init", str(tmp_path / "deep/study")]) == 0
    assert "snakemake --cores all" in capsys.readouterr().out
    made = files(tmp_path / "deep/study", ".")
    assert made == files(study_files(), *PARTS)
    assert {"Snakefile", "config/grid.yaml", "workflow/rules/common.smk", "profiles/default/profile.yaml"} <= set(made)
    assert os.access(tmp_path / "deep/study/profiles/kubernetes/submit", os.X_OK)


@pytest.mark.parametrize("part", PARTS)
def test_a_folder_with_a_study_is_left_alone(tmp_path, capsys, part):
    (tmp_path / part).touch()
    (tmp_path / "notes.txt").touch()
    assert main(["init", str(tmp_path)]) == 1
    line = f"ltp init: {tmp_path / part}: is there already; expected a folder without a study\n"
    assert capsys.readouterr().err == line
    assert {path.name for path in tmp_path.iterdir()} == {part, "notes.txt"}


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main(["init", str(tmp_path / "file")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
