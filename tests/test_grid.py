"""The grid: what it accepts, what it refuses and how it says so, and the runs that it stands for. No torch."""

import argparse
import copy
import importlib
import shlex
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ltp.cli import read_settings
from ltp.errors import LTPError
from ltp.grid import Grid, flags, load_grid, tag
from ltp.grid_config import load_schema
from ltp.settings import PruningSettings, TrainingSettings
from ltp.settings_data import DataSettings

ROOT = Path(__file__).parents[1]
SHORT = {"tasks": {"rotten_tomatoes": {}}}
SMALL = {
    "tasks": {"rotten_tomatoes": {"hard": {"epochs": 2}}, "imdb": None},
    "seeds": [0, 1],
    "data": {"max_length": 64},
    "training": {"batch_size": 32, "dropout": 0.0},
    "soft": {"temperatures": [1e-3, 2e-3], "lambdas": [0.1], "epochs": 3},
    "hard": {"learning_rates": [1e-5, 2e-5]},
    "baselines": {"topk": {"keep_rates": [-0.2, 0.5]}, "manual": None},
}


def refusal(config) -> str:
    """The line with which a grid is refused."""
    with pytest.raises(LTPError) as caught:
        Grid(config)
    return str(caught.value)


def changed(config: dict, path: tuple, value) -> dict:
    """A copy of a grid with ``value`` under ``path``, mappings made on the way."""
    config = copy.deepcopy(config)
    place = config
    for key in path[:-1]:
        if place.get(key) is None:
            place[key] = {}
        place = place[key]
    place[path[-1]] = value
    return config


# ------------------------------------------------------------------------------------------------- schema and settings


def each_property(schema: dict, path: tuple = ()):
    """Every key that a grid may have, with its own schema."""
    definitions = load_schema()["$defs"]
    sections = {**schema.get("properties", {}), **({"TASK": definitions["task"]} if path == ("tasks",) else {})}
    for key, item in sections.items():
        reference = item.get("$ref", "").removeprefix("#/$defs/")
        yield (*path, key), definitions[reference] if reference else item
        if path[:1] != ("tasks",) or not reference:
            yield from each_property(definitions[reference] if reference else item, (*path, key))


def test_every_key_is_described_and_typed_and_no_mapping_takes_unknown_keys():
    properties = list(each_property(load_schema()))
    assert len(properties) > 70
    for path, schema in properties:
        assert schema.get("description"), path
        assert "type" in schema or "enum" in schema, path
        if "properties" in schema:
            assert schema["additionalProperties"] is False, path
        if schema.get("type") == "array":
            assert schema["minItems"] >= 1 and schema["items"].get("description"), path


def limits(schema: dict) -> dict:
    names = {"minimum": "minimum", "maximum": "maximum", "exclusiveMinimum": "above", "enum": "choices"}
    return {name: schema[key] for key, name in names.items() if key in schema}


def field_limits(field) -> dict:
    return {key: value for key, value in field.metadata.items() if key != "help"}


def swept(section: dict) -> dict:
    """The keys of a section; a list that is swept counts as the one setting that it varies."""
    names = {"temperatures": "temperature", "lambdas": "lambda_", "learning_rates": "learning_rate"}
    return {names.get(key, key): item.get("items", item) for key, item in section["properties"].items()}


def test_training_keys_are_the_fields_of_training_settings():
    known = {field.name: field for field in fields(TrainingSettings)}
    definitions = load_schema()["$defs"]
    sections = {name: swept(definitions[name]) for name in ("training", "base", "soft", "hard")}
    pruning = {"final_token_threshold", "score_length"}
    assert set().union(*sections.values()) - pruning == set(known) - {"seed"}
    shared = set(sections["training"])
    for section in sections.values():
        assert shared <= set(section)
    for name, field in known.items():
        for section in sections.values():
            if name in section and name not in ("epochs", "temperature", "lambda_"):
                assert limits(section[name]) == field_limits(field) | (
                    {"choices": list(field.metadata["choices"])} if "choices" in field.metadata else {}
                ), name
                assert section[name].get("default", field.default) == field.default, name


