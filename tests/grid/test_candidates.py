"""Every method gets the same number of settings to pick from, or the plan says so."""

from pathlib import Path

import numpy as np
import pytest
from helpers.grids import SHORT, SMALL, changed

from ltp.grid import progress
from ltp.grid.candidates import count_candidates, expected_maximum, warn_of_unequal_candidates
from ltp.grid.grid import Grid, load_grid
from ltp.grid.plan import render_plan
from ltp.grid.sizes import task_sizes

CONFIGS = sorted((Path(__file__).parents[2] / "config").glob("*.yaml"))


def warnings(grid: Grid) -> list[str]:
    return warn_of_unequal_candidates(grid, task_sizes(grid))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with the folders that config/glue.yaml and config/tokens.yaml read."""
    monkeypatch.chdir(tmp_path)
    for name in ("glue/sst2", "glue/mrpc", "glue/cola", "glue/stsb", "text/conll2003", "text/squad_sentences"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize("path", [path for path in CONFIGS if not path.name.startswith("paper")], ids=lambda p: p.name)
def test_our_configurations_give_every_method_as_many_settings(path, folder):
    grid = load_grid(path)
    for counts in count_candidates(grid).values():
        assert (
            set(counts) - {"budget", "topk_budget"} == {"ltp", "topk", "manual"} and len(set(counts.values())) == 1
        ), counts
    assert warnings(grid) == []


@pytest.mark.parametrize("path", [path for path in CONFIGS if path.name.startswith("paper")], ids=lambda p: p.name)
def test_the_papers_grids_are_unequal_and_the_plan_says_by_how_much(path, folder):
    grid = load_grid(path)
    (line,) = warnings(grid)
    assert line.startswith("Unequal numbers of settings per method for rte, mrpc, ")
    assert "ltp 90, topk 15, manual 15." in line
    assert "0.73 standard errors" in line and "best of 90" in line and "best of 15, at most 3.1 points" in line
    assert line in render_plan(grid, 1000.0)


def test_candidates_are_the_fine_tuned_runs_of_one_seed():
    both = {"ltp": 4, "topk": 4}  # 2 temperatures × 1 lambda, and 2 keep rates, × 2 learning rates; manual left out
    assert count_candidates(Grid(SMALL)) == {"rotten_tomatoes": both, "imdb": both}
    assert warnings(Grid(SMALL)) == []


def test_the_control_is_no_candidate():
    grid = Grid(changed(SMALL, ("baselines", "dense"), {}))
    assert count_candidates(grid) == count_candidates(Grid(SMALL)) and warnings(grid) == []


def test_a_task_of_its_own_numbers_has_a_line_of_its_own():
    config = changed(SMALL, ("tasks", "imdb"), {"soft": {"lambdas": [0.1, 0.2]}})
    (line,) = warnings(Grid(config))
    assert line.startswith("Unequal numbers of settings per method for imdb: ltp 8, topk 4. ")
    assert len(warnings(Grid(changed(config, ("tasks", "rotten_tomatoes", "soft"), {"temperatures": [1e-3]})))) == 2


def test_the_points_are_those_of_the_smallest_validation_split():
    config = changed(SHORT, ("soft",), {"temperatures": [1e-3, 2e-3]})  # 6 against 3 and 3
    config["data"] = {"validation_examples": 400}
    difference = expected_maximum(6) - expected_maximum(3)
    (line,) = warnings(Grid(config))
    assert f"{difference:.2f} standard errors" in line
    assert f"at most {100 * difference * 0.5 / 20:.1f} points with 400 examples" in line


@pytest.mark.parametrize("n", [1, 2, 3, 15, 90])
def test_the_expected_maximum_is_that_of_normal_draws(n):
    exact = {1: 0.0, 2: 1 / np.sqrt(np.pi), 3: 1.5 / np.sqrt(np.pi)}
    drawn = np.random.default_rng(0).normal(size=(40_000, n)).max(axis=1)
    assert expected_maximum(n) == pytest.approx(exact.get(n, drawn.mean()), abs=1e-3 if n in exact else 0.02)


def test_the_workflow_warns_when_it_starts(tmp_path, capsys):
    progress.start(Grid(changed(SMALL, ("results_dir",), str(tmp_path))), cores=1)
    assert capsys.readouterr().err == ""
    unequal = changed(SMALL, ("soft", "lambdas"), [0.1, 0.2])
    progress.start(Grid(changed(unequal, ("results_dir",), str(tmp_path))), cores=1)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("Unequal numbers of settings per method for rotten_tomatoes, imdb: ltp 8, topk 4. ")
