"""The grid's JSON schema, made from the settings dataclasses and the little that only a grid has.

A key that is a setting takes its type, default, limits and description from the dataclass field of its name. Written
here are the sections, the lists of values to try, the tasks and what holds for the whole study.
"""

from __future__ import annotations

import typing
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from ltp.common.names import PACKAGED_MODEL, PACKAGED_TASKS, STAGES
from ltp.grid.validation import Schema
from ltp.settings.data import SOURCES, DataSettings
from ltp.settings.fields import field_types
from ltp.settings.pruning import PruningSettings
from ltp.settings.training import TrainingSettings

SECTIONS = ("data", "training", *STAGES, "baselines")
# The lists of the grid, by path: each value, or combination of values within a section, is a run of its own.
SWEEPS = (
    ("soft", "temperatures"),
    ("soft", "lambdas"),
    ("soft", "flops_targets"),
    ("hard", "learning_rates"),
    ("baselines", "topk", "keep_rates"),
    ("baselines", "topk", "flops_targets"),
    ("baselines", "manual", "final_token_thresholds"),
)
TRAINING_KEYS = tuple(field.name for field in fields(TrainingSettings))

# Keys of TrainingSettings that are not the same for all stages.
_BY_STAGE = (
    "learning_rate", "epochs", "seed", "temperature", "lambda_", "lambda_warmup", "threshold_learning_rate",
    "flops_target", "least_flops_target",
)  # fmt: skip
_SHARED = [name for name in TRAINING_KEYS if name not in _BY_STAGE]
# Keys of DataSettings: how any text becomes examples; the others say what one task is, but for four.
_SPLITTING = (
    "max_length", "test_max_lengths", "train_examples", "validation_examples", "test_examples", "test", "split_seed",
)  # fmt: skip
_NOT_OF_A_TASK = ("task", "model", "model_source", "model_revision")  # the task's own name, and the section model
_TASK = [field.name for field in fields(DataSettings) if field.name not in (*_SPLITTING, *_NOT_OF_A_TASK)]

_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string"}
_LIMITS = {"minimum": "minimum", "maximum": "maximum", "above": "exclusiveMinimum"}


def _settings_keys(settings: type, names: Iterable[str]) -> dict[str, Schema]:
    """Field name → JSON schema, for fields of a settings dataclass."""
    types, known = field_types(settings), {field.name: field for field in fields(settings)}
    keys = {}
    for name in names:
        (kind, optional), metadata = types[name], known[name].metadata
        schema: Schema = {"default": known[name].default, "description": metadata["help"]}
        limits = {_LIMITS[key]: _short(limit) for key, limit in metadata.items() if key in _LIMITS}
        if "choices" in metadata:
            schema["enum"] = [*metadata["choices"], *([None] if optional else [])]
        elif typing.get_origin(kind) is tuple:
            of = typing.get_args(kind)[0]
            item = {"type": _TYPES[of], "description": metadata["help"]} | ({"minLength": 1} if of is str else limits)
            schema |= _list(item) | {"type": ["array", "null"] if optional else "array"}
        else:
            schema["type"] = [_TYPES[kind], "null"] if optional else _TYPES[kind]
            if kind is str:
                schema["minLength"] = 1
            schema |= limits
        keys[name] = schema
    return keys


def _short(number: float) -> float:
    """0.0 as 0, so that messages read "at least 0"."""
    return int(number) if float(number).is_integer() else number


def _key(settings: type, name: str) -> Schema:
    return _settings_keys(settings, [name])[name]


def _without_default(schema: Schema) -> Schema:
    """A key that is absent unless written: it has no default, and null does not stand for one."""
    schema = {key: value for key, value in schema.items() if key != "default"}
    if isinstance(schema.get("type"), list):
        schema["type"] = schema["type"][0]
    if "enum" in schema:
        schema["enum"] = [choice for choice in schema["enum"] if choice is not None]
    return schema


def _list(items: Schema) -> Schema:
    return {"type": "array", "minItems": 1, "items": items}


def _values(settings: type, name: str, default: list[float]) -> Schema:
    """A list of values to try for one setting."""
    items = _without_default(_key(settings, name))
    return _list(items) | {"default": default, "description": f"list of values to try: {items['description']}"}


def _section(description: str, properties: dict[str, Schema], **other: Any) -> Schema:
    made = {"type": "object", "additionalProperties": False, "description": description, "properties": properties}
    return made | other


