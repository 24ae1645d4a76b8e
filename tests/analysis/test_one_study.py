"""One study, one folder, one list of its runs; averages over seeds of one encoder and one set of data."""

import argparse
import json
import shutil

import pytest
from helpers.fake_study import write_study

from ltp.analysis.load import runs_of_study
from ltp.analysis.runs import read_studies
from ltp.analysis.tables import write_tables
from ltp.cli import tables as tables_command
from ltp.common.errors import LTPError
from ltp.results.run import read_metrics, write_run
from ltp.results.verify import verify_tree


def call(results):
    return tables_command.run(argparse.Namespace(results=str(results), output=None, show=False))


def plan(results, paths):
    """What the workflow leaves when it starts: the runs that the grid asks for."""
    runs = {path.parent.relative_to(results).as_posix(): {} for path in paths}
    (results / ".progress.json").write_text(json.dumps({"started": 0.0, "cores": 1, "runs": runs}))


def names(results):
    return {run.name for study in read_studies(results) for run in study.runs}


@pytest.fixture
def nested(tmp_path):
    """A study with a study of its own in a subfolder."""
    outer, inner = write_study(tmp_path), write_study(tmp_path / "glue", task="sst2")
    plan(tmp_path / "glue", inner)
    return tmp_path, outer, inner


@pytest.mark.parametrize("planned", [True, False])
def test_a_nested_study_is_named_and_left_out(nested, capsys, planned):
    root, outer, inner = nested
    if planned:
        plan(root, outer)
    assert call(root) == 0
    assert names(root) == {path.parent.relative_to(root).as_posix() for path in outer}
    said = capsys.readouterr().err
    assert f"left out: {len(inner)} runs are below {root}" in said and f"such as {root}/glue/sst2/seed~0/" in said
    assert "delete" not in said
    assert call(root / "glue") == 0 and len(names(root / "glue")) == len(inner)
    assert capsys.readouterr().err == ""


def test_runs_of_values_that_left_the_grid_do_not_count(tmp_path, capsys):
    paths = write_study(tmp_path)
    kept = [path for path in paths if "lambda~0.05" not in str(path)]
    plan(tmp_path, kept)
    assert call(tmp_path) == 0
    assert names(tmp_path) == {path.parent.relative_to(tmp_path).as_posix() for path in kept}
    assert "left out: 4 runs are" in capsys.readouterr().err


def test_planned_runs_that_are_not_there_are_missing(tmp_path, capsys):
    paths = write_study(tmp_path)
    plan(tmp_path, paths)
    shutil.rmtree(paths[-1].parent)
    assert call(tmp_path) == 0
    assert "missing: " in capsys.readouterr().err
    shutil.move(tmp_path, tmp_path.with_name("moved"))
    assert len(runs_of_study(tmp_path.with_name("moved"))) == len(paths)  # the plan moves with its folder


def test_damaged_plan_says_what_writes_it(tmp_path):
    write_study(tmp_path)
    (tmp_path / ".progress.json").write_text("{")
    with pytest.raises(LTPError, match=r"\.progress\.json: is damaged; run snakemake again"):
        call(tmp_path)


def test_seeds_of_different_encoders_are_not_averaged(tmp_path):
    paths = write_study(tmp_path, seeds=(0, 1, 2))
    for path in paths:
        if "dense" in str(path):
            sha256 = ("b" if "seed~1" in str(path) else "a") * 64
            encoder = {"name": "mini", "source": "local", "revision": None, "sha256": sha256}
            write_run(path.parent, read_metrics(path) | {"encoder": encoder})
    problems = write_tables(paths, tmp_path)
    assert len(problems) == len(paths) // 3
    assert all("seed~1" in line and "from another encoder than the others of its task" in line for line in problems)
    (study,) = read_studies(tmp_path)
    assert study.seeds == {0, 2} and all(len(setting.runs) == 2 for setting in study.settings)


