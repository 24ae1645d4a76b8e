"""Grids of any kind, drawn at random: valid ones plan, the others are refused with the key named."""

import shlex

from helpers.grids import changed, refusal
from hypothesis import given, settings
from hypothesis import strategies as st

from ltp.grid.grid import Grid
from ltp.grid.reader import tag

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
        {},
        optional=training
        | {
            "temperatures": points(positive),
            "lambdas": points(st.floats(0, 10)),
            "flops_targets": points(st.floats(0.01, 1)),
            "budget_epochs": positive,
        },
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
def test_any_valid_grid_plans(config):
    grid = Grid(config)
    assert grid.config.seeds == config.get("seeds", [0])
    for task, sections in grid.config.tasks.items():
        soft, hard, baselines = sections["soft"], sections["hard"], sections["baselines"]
        learned = len(soft["temperatures"]) * len(soft["lambdas"])
        targets = len(soft["flops_targets"])
        manual, topk = baselines["manual"] or {}, baselines["topk"] or {}
        fixed = len(topk.get("keep_rates", ())) + len(manual.get("final_token_thresholds", ()))
        expected = 1 + learned + (learned + fixed) * len(hard["learning_rates"]) + (targets and 1 + targets)
        assert sum(run.task == task for run in grid.runs.values()) == expected * len(grid.config.seeds)
        assert shlex.split(grid.data_flags(task))
    for directory in grid.runs:
        assert shlex.split(grid.training_flags(directory))
    for directory in grid.conversions:
        assert shlex.split(grid.conversion_flags(directory))


junk = st.sampled_from([None, {}, "nonsense", [[]], {"a": 1}, float("inf"), -20])
places = st.sampled_from(
    [(section, key) for section in ("base", "soft", "hard") for key in ("batch_size", "warmup", "max_grad_norm")]
    + [
        ("soft", "temperatures"),
        ("soft", "lambdas"),
        ("soft", "flops_targets"),
        ("hard", "learning_rates"),
        ("base", "learning_rate"),
    ]
    + [("data", "max_length"), ("baselines", "topk", "keep_rates"), ("baselines", "manual", "final_token_thresholds")]
    + [("seeds",), ("gpus",)]
)


@given(grids, places, junk)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_any_invalid_value_is_refused_with_its_key_named(config, place, value):
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