def _make_sections() -> dict[str, Schema]:
    """The sections that a grid has for all its tasks, and each task for itself."""
    shared = _settings_keys(TrainingSettings, _SHARED)
    length = _settings_keys(TrainingSettings, ["epochs"])
    rate_and_length = _settings_keys(TrainingSettings, ["learning_rate", "epochs"])
    pruning = _settings_keys(PruningSettings, ["final_token_threshold", "score_length"])
    pruning["score_length"]["description"] += "; also that of the manual baseline"
    topk = {
        "keep_rates": _values(PruningSettings, "token_keep_rate", [0.2, 0.4, 0.6]),
        "scoring_mode": _key(PruningSettings, "scoring_mode"),
        "flops_targets": _values(TrainingSettings, "flops_target", [])
        | {
            "type": ["array", "null"],
            "default": None,
            "description": "list of FLOPs targets of top-k that is trained and scored as the budget runs are: what "
            "remains of their difference is thresholds against top-k; unset: none",
        },
    }
    topk["scoring_mode"]["description"] += "; of the keep_rates"
    manual = {"final_token_thresholds": _values(PruningSettings, "final_token_threshold", [0.004, 0.006, 0.01])}
    as_long = length["epochs"] | {"type": ["number", "null"], "default": None}
    as_long["description"] += "; unset: those of soft and hard together, what a λ run trains"
    optional: Schema = {"type": ["object", "null"], "default": {}}
    return {
        "data": _section(
            "how text becomes training, validation and test examples", _settings_keys(DataSettings, _SPLITTING)
        ),
        "training": _section("settings shared by all stages; a stage's own section overrides them", shared),
        "base": _section("fine-tuning of the pretrained encoder, unpruned", shared | rate_and_length),
        "soft": _section(
            "training of weights and thresholds under soft masks, temperatures × lambdas runs; and one training for "
            "all flops_targets",
            shared
            | rate_and_length
            | {
                "temperatures": _values(TrainingSettings, "temperature", [0.001]),
                "lambdas": _values(TrainingSettings, "lambda_", [0.03, 0.1, 0.2]),
            }
            | _settings_keys(TrainingSettings, ["lambda_warmup", "threshold_learning_rate"])
            | pruning
            | _make_budget(),
        ),
        "hard": _section(
            "fine-tuning with tokens removed; learning_rates runs for each soft run and for each baseline",
            shared | length | {"learning_rates": _values(TrainingSettings, "learning_rate", [2e-5])},
        ),
        "baselines": _section(
            "fixed pruning, and the unpruned control, fine-tuned from the base with the settings of the hard stage",
            {
                "epochs": as_long,
                "dense": _section(
                    "the control: no pruning, trained as long as the longest of the others; {}: with it",
                    {},
                    type=["object", "null"],
                    default=None,
                ),
                "topk": _section("top-k pruning; null: leave it out", topk, **optional),
                "manual": _section("thresholds set by hand; null: leave them out", manual, **optional),
            },
        ),
    }


def _make_budget() -> dict[str, Schema]:
    """The keys of the soft section for FLOPs budgets: one training at random budgets, which all targets start from."""
    targets = _values(TrainingSettings, "flops_target", []) | {"type": ["array", "null"], "default": None}
    targets["description"] += (
        "; one training serves all: each step draws a target between the least and the most. Where these are given "
        "and lambdas are not, there are no runs of lambdas; unset: none"
    )
    scoring = _key(PruningSettings, "scoring_mode") | {"default": "saliency"}
    scoring["enum"] = [name for name in scoring["enum"] if name != "mean"]
    scoring["description"] = "how the budget runs score a token, always relative to the others of its sentence"
    rate = _key(TrainingSettings, "learning_rate")
    rate |= {"type": ["number", "null"], "default": None, "description": "the budget runs' learning_rate; unset: it"}
    length = _key(TrainingSettings, "epochs")
    length |= {
        "type": ["number", "null"],
        "default": None,
        "description": "epochs of the one training for all flops_targets; unset: those of as many λ runs, soft and "
        "hard together, so that another target trains all anew",
    }
    return {
        "flops_targets": targets,
        "scoring_mode": scoring,
        "budget_learning_rate": rate,
        "budget_epochs": length,
    }


def _make_task(sections: dict[str, Schema]) -> Schema:
    keys = {name: _without_default(key) for name, key in _settings_keys(DataSettings, _TASK).items()}
    keys["source"]["description"] += f"; unset: packaged for {', '.join(PACKAGED_TASKS)}, else hub"
    keys["labels"]["items"]["type"] = ["string", "integer"]  # YAML reads 0 and 1 as numbers
    description = "a task's source, and its own values for keys of the sections"
    return _section(description, keys | sections, type=["object", "null"])


def _make_model() -> Schema:
    text = {"type": ["string", "null"], "minLength": 1, "default": None}
    source = {"enum": list(SOURCES), "default": "packaged", "description": "where the encoder comes from"}
    name = f"source packaged: {PACKAGED_MODEL}, the one there is; source hub: the encoder's name on the Hub"
    return _section(
        "the pretrained encoder",
        {
            "source": source,
            "name": text | {"description": name},
            "path": text | {"description": "source local: the model's directory"},
            "revision": text | {"description": "source hub: commit to use"},
        },
    )


def make_schema() -> Schema:
    """The JSON schema (draft 2020-12) of a grid, without any ``$ref``."""
    sections = _make_sections()
    seed = _without_default(_key(TrainingSettings, "seed"))
    count: Schema = {"type": "integer", "maximum": 1024}
    study: dict[str, Schema] = {
        "results_dir": {
            "type": "string",
            "minLength": 1,
            "default": "results",
            "description": "folder that receives everything",
        },
        "model": _make_model() | {"default": {}},
        "seeds": _list(seed) | {"default": [0], "description": "list of seeds; the whole study runs once for each"},
        "gpus": count
        | {
            "minimum": 0,
            "default": 0,
            "description": "GPUs that each training job reserves; the profile says how many there are",
        },
        "processes": count
        | {
            "type": ["integer", "null"],
            "minimum": 1,
            "default": None,
            "description": "processes that share each training and its batches; unset: one, or one for each of its "
            "GPUs",
        },
        "tasks": {
            "type": "object",
            "minProperties": 1,
            "description": "the tasks by name, each with its source and its own values for keys of the sections below",
            "additionalProperties": _make_task(sections),
        },
    }
    return _section(
        "what to train, on which tasks, with which settings",
        study | {name: section | {"default": {}} for name, section in sections.items()},
        required=["tasks"],
    )


GRID_SCHEMA = make_schema()
