"""Grids that are refused, each in one line that names the key."""

import pytest
from helpers.grids import SHORT, changed, refusal

from ltp.common.errors import LTPError
from ltp.grid.grid import load_grid

BAD = [
    (("soft", "lamdas"), [0.1], "soft.lamdas: unknown key; did you mean lambdas?"),
    (("lambdas",), [0.1], "lambdas: unknown key; lambdas belongs under soft"),
    (("nonsense",), 1, "nonsense: unknown key; expected one of results_dir, model"),
    (("soft", "lambdas"), [0.1, "much"], "soft.lambdas[1]: 'much' is not a number, at least 0 (weight of the"),
    (("soft", "lambdas"), [0.1, -1], "soft.lambdas[1]: -1 is too small; expected a number, at least 0"),
    (("soft", "lambdas"), [], "soft.lambdas: [] is empty; expected a list"),
    (("soft", "lambdas"), 0.1, "soft.lambdas: 0.1 is not a list"),
    (("soft",), None, "soft: None is not a mapping"),
    (("soft", "temperatures"), [0], "soft.temperatures[0]: 0 is too small; expected a number, more than 0"),
    (("soft", "temperatures"), [1e-5, 0.00001], "soft.temperatures[1]: 1e-05 is there twice, see soft.temperatures[0]"),
    (("soft", "temperatures"), ["1e-5", 1e-5], "soft.temperatures[1]: 1e-05 is there twice"),
    (("soft", "temperatures"), [float("nan")], "soft.temperatures[0]: nan is not a finite number"),
    (("hard", "learning_rates"), ["1e999"], "hard.learning_rates[0]: inf is not a finite number"),
    (("hard", "learning_rates"), [2], "hard.learning_rates[0]: 2 is too large; expected a number, more than 0"),
    (("hard", "learning_rates"), [True], "hard.learning_rates[0]: True is not a number"),
    (("baselines", "topk", "keep_rates"), [0.5, 0.50], "baselines.topk.keep_rates[1]: 0.5 is there twice"),
    (("baselines", "topk", "keep_rates"), [1.5], "baselines.topk.keep_rates[0]: 1.5 is too large"),
    (("baselines", "manual", "final_token_thresholds"), [], "baselines.manual.final_token_thresholds: [] is empty"),
    (("seeds",), [0, 1, 0], "seeds[2]: 0 is there twice, see seeds[0]; remove one"),
    (("seeds",), [0.5], "seeds[0]: 0.5 is not a whole number"),
    (("seeds",), [-1], "seeds[0]: -1 is too small"),
    (("training", "batch_size"), 2.5, "training.batch_size: 2.5 is not a whole number"),
    (("training", "precision"), "fp8", "training.precision: 'fp8' is not one of auto, fp32, bf16, fp16"),
    (("training", "tensorboard"), "yes", "training.tensorboard: 'yes' is not true or false"),
    (("training", "accumulation_steps"), 3, "training.accumulation_steps: 3 does not divide batch_size"),
    (("soft", "accumulation_steps"), 3, "soft.accumulation_steps: 3 does not divide batch_size"),
    (("base", "distillation"), 0.5, "base.distillation: the base stage has no dense model to learn from"),
    (("tasks",), {}, "tasks: {} is empty"),
    (("tasks",), ["imdb"], "tasks: ['imdb'] is not a mapping"),
    (("tasks", "nope"), {}, "tasks.nope: 'nope' is unknown; expected one of rte"),
    (("tasks", "rotten_tomatoes", "soft"), {"lambdas": [1, 1]}, "tasks.rotten_tomatoes.soft.lambdas[1]: 1 is there"),
    (("tasks", "rotten_tomatoes", "sources"), "hub", "tasks.rotten_tomatoes.sources: unknown key; did you mean source"),
    (("tasks", "sst2"), {"source": "local", "path": "no/such.tsv"}, "tasks.sst2.path: 'no/such.tsv' is not there"),
    (("tasks", "sst2"), {"source": "local"}, "tasks.sst2.path: task sst2 has source local but no path"),
    (("tasks", "sst2"), {"source": "packaged"}, "tasks.sst2.source: packaged has rotten_tomatoes, imdb, bbc_news"),
    (("tasks", "imdb"), {"data": {"test": "half"}}, "tasks.imdb.data.test: 'half' does not fit packaged text"),
    (("tasks", "stsb"), {"metrics": ["accuracy"]}, "tasks.stsb.metrics: accuracy does not fit"),
    (("tasks", "../up"), {}, "tasks: '../up' cannot name a folder"),
    (("tasks", "a/b"), {}, "tasks: 'a/b' cannot name a folder"),
    (("tasks", ".."), {}, "tasks: '..' cannot name a folder"),
    (("tasks", "a\nb"), {}, "tasks: 'a\\nb' cannot name a folder"),
    (("tasks", "$(reboot)"), {}, "tasks: '$(reboot)' cannot name a folder"),
    (("tasks", "plots"), {"text_columns": ["t"], "path": "a/b"}, "tasks: plots is the name of a folder or file"),
    (("tasks", "runs.csv"), {}, "tasks: runs.csv is the name of a folder or file of the results"),
    (("tasks", "all"), {}, "tasks: all stands for the mean over the tasks in the tables"),
    (("tasks", 7), {}, "tasks: the key 7 is not text; put it in quotes"),
    (("results_dir",), "a{b}", "results_dir: 'a{b}' holds one of {}<> or control characters"),
    (("results_dir",), "", "results_dir: '' is empty"),
    (("results_dir",), "./", "results_dir: './' is no folder of its own"),
    (("tasks", "imdb"), {"path": "my.csv"}, "tasks.imdb.path: 'my.csv' does not go with source packaged; add source"),
    (("tasks", "imdb"), {"revision": "a1"}, "tasks.imdb.revision: 'a1' does not go with source packaged; leave it out"),
    (("tasks", "sst2"), {"source": "local", "path": "README.md", "subset": "a"}, "tasks.sst2.subset: 'a' does not go"),
    (("tasks", "mine"), {"path": "README.md", "text_columns": ["a"]}, "tasks.mine.path: 'README.md' is a file here"),
    (("model", "name"), "bert", "model.name: 'bert' is not packaged"),
    (("model",), {"source": "hub"}, "model.name: missing for source hub"),
    (("model",), {"source": "local"}, "model.path: missing for source local"),
    (("model",), {"source": "local", "path": "no/such"}, "model.path: no/such is not there"),
    (("model", "revision"), "abc", "model.revision: 'abc' does not go with source packaged"),
    (("gpus",), -1, "gpus: -1 is too small"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "value", "line"), BAD, ids=[f"{'.'.join(map(str, bad[0]))}={bad[1]!r}" for bad in BAD]
)
def test_a_bad_grid_is_refused_in_one_line_that_names_the_key(path, value, line):
    message = refusal(changed(SHORT, path, value))
    assert message.startswith(line)
    assert message.isprintable()


def test_a_grid_without_tasks_says_what_is_missing():
    assert refusal({}).startswith("tasks: missing; expected a mapping")


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("tasks: [", "not YAML, line 1: expected"),
        ("tasks:\n\tx: 1", "not YAML, line 2: found character '\\t'"),
        (
            "tasks: {imdb: {}}\nsoft: {lambdas: [0.1],\n  lambdas: [0.2]}",
            "not YAML, line 3: lambdas is there twice, see line 2",
        ),
        ("- 1", "[1] is not a grid; expected keys"),
        ("", "None is not a grid"),
        ("tasks: &all {imdb: *all}", "an alias stands inside of what it is an alias for; write the values there"),
        ("tasks: {imdb: {data: &data [1, *data]}}", "an alias stands inside"),
    ],
)
def test_a_file_that_is_no_grid_is_named(tmp_path, content, line):
    path = tmp_path / "grid.yaml"
    path.write_text(content)
    with pytest.raises(LTPError) as caught:
        load_grid(path)
    assert str(caught.value).startswith(f"{path}: {line}")
    with pytest.raises(LTPError, match=r"none\.yaml: not there"):
        load_grid(tmp_path / "none.yaml")
