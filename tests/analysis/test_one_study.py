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
