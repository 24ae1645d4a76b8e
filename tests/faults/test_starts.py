"""Starting twice, starting after a kill, starting with something broken."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from faults import study
from faults.study import RUNS, record
from ltp.common.locks import NAME


@pytest.fixture
def long_study(material, tmp_path):
    """A study, not started, whose base run takes minutes."""
    grid = study.grid_of(material.encoder, material.text, base={"learning_rate": 1.0e-3, "epochs": 3000})
    grid["training"]["checkpoint_minutes"] = 10.0
    return study.checkout(tmp_path / "study", grid)


def snapshot(folder):
    """Every file of the results but the logs of what runs, with its time of change."""
    found = {}
    for path in (folder / "results").rglob("*"):
        if path.is_file() and "logs" not in path.parts and "checkpoint" not in path.parts:
            found[str(path.relative_to(folder))] = path.stat().st_mtime_ns
    return found


def base_job(folder):
    """The base run's processes, once there are any."""
    return study.wait_for(lambda: study.job_processes(folder, f"--output={RUNS['base']}"))


def test_the_second_of_two_workflows_says_so_and_changes_nothing(long_study, warm):
    first = study.start(long_study, warm)
    try:
        (job,) = base_job(long_study)
        study.wait_for(lambda: (long_study / RUNS["base"] / NAME).exists())
        before = snapshot(long_study)
        second = subprocess.run(
            [sys.executable, "-m", "snakemake", "--cores", "1", "tables"],
            cwd=long_study, env={**os.environ, study.SOCKET: warm},
            capture_output=True, text=True, timeout=study.PATIENCE,
        )  # fmt: skip
        assert second.returncode == 1
        last = second.stderr.strip().splitlines()[-1]
        assert last.startswith(f"results: process {first.pid} of ") and "is at work here; wait for it or end it" in last
        assert "Traceback" not in second.stderr
        assert snapshot(long_study) == before
        assert first.poll() is None and study.job_processes(long_study, "--output") == [job]
        dry = subprocess.run(
            [sys.executable, "-m", "snakemake", "--dry-run"],
            cwd=long_study,
            capture_output=True,
            timeout=study.PATIENCE,
        )
        assert dry.returncode == 0  # looking is allowed
    finally:
        study.end(first)


def test_a_job_that_outlives_its_workflow_is_not_joined_by_another(long_study, warm):
    """Only the workflow is killed, its job goes on; the next workflow starts at once and leaves the job alone."""
    first = study.start(long_study, warm)
    (job,) = base_job(long_study)
    try:
        study.wait_for(lambda: (long_study / RUNS["base"] / NAME).exists())
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        second = study.start(long_study, warm)
        assert second.wait(study.PATIENCE) == 1
        said = study.said(long_study)
        assert "ltp train: results/sst2/seed~0/dense/base: process " in said
        assert "is at work here; wait for it or end it, then run again" in said
        assert study.job_processes(long_study, "--output") == [job]
        assert (long_study / RUNS["base"] / NAME).exists()
    finally:
        os.kill(job, signal.SIGKILL)


def test_a_direct_call_is_refused_where_another_is_at_work(long_study, warm):
    """`ltp train` by hand into the directory of a run that goes on."""
    first = study.start(long_study, warm)
    try:
        (job,) = base_job(long_study)
        study.wait_for(lambda: (long_study / RUNS["base"] / NAME).exists())
        arguments = Path(f"/proc/{job}/cmdline").read_text(encoding="utf-8").split("\0")[1:-1]
        done = subprocess.run(
            [sys.executable, *arguments], cwd=long_study, env={**os.environ, study.SOCKET: warm},
            capture_output=True, text=True, timeout=study.PATIENCE,
        )  # fmt: skip
        assert done.returncode == 1 and "is at work here" in done.stderr.splitlines()[-1]
        assert first.poll() is None
    finally:
        study.end(first)


def test_lock_files_that_lie_about_are_no_locks(undisturbed, finished, warm):
    """As after a power cut: a lock file in every folder, and Snakemake's own locks and marks."""
    shutil.rmtree(finished / RUNS["hard"])
    for directory in ("results", *RUNS.values()):
        (finished / directory).mkdir(exist_ok=True)
        (finished / directory / NAME).write_text("process 1 of elsewhere, since 2020-01-01 00:00:00,")
    locks = finished / ".snakemake/locks"
    locks.mkdir(parents=True, exist_ok=True)
    (locks / "0.input.lock").write_text("results/runs.csv\n")
    (locks / "0.output.lock").write_text("results/runs.csv\n")
    study.run(finished, warm)
    assert study.told(finished) == study.told(undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("content", ["tasks: [", "tasks: {sst2: {}}\nseeds: x", "\0", "- 1", ""])
def test_a_broken_grid_stops_at_once_and_what_is_there_stays(finished, warm, content):
    grid = (finished / "config/grid.yaml").read_text()
    before = snapshot(finished)
    (finished / "config/grid.yaml").write_text(content)
    process = study.start(finished, warm)
    assert process.wait(study.PATIENCE) == 1
    lines = [line for line in study.said(finished).splitlines() if not line.startswith("Using workflow specific")]
    assert len(lines) == 1 and lines[0].startswith("config/grid.yaml: ")
    assert snapshot(finished) == before
    (finished / "config/grid.yaml").write_text(grid)
    assert "Nothing to be done" in study.run(finished, warm)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["base", "soft", "hard"])
