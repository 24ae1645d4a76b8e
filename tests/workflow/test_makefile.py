"""The Makefile, with the environment that it would make standing ready."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import fake_study

from ltp.cli.main import main

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path):
    """A project whose grid has its results elsewhere, and whose Snakemake has nothing to do."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "config").mkdir()
    (tmp_path / "config/grid.yaml").write_text("results_dir: elsewhere/today\ntasks: {rotten_tomatoes: {}}\n")
    fake_study.write_study(tmp_path / "elsewhere/today")
    (tmp_path / ".venv/bin").mkdir(parents=True)
    for file in ("pyproject.toml", "constraints.txt", ".venv/.installed-demo"):  # the stamp last: nothing is installed
        (tmp_path / file).touch()
    for name, line in (("snakemake", ":"), ("ltp", f'exec {sys.executable} -m ltp "$@"')):
        (tmp_path / ".venv/bin" / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / ".venv/bin" / name).chmod(0o755)
    return tmp_path


def test_demo_shows_the_tables_where_the_grid_has_them(project, monkeypatch, capsys):
    monkeypatch.chdir(project)
    assert main(["tables"]) == 0  # likewise made where the grid has its results
    tables = capsys.readouterr().out
    assert "rotten_tomatoes" in tables
    assert sorted(path.name for path in Path("elsewhere/today").glob("*.csv")) == [
        "frontier.csv", "lengths.csv", "matched.csv", "runs.csv", "summary.csv"
    ]  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(["make", "--silent", "demo"], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(tables)
