"""A sweep of twenty runs, killed ten times at moments drawn with a fixed seed, ends as one that was left alone."""

from __future__ import annotations

import os
import random
import signal
import time

import pytest

from faults import study

KILLS = 10


def sweep(material, folder):
    """One base run, six soft and six hard runs, four by top-k, three with thresholds set by hand."""
    grid = study.grid_of(material.encoder, material.text)
    grid["soft"] |= {"temperatures": [0.01, 0.02], "lambdas": [0.1, 0.2, 0.4], "epochs": 2}
    grid["hard"]["epochs"] = 2
    topk, manual = {"keep_rates": [0.6, 0.2, 0.0, -0.5]}, {"final_token_thresholds": [0.03, 0.06, 0.09]}
    grid["baselines"] = {"epochs": 2, "topk": topk, "manual": manual}
    return study.checkout(folder, grid)


@pytest.mark.slow
def test_a_sweep_killed_ten_times_ends_as_one_left_alone(material, warm, tmp_path):
    alone = sweep(material, tmp_path / "alone")
    study.run(alone, warm)
    killed = sweep(material, tmp_path / "killed")
    draw = random.Random(20)
    before, again = {}, 0
    for _ in range(KILLS):
        process = study.start(killed, warm)
        try:
            study.wait_for(lambda: study.job_processes(killed, "--output"))
            time.sleep(draw.uniform(0, 1))
            assert process.poll() is None, study.said(killed)
            os.killpg(process.pid, signal.SIGKILL)
        finally:
            study.end(process)
        study.wait_for(lambda: not study.job_processes(killed, "--output"))
        found = {path: path.stat().st_mtime_ns for path in (killed / "results").rglob("metrics.json")}
        again += sum(found.get(path) != moment for path, moment in before.items())
        before = found
    study.run(killed, warm)
    assert len(study.table(alone)) == 20
    assert study.table(killed) == study.table(alone)
    assert study.told(killed) == study.told(alone)
    # Only a run that ended as the workflow died, and so is not in its books, is done again: one for each core at most.
    assert again <= 2 * KILLS