def test_data_keys_are_the_fields_of_data_settings():
    known = {field.name: field for field in fields(DataSettings)}
    definitions = load_schema()["$defs"]
    data, task = definitions["data"]["properties"], definitions["task"]["properties"]
    sections = {"data", "training", "base", "soft", "hard", "baselines"}
    assert set(data) | set(task) - sections == set(known) - {"task", "model", "model_source", "model_revision"}
    for key, schema in data.items():
        assert schema["default"] == known[key].default, key
        if "choices" not in known[key].metadata:
            assert limits(schema) == field_limits(known[key]), key
    for key, schema in {**data, **task}.items():
        if "enum" in schema:
            assert {*schema["enum"]} - {None} == {*known[key].metadata["choices"]}, key


def test_pruning_keys_have_the_limits_of_pruning_settings():
    known = {field.name: field for field in fields(PruningSettings)}
    definitions = load_schema()["$defs"]
    soft, baselines = definitions["soft"]["properties"], definitions["baselines"]["properties"]
    for key in ("final_token_threshold", "score_length"):
        assert limits(soft[key]) == field_limits(known[key])
        assert soft[key]["default"] == known[key].default
    rates = baselines["topk"]["properties"]["keep_rates"]["items"]
    assert limits(rates) == field_limits(known["token_keep_rate"])
    thresholds = baselines["manual"]["properties"]["final_token_thresholds"]["items"]
    assert limits(thresholds) == field_limits(known["final_token_threshold"])


# --------------------------------------------------------------------------------------------------- what a grid means


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("*.yaml")), ids=lambda path: path.name)
def test_the_grids_that_come_along_are_sound(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for task in ("sst2", "mrpc", "cola", "stsb"):  # where glue.yaml asks its user to put the files
        (tmp_path / "glue" / task).mkdir(parents=True)
    assert load_grid(path).runs


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.0e-5, "1e-05"), (0.00001, "1e-05"), (0.1 + 0.2, "0.3"), (2, "2"), (2.0, "2"), (-0.2, "-0.2"), (0.001, "0.001")],
)
def test_a_number_has_one_tag_however_it_is_written(value, text):
    assert tag(value) == text


def test_the_shortest_grid_is_a_whole_study():
    grid = Grid(SHORT)
    assert {(run.method, run.stage) for run in grid.runs.values()} == {
        ("dense", "base"), ("ltp", "soft"), ("ltp", "hard"), ("topk", "hard"), ("manual", "hard"),
    }  # fmt: skip


def test_runs_lie_where_the_layout_says_and_parents_come_first():
    grid = Grid(SMALL)
    assert len(grid.runs) == 2 * 2 * (1 + 2 + 4 + 4)
    seen = {f"results/{task}/data/task.json" for task in grid.config.tasks}
    todo = list(grid.conversions.values())
    for run in grid.runs.values():
        for conversion in [item for item in todo if item.parent in seen]:
            seen.add(conversion.output)
        assert run.parent in seen
        seen.add(run.output)
    home = "results/imdb/seed~1"
    assert grid.runs[f"{home}/ltp/temperature~0.002/lambda~0.1/hard/lr~1e-05"].parent == (
        f"{home}/ltp/temperature~0.002/lambda~0.1/soft/metrics.json"
    )
    assert grid.runs[f"{home}/topk/keep_rate~-0.2/hard/lr~2e-05"].checkpoint == (
        f"{home}/topk/keep_rate~-0.2/converted"
    )
    assert grid.conversions[f"{home}/ltp/converted"].checkpoint == f"{home}/dense/base"
    assert grid.runs[f"{home}/dense/base"].checkpoint == "all-MiniLM-L6-v2"