@pytest.mark.parametrize(("first", "second"), ["ab", "ba"])
def test_of_as_many_of_two_encoders_the_first_seed_s_stay(tmp_path, first, second):
    paths = write_study(tmp_path, seeds=(0, 1))
    for path in paths:
        if "dense" in str(path):
            sha256 = (first if "seed~0" in str(path) else second) * 64
            encoder = {"name": "mini", "source": "local", "revision": None, "sha256": sha256}
            write_run(path.parent, read_metrics(path) | {"encoder": encoder})
    problems = write_tables(paths, tmp_path)
    assert len(problems) == len(paths) // 2 and all("seed~1" in line for line in problems)


def test_runs_that_name_no_encoder_are_averaged_as_before(tmp_path):
    assert write_tables(write_study(tmp_path, seeds=(0, 1)), tmp_path) == []
    assert read_studies(tmp_path)[0].seeds == {0, 1}


def linked(paths):
    """Lets every run be made from its seed's dense run, as that is now."""
    for path in paths:
        if path.parent.name != "base":
            base = next(parent for parent in path.parents if parent.name.startswith("seed~")) / "dense/base"
            link = {
                "path": f"results/{base.relative_to(base.parents[3])}",
                "fingerprint": read_metrics(base)["fingerprint"],
            }
            write_run(path.parent, read_metrics(path) | {"parent": link})


def test_runs_of_an_earlier_dense_model_are_not_compared_with_the_new_one(tmp_path, monkeypatch):
    paths = write_study(tmp_path)
    linked(paths)
    assert write_tables(paths, tmp_path) == []
    base = tmp_path / "rotten_tomatoes/seed~0/dense/base"
    write_run(base, read_metrics(base) | {"seed": 0, "reason": None, "environment": {"python": "3.12", "torch": "2"}})
    for folder in (tmp_path, tmp_path.parent):  # wherever the tables are made
        monkeypatch.chdir(folder)
        problems = write_tables(paths, tmp_path)
        assert len(problems) == len(paths) - 1
        assert all(f"was made from an earlier {base}; run snakemake again" in line for line in problems)
        assert len(verify_tree(tmp_path)[1]) == len(paths) - 1


def described(root, **facts):
    (root / "rotten_tomatoes/data").mkdir(exist_ok=True)
    known = {"schema": 1, "task": "rotten_tomatoes", "fingerprint": "d" * 64, "primary_metric": "accuracy"}
    (root / "rotten_tomatoes/data/task.json").write_text(json.dumps(known | facts))


def test_the_data_say_which_runs_are_of_other_data(tmp_path):
    paths = write_study(tmp_path)
    base = next(path for path in paths if path.parent.name == "base")
    write_run(base.parent, read_metrics(base) | {"data_fingerprint": "e" * 64})
    (problem,) = write_tables(paths, tmp_path)  # without data, what most runs have is right
    assert "dense/base: was made on other data than the others of its task; delete it" in problem
    described(tmp_path, fingerprint="e" * 64)
    problems = write_tables(paths, tmp_path)
    assert len(problems) == len(paths) - 1 and not any("dense/base" in line for line in problems)
    assert all("was made on other data than the task's data now; run snakemake again" in line for line in problems)


def test_scores_by_different_metrics_are_not_compared(tmp_path):
    paths = write_study(tmp_path)
    base = next(path for path in paths if path.parent.name == "base")
    metrics = read_metrics(base)
    scores = {split: {**found, "f1": 0.7} for split, found in metrics["metrics"].items()}
    write_run(base.parent, metrics | {"primary_metric": "f1", "metrics": scores})
    (problem,) = write_tables(paths, tmp_path)
    assert "dense/base: was scored by another metric than the others of its task" in problem
    described(tmp_path, primary_metric="f1")
    assert len(write_tables(paths, tmp_path)) == len(paths) - 1
    (study,) = read_studies(tmp_path)
    assert study.metric == "f1"
