"""benchmarks/pool.py: a grid's runs as commands, each with what it needs and what it makes."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from ltp.grid.grid import load_grid

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def pool():
    spec = importlib.util.spec_from_file_location("pool", ROOT / "benchmarks/pool.py")
    module = sys.modules["pool"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_run_is_made_once_after_what_it_needs(pool, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    grid = load_grid(ROOT / "config/grid.yaml")
    jobs = pool.jobs_of(grid, "hard")
    made = [job.makes for job in jobs]
    everything = [item.output for item in [*grid.runs.values(), *grid.conversions.values()]]
    assert sorted(made) == sorted(everything)
    there = {f"{grid.results_dir}/{task}/data/task.json" for task in grid.config.tasks}
    for job in jobs:
        assert set(job.needs) <= there, job.makes
        there.add(job.makes)


def test_what_is_there_is_not_made_again_and_a_stage_may_be_the_last(pool, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    grid = load_grid(ROOT / "config/grid.yaml")
    bases = pool.jobs_of(grid, "base")
    assert {job.command[0] for job in bases} == {"train"} and len(bases) == 2
    Path(bases[0].makes).parent.mkdir(parents=True)
    Path(bases[0].makes).touch()
    assert [job.makes for job in pool.jobs_of(grid, "base")] == [bases[1].makes]