def test_a_task_overrides_single_keys_and_a_stage_goes_before_training():
    grid = Grid(changed(SMALL, ("tasks", "imdb"), {"training": {"batch_size": 8}, "data": {"train_examples": 99}}))
    tasks = grid.config.tasks
    assert tasks["imdb"]["soft"]["batch_size"] == 8 and tasks["rotten_tomatoes"]["soft"]["batch_size"] == 32
    assert tasks["imdb"]["data"].max_length == 64 and tasks["imdb"]["data"].train_examples == 99
    assert (tasks["imdb"]["hard"]["epochs"], tasks["rotten_tomatoes"]["hard"]["epochs"]) == (1, 2)
    assert Grid(changed(SMALL, ("soft", "batch_size"), 4)).config.tasks["imdb"]["soft"]["batch_size"] == 4


@pytest.mark.parametrize("task", ["rotten_tomatoes", "imdb"])
def test_baselines_train_as_long_as_soft_and_hard_and_with_the_settings_of_hard(task):
    grid = Grid(changed(SMALL, ("training", "distillation"), 0.5))
    chosen = [run for run in grid.runs.values() if (run.task, run.seed) == (task, 0)]
    hard = next(run for run in chosen if run.method == "ltp" and run.stage == "hard")
    topk = next(run for run in chosen if run.method == "topk")
    soft = next(run for run in chosen if run.stage == "soft")
    assert topk.settings == hard.settings | {"epochs": soft.settings["epochs"] + hard.settings["epochs"]}
    assert topk.teacher == hard.teacher == soft.teacher == f"results/{task}/seed~0/dense/base"
    rates = {run.settings["learning_rate"] for run in chosen if run.method == "topk"}
    assert rates == {1e-5, 2e-5}


def test_the_base_stage_has_no_teacher():
    base = Grid(changed(SMALL, ("training", "distillation"), 0.5)).runs["results/imdb/seed~0/dense/base"]
    assert base.teacher is None and "distillation" not in base.settings


def test_numbers_written_as_text_are_the_numbers_that_their_writer_meant():
    config = yaml.safe_load(
        "{tasks: {imdb: }, soft: {learning_rate: 1e-5, lambdas: [1e-1], epochs: '2'}, training: {batch_size: 1e1}}"
    )
    assert config["soft"]["learning_rate"] == "1e-5"  # what YAML makes of it
    soft = Grid(config).config.tasks["imdb"]["soft"]
    assert (soft["learning_rate"], soft["lambdas"], soft["epochs"], soft["batch_size"]) == (1e-5, [0.1], 2, 10)


def test_text_that_looks_like_a_number_stays_text_where_text_is_due():
    task = {"source": "hub", "path": "a/b", "revision": "12e4", "text_columns": ["t"], "labels": ["1e1", "0"]}
    data = Grid({"tasks": {"own": task}}).config.tasks["own"]["data"]
    assert (data.revision, data.labels) == ("12e4", ("1e1", "0"))


def test_flags_are_those_of_the_settings():
    grid = Grid(changed(SMALL, ("training", "tensorboard"), True))
    given = shlex.split(grid.training_flags("results/imdb/seed~1/ltp/temperature~0.001/lambda~0.1/soft"))
    for flag in ("--stage=soft", "--method=ltp", "--temperature=0.001", "--lambda=0.1", "--seed=1", "--tensorboard"):
        assert flag in given
    names = {"--" + field.name.rstrip("_").replace("_", "-") for field in fields(TrainingSettings)}
    assert {flag.partition("=")[0] for flag in given} <= names | {"--stage", "--method", "--checkpoint", "--teacher"}
    assert shlex.split(grid.conversion_flags("results/imdb/seed~0/topk/keep_rate~-0.2/converted"))[1:] == [
        "--prune-mode=topk", "--token-keep-rate=-0.2",
    ]  # fmt: skip
    assert "--model=all-MiniLM-L6-v2" in shlex.split(grid.data_flags("imdb"))