def test_a_damaged_record_is_refused_by_the_next_workflow_and_made_again_when_removed(
    undisturbed, finished, warm, stage
):
    """What rests on it is not made of it; after `rm -r` of the run all is as if nothing had happened."""
    path = finished / record(stage)
    path.write_bytes(path.read_bytes()[:200])
    process = study.start(finished, warm, "all")
    process.wait(study.PATIENCE)
    rows = {row["run"]: row for row in study.table(finished)}
    damaged = rows[str(RUNS[stage].relative_to("results"))]
    assert damaged["status"] == "damaged" or process.returncode != 0
    assert process.returncode == 0 or str(RUNS[stage]) in study.said(finished)
    shutil.rmtree(finished / RUNS[stage])
    study.run(finished, warm, "all")
    assert study.told(finished) == study.told(undisturbed)
    assert study.table(finished) == study.table(undisturbed)


@pytest.mark.slow
def test_a_parent_that_vanishes_in_the_middle_stops_only_what_rests_on_it(undisturbed, material, warm, tmp_path):
    """The soft run is removed while the hard run, which has read it, goes on; then it is made again."""
    folder = shutil.copytree(undisturbed, tmp_path / "study")
    shutil.rmtree(folder / RUNS["hard"])
    process = study.start(folder, warm)
    try:
        study.wait_for(lambda: (folder / RUNS["hard"] / "checkpoint").exists())
        shutil.rmtree(folder / RUNS["soft"])
        process.wait(study.PATIENCE)
    finally:
        study.end(process)
    study.run(folder, warm)
    assert study.told(folder) == study.told(undisturbed)
    assert study.table(folder) == study.table(undisturbed)


@pytest.mark.slow
def test_a_loss_that_is_no_number_stops_only_what_rests_on_it(material, warm, tmp_path):
    """One soft run diverges, which is recorded; the other and all after it are done, and the page is made."""
    grid = study.grid_of(material.encoder, material.text)
    grid["soft"]["lambdas"] = [0.2, 1.0e38]
    folder = study.checkout(tmp_path / "study", grid)
    study.run(folder, warm, "all")
    status = {row["run"]: row["status"] for row in study.table(folder)}
    ways = {"0.2": "complete", "1e+38": "diverged"}
    for weight, expected in ways.items():
        found = {run: state for run, state in status.items() if f"lambda~{weight}/" in run}
        assert len(found) == 2 and set(found.values()) == {expected}
    assert "Nothing to be done" in study.run(folder, warm, "all")  # a recorded end is an end


def test_a_grid_that_is_read_while_it_is_written_is_refused(tmp_path, material):
    """Every beginning of a grid file is either refused in one line or is itself a sound grid."""
    from ltp.common.errors import LTPError
    from ltp.grid.grid import load_grid

    text = yaml.safe_dump(study.grid_of(material.encoder, material.text))
    refused = 0
    for length in range(0, len(text), 7):
        (tmp_path / "grid.yaml").write_text(text[:length])
        try:
            load_grid(tmp_path / "grid.yaml")
        except LTPError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > len(text) // 14


def test_waiting_for_a_lock_is_not_needed_after_a_kill(tmp_path):
    """The system lets go of a lock when its holder is killed."""
    code = (
        "import sys, time; from ltp.common.locks import acquire_until_exit\n"
        "acquire_until_exit(sys.argv[1], 'wait'); print('held', flush=True); time.sleep(600)"
    )
    from ltp.common.errors import LTPError
    from ltp.common.locks import acquire, exclusive

    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(LTPError, match=rf"^{tmp_path}: process {holder.pid} of .* is at work here; wait$"):
            acquire(tmp_path, "wait")
    finally:
        holder.kill()
        holder.wait()
    started = time.monotonic()
    with exclusive(tmp_path):
        assert (tmp_path / NAME).read_text().startswith(f"process {os.getpid()} of ")
    assert time.monotonic() - started < 60 and not tmp_path.exists()
