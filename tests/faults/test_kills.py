"""Kills: of one job, of Snakemake alone or of both, by every signal, in every stage, at seeded random moments."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time

import pytest

from faults import study
from faults.study import RUNS
from ltp.results.verify import verify_tree

INT, TERM, KILL = signal.SIGINT, signal.SIGTERM, signal.SIGKILL
ROWS = [
    *[("job", KILL, stage) for stage in RUNS],
    *[("workflow", KILL, stage) for stage in RUNS],
    ("job", TERM, "soft"), ("job", INT, "hard"), ("job", TERM, "data"), ("job", INT, "base"),
    ("workflow", TERM, "base"), ("workflow", INT, "soft"), ("workflow", TERM, "hard"), ("workflow", INT, "convert"),
    ("driver", TERM, "soft"), ("driver", INT, "hard"), ("driver", TERM, "data"),
]  # fmt: skip
QUICK = {("job", KILL, "soft"), ("workflow", KILL, "hard")}


def rows():
    """The rows, all but a few of them marked slow."""
    return [
        pytest.param(*row, marks=() if row in QUICK else pytest.mark.slow, id=f"{row[0]}-{row[1].name}-{row[2]}")
        for row in ROWS
    ]


def remove(folder, stage):
    """Take the results of a stage and of all after it away."""
    order = list(RUNS)
    for gone in order[order.index(stage) :]:
        shutil.rmtree(folder / RUNS[gone], ignore_errors=True)


def kill_in(folder, warm, who, number, stage, delay):
    """Start the workflow, and ``delay`` seconds into the stage's job send the signal; False if the job was faster."""
    process = study.start(folder, warm)
    try:
        (job,) = study.wait_for(lambda: study.job_processes(folder, f"--output={RUNS[stage]}"))
        time.sleep(delay)
        try:
            os.kill(job, 0)  # sends nothing: is it still there?
            if who != "workflow":  # one process alone; Snakemake then ends its jobs, or waits for them
                os.kill(job if who == "job" else process.pid, number)
            else:  # the whole group, as a terminal does with Ctrl-C and as a power cut does
                os.killpg(process.pid, number)
        except ProcessLookupError:
            return False
        process.wait(study.PATIENCE)
    finally:
        study.end(process)
    study.wait_for(lambda: not study.job_processes(folder, "--output"))
    return True


@pytest.mark.parametrize(("who", "number", "stage"), rows())
def test_what_was_killed_is_done_again_and_ends_the_same(undisturbed, finished, warm, who, number, stage):
    """Nothing half-made counts as a result, finished runs stay, and the rest ends as if nothing had happened."""
    remove(finished, stage)
    draw = random.Random(f"{who} {number} {stage}")
    longest = {"data": 0.3, "convert": 0.05}.get(stage, 1.0)
    delay = draw.uniform(0, longest)
    while not kill_in(finished, warm, who, number, stage, delay):
        remove(finished, stage)
        delay /= 2
    if not (finished / study.record(stage)).exists():
        left = [path for path, _ in verify_tree(finished / "results")[1]]
        assert set(left) <= {finished / RUNS[stage]}
    study.run(finished, warm)
    assert study.told(finished) == study.told(undisturbed)
    assert study.table(finished) == study.table(undisturbed)
    assert not list((finished / "results").rglob("checkpoint"))