@pytest.mark.parametrize("grid", ["grid", "paper"])
def test_the_command_line_takes_the_flags_and_reads_the_same_settings(grid):
    grid = load_grid(ROOT / f"config/{grid}.yaml")

    def parsed(command, line):
        parser = argparse.ArgumentParser(exit_on_error=False)
        importlib.import_module(f"ltp.commands.{command}").add_arguments(parser)
        return parser.parse_args(
            [*shlex.split(line), "--output=there", *(["--data=here"] if command == "train" else [])]
        )

    for directory, run in grid.runs.items():
        read = read_settings(parsed("train", grid.training_flags(directory)), TrainingSettings)
        assert read == TrainingSettings(**run.settings)
    for directory, conversion in grid.conversions.items():
        read = read_settings(parsed("convert", grid.conversion_flags(directory)), PruningSettings)
        assert read == PruningSettings(**conversion.settings)
    for task, sections in grid.config.tasks.items():
        assert read_settings(parsed("data", grid.data_flags(task)), DataSettings) == sections["data"]


@given(
    st.dictionaries(
        st.sampled_from(["path", "revision", "label_column"]),
        st.text(st.characters(codec="utf-8", exclude_characters="\0")),
    ),
    st.lists(st.text(st.characters(codec="ascii", exclude_characters="\0")), min_size=1),
)
@settings(max_examples=50, deadline=None, derandomize=True)
def test_flags_reach_the_program_as_they_are_whatever_they_hold(values, labels):
    made = shlex.split(flags(values | {"labels": labels}))
    assert made == [f"--{key.replace('_', '-')}={value}" for key, value in values.items()] + ["--labels", *labels]


def test_no_shell_runs_what_a_value_holds(tmp_path):
    hostile = {"path": f"$(touch {tmp_path}/a) `touch {tmp_path}/b`; touch {tmp_path}/c '\"\n", "labels": ["&", "| x"]}
    program = f"{shlex.quote(sys.executable)} -c 'import sys; print(sys.argv[1:])'"
    output = subprocess.run(["bash", "-c", f"{program} {flags(hostile)}"], capture_output=True, text=True, check=True)
    assert output.stdout.strip() == repr([f"--path={hostile['path']}", "--labels", "&", "| x"])
    assert not list(tmp_path.iterdir())


def test_the_grid_needs_no_torch():
    heavy = "{'torch', 'transformers', 'datasets'}"
    code = f"import sys; from ltp import grid, plan, progress; sys.exit(bool({heavy} & {{*sys.modules}}))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


# ------------------------------------------------------------------------------------------------- what a grid may not

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
    (("training", "precision"), "fp8", "training.precision: 'fp8' is not one of fp32, bf16, fp16"),
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
    (("tasks", "sst2"), {"source": "packaged"}, "tasks.sst2.source: packaged has rotten_tomatoes and imdb"),
    (("tasks", "imdb"), {"data": {"test": "half"}}, "tasks.imdb.data.test: 'half' does not fit packaged text"),
    (("tasks", "stsb"), {"metrics": ["accuracy"]}, "tasks.stsb.metrics: accuracy does not fit"),
    (("tasks", "../up"), {}, "tasks: '../up' cannot name a folder"),
    (("tasks", "a/b"), {}, "tasks: 'a/b' cannot name a folder"),
    (("tasks", ".."), {}, "tasks: '..' cannot name a folder"),
    (("tasks", "a\nb"), {}, "tasks: 'a\\nb' cannot name a folder"),
    (("tasks", "$(reboot)"), {}, "tasks: '$(reboot)' cannot name a folder"),
    (("tasks", "plots"), {"text_columns": ["t"], "path": "a/b"}, "tasks: plots is the name of a folder of the results"),
    (("tasks", 7), {}, "tasks: the key 7 is not text; put it in quotes"),
    (("results_dir",), "a{b}", "results_dir: 'a{b}' holds one of {}<> or control characters"),
    (("results_dir",), "", "results_dir: '' is empty"),
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
        ("- 1", "[1] is not a grid; expected keys"),
        ("", "None is not a grid"),
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


# ------------------------------------------------------------------------------------------------ any grid whatever

positive = st.floats(1e-6, 1, allow_subnormal=False)


