"""Disks that are full or cannot be written, and parts that vanish: one line that names the cause, and nothing is lost.

The disk is a small tmpfs, filled up or remounted read-only.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from faults import study
from faults.study import RUNS, record
from faults.test_damage import command, refused
from ltp.cli.main import main
from ltp.results.verify import verify_tree

RESULTS = Path("results")


def mount(*arguments: str) -> None:
    """Call mount; skips the test where this user or container may not."""
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"mount is not allowed here: {done.stderr.strip()}")


@pytest.fixture
def disk(finished, monkeypatch):
    """The finished study with its results on a disk of 4 MB; the current folder."""
    if shutil.which("mount") is None:
        pytest.skip("there is no mount here")
    place = finished / RESULTS
    before = finished / "before"
    place.rename(before)
    place.mkdir()
    mount("-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place))
    try:
        shutil.copytree(before, place, dirs_exist_ok=True)
        monkeypatch.chdir(finished)
        yield place
    finally:
        monkeypatch.chdir("/")
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(place: Path, left: int) -> Path:
    """Fill the disk but for ``left`` bytes; returns the file that does."""
    ballast = place / "ballast"
    free = os.statvfs(place).f_bavail * os.statvfs(place).f_frsize
    ballast.write_bytes(bytes(max(0, free - left)))
    return ballast


def undo(stage: str) -> None:
    """Take a stage's results away."""
    shutil.rmtree(RUNS[stage])


def content(place: Path) -> dict[str, bytes]:
    """Every file but the lock files and the empty ones that a full disk leaves behind."""
    return {
        str(path): path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file() and path.name != ".lock"
    }


ROOM = [("data", 0), ("data", 8192), ("convert", 0), ("convert", 16384), ("base", 0), ("base", 16384), ("base", 65536),
        ("soft", 0), ("soft", 24576), ("soft", 81920), ("hard", 0), ("hard", 65536)]  # fmt: skip


@pytest.mark.parametrize(("stage", "left"), ROOM)
def test_a_full_disk_is_one_line_and_what_was_there_stays(undisturbed, disk, monkeypatch, capfd, stage, left):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    undo(stage)
    sound = {str(path) for path in verify_tree(disk)[0]}
    ballast = fill(disk, left)
    line = refused(capfd, *command(stage))
    assert "o space left on" in line
    assert not record(stage).exists()
    assert {str(path) for path in verify_tree(disk)[0]} == sound
    ballast.unlink()
    assert main(command(stage)) == 0
    mine, theirs = study.told(Path()), study.told(undisturbed)
    assert mine[str(record(stage))] == theirs[str(record(stage))]


AGGREGATES = {
    "tables": (["tables", "results"], "runs.csv"),
    "plots": (["plots", "results"], "plots/sst2-accuracy-vs-flops.png"),
    "report": (["report", "results"], "index.html"),
}


@pytest.mark.parametrize("name", AGGREGATES)
def test_a_full_disk_leaves_no_half_table_figure_or_page(disk, capfd, name):
    arguments, file = AGGREGATES[name]
    whole = (disk / file).read_bytes()
    (disk / file).unlink()
    ballast = fill(disk, 0)
    assert "o space left on" in refused(capfd, *arguments)
    assert not (disk / file).exists() or name == "plots"  # Snakemake removes what a failed job leaves
    ballast.unlink()
    assert main(arguments) == 0 and (disk / file).read_bytes() == whole


@contextlib.contextmanager
def read_only(place: Path):
    """The disk cannot be written for a while: root may write where the permissions forbid it, but not here."""
    mount("-o", "remount,ro", str(place))
    try:
        yield
    finally:
        mount("-o", "remount,rw", str(place))


@pytest.mark.parametrize("stage", RUNS)
def test_a_read_only_disk_is_one_line_and_changes_nothing(disk, capfd, stage):
    before = content(disk)
    with read_only(disk):
        line = refused(capfd, *command(stage))
        assert str(RUNS[stage]) in line and "Read-only file system" in line
    assert content(disk) == before


@pytest.mark.parametrize("name", AGGREGATES)
def test_a_read_only_disk_leaves_the_tables_as_they_were(disk, capfd, name):
    before = content(disk)
    with read_only(disk):
        assert "Read-only file system" in refused(capfd, *AGGREGATES[name][0])
    assert content(disk) == before


GONE = [  # what vanishes, the stage that needs it, what the line says
    ("data", "base", "task.json: not there"), ("base", "convert", "is not there"), ("convert", "soft", "neither"),
    ("soft", "hard", "neither"), ("data", "hard", "task.json: not there"), ("base", "soft", "is not there"),
]  # fmt: skip


@pytest.mark.parametrize(("vanished", "stage", "said"), GONE)
def test_what_vanished_is_named(finished, monkeypatch, capfd, vanished, stage, said):
    monkeypatch.chdir(finished)
    undo(stage)
    undo(vanished)
    line = refused(capfd, *command(stage))
    assert str(RUNS[vanished]) in line and said in line
    assert not RUNS[stage].exists()


@pytest.mark.parametrize("what", ["encoder", "text"])
def test_a_source_that_vanished_is_named(finished, material, monkeypatch, capfd, tmp_path, what):
    """The grid was sound when it was read; then a disk was unplugged."""
    monkeypatch.chdir(finished)
    arguments = [part.replace(str(getattr(material, what)), f"{tmp_path}/unplugged") for part in command("data")]
    assert f"{tmp_path}/unplugged" in refused(capfd, *arguments)


@pytest.mark.slow
def test_a_study_that_fills_the_disk_goes_on_when_there_is_room(undisturbed, disk, warm):
    """The whole workflow on a disk too small for it: the line is shown, and nothing finished is lost or done again."""
    folder = disk.parent
    shutil.rmtree(disk / "sst2")
    ballast = fill(disk, 400_000)
    process = study.start(folder, warm)
    try:
        assert process.wait(study.PATIENCE) != 0
    finally:
        study.end(process)
    assert "o space left on" in study.said(folder)
    kept = {path: path.stat().st_mtime_ns for path in disk.rglob("metrics.json")}
    ballast.unlink()
    study.run(folder, warm)
    assert study.told(folder) == study.told(undisturbed)
    assert kept == {path: path.stat().st_mtime_ns for path in kept}