def points(values):
    """A list of different points, written as numbers or as text."""
    distinct = st.lists(values, min_size=1, max_size=3, unique_by=tag)
    return distinct.flatmap(lambda items: st.sampled_from([items, [repr(item) for item in items]]))


training = {
    "batch_size": st.sampled_from([1, 8, 64, "32"]),
    "warmup": st.floats(0, 1),
    "dropout": st.none() | st.floats(0, 0.9),
    "distillation": st.floats(0, 1),
    "precision": st.sampled_from(["fp32", "bf16"]),
    "tensorboard": st.booleans(),
}
without_distillation = {key: value for key, value in training.items() if key != "distillation"}
sections = {
    "training": st.fixed_dictionaries({}, optional=training),
    "base": st.fixed_dictionaries({}, optional=without_distillation | {"learning_rate": positive}),
    "soft": st.fixed_dictionaries(
        {}, optional=training | {"temperatures": points(positive), "lambdas": points(st.floats(0, 10))}
    ),
    "hard": st.fixed_dictionaries({}, optional=training | {"learning_rates": points(positive)}),
    "baselines": st.fixed_dictionaries(
        {},
        optional={
            "topk": st.none() | st.fixed_dictionaries({"keep_rates": points(st.floats(-2, 1))}),
            "manual": st.none() | st.fixed_dictionaries({"final_token_thresholds": points(st.floats(0, 1))}),
        },
    ),
    "data": st.fixed_dictionaries({}, optional={"max_length": st.integers(4, 512), "train_examples": st.none()}),
}
tasks = st.dictionaries(
    st.sampled_from(["rotten_tomatoes", "imdb", "sst2", "mnli"]),
    st.none() | st.fixed_dictionaries({}, optional=sections),
    min_size=1,
)
grids = st.fixed_dictionaries(
    {"tasks": tasks},
    optional={**sections, "seeds": st.lists(st.integers(0, 99), min_size=1, max_size=3, unique=True)},
)


@given(grids)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_any_sound_grid_plans(config):
    grid = Grid(config)
    assert grid.config.seeds == config.get("seeds", [0])
    for task, sections in grid.config.tasks.items():
        soft, hard, baselines = sections["soft"], sections["hard"], sections["baselines"]
        learned = len(soft["temperatures"]) * len(soft["lambdas"])
        manual, topk = baselines["manual"] or {}, baselines["topk"] or {}
        fixed = len(topk.get("keep_rates", ())) + len(manual.get("final_token_thresholds", ()))
        expected = 1 + learned + (learned + fixed) * len(hard["learning_rates"])
        assert sum(run.task == task for run in grid.runs.values()) == expected * len(grid.config.seeds)
        assert shlex.split(grid.data_flags(task))
    for directory in grid.runs:
        assert shlex.split(grid.training_flags(directory))
    for directory in grid.conversions:
        assert shlex.split(grid.conversion_flags(directory))


junk = st.sampled_from([None, {}, "nonsense", [[]], {"a": 1}, float("inf"), -20])
places = st.sampled_from(
    [(section, key) for section in ("base", "soft", "hard") for key in ("batch_size", "warmup", "max_grad_norm")]
    + [("soft", "temperatures"), ("soft", "lambdas"), ("hard", "learning_rates"), ("base", "learning_rate")]
    + [("data", "max_length"), ("baselines", "topk", "keep_rates"), ("baselines", "manual", "final_token_thresholds")]
    + [("seeds",), ("gpus",)]
)


@given(grids, places, junk)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_any_unsound_value_is_refused_with_its_key_named(config, place, value):
    message = refusal(changed(config, place, value))
    assert message.startswith(".".join(place))
    assert message.isprintable()


@given(grids, st.sampled_from([(), ("soft",), ("data",), ("baselines",)]), st.text(min_size=1))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_any_unknown_key_is_refused_by_name(config, section, key):
    key = f"{key}?"
    message = refusal(changed(config, (*section, key), 1))
    name = key if key.isprintable() else repr(key)
    assert message.startswith(".".join([*section, name]) + ": unknown key; ")
    assert message.isprintable()
