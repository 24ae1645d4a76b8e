"""The grid's schema, made from the settings: keys described and typed, unknown ones refused, defaults filled in."""

from dataclasses import fields

import jsonschema
import pytest
from helpers.grids import SHORT, changed, refusal

from ltp.grid.grid import Grid
from ltp.grid.reader import read_config
from ltp.grid.schema import GRID_SCHEMA, SECTIONS
from ltp.grid.validation import fill_defaults
from ltp.settings.data import DataSettings
from ltp.settings.training import TrainingSettings


def each_property(schema: dict, path: tuple = ()):
    """Every key that a grid may have, with its own schema; TASK stands for a task's name."""
    other = schema.get("additionalProperties")
    for key, item in {**schema.get("properties", {}), **({"TASK": other} if isinstance(other, dict) else {})}.items():
        yield (*path, key), item
        yield from each_property(item, (*path, key))


PROPERTIES = dict(each_property(GRID_SCHEMA))
SECTION_PATHS = [path for path, schema in PROPERTIES.items() if "properties" in schema]


def test_it_is_a_json_schema():
    jsonschema.Draft202012Validator.check_schema(GRID_SCHEMA)
    assert GRID_SCHEMA["additionalProperties"] is False


def test_every_key_is_described_and_typed_and_no_mapping_takes_unknown_keys():
    assert len(PROPERTIES) > 140  # the sections twice: for all tasks, and for each
    for path, schema in PROPERTIES.items():
        assert schema.get("description"), path
        assert "type" in schema or "enum" in schema, path
        if "properties" in schema:
            assert schema["additionalProperties"] is False, path
        if schema.get("type") == "array":
            assert schema["minItems"] >= 1 and schema["items"].get("description"), path


def test_every_default_keeps_to_its_own_limits():
    checked = 0
    for path, schema in PROPERTIES.items():
        if "default" in schema:
            jsonschema.validate(schema["default"], schema)
            checked += 1
        assert "default" in schema or path[0] == "tasks", path
    assert checked > 100


@pytest.mark.parametrize("path", SECTION_PATHS, ids=".".join)
def test_unknown_keys_are_refused_in_every_section(path):
    path = tuple("rotten_tomatoes" if part == "TASK" else part for part in path)
    message = refusal(changed(SHORT, (*path, "nonsense_key"), 1))
    assert message.startswith(f"{'.'.join(path)}.nonsense_key: unknown key; expected one of ")


def test_a_grid_without_values_has_the_defaults_of_the_settings():
    sections = read_config(SHORT).tasks["rotten_tomatoes"]
    assert sections["data"] == DataSettings(task="rotten_tomatoes", model_source="packaged")
    sweeps = {"temperature", "lambda_", "flops_target", "least_flops_target", "seed"}
    without = {("base", "distillation"), ("base", "freeze_embeddings")}
    for stage in ("base", "soft", "hard"):
        for field in fields(TrainingSettings):
            if field.name in sections[stage] and (stage, field.name) not in without:
                assert sections[stage][field.name] == field.default, (stage, field.name)
    assert {field.name for field in fields(TrainingSettings)} - sweeps <= {*sections["base"], *sections["soft"]}
    assert (sections["soft"]["temperatures"], sections["soft"]["lambdas"]) == ([0.001], [0.03, 0.1, 0.2])
    assert (sections["soft"]["flops_targets"], sections["soft"]["budget_epochs"]) == ([], None)
    assert sections["soft"]["scoring_mode"] == "saliency"
    assert sections["hard"]["learning_rates"] == [2e-5]
    assert sections["baselines"] == {
        "epochs": 2.0, "dense": None,
        "topk": {"keep_rates": [0.2, 0.4, 0.6], "scoring_mode": "mean", "flops_targets": None},
        "manual": {"final_token_thresholds": [0.004, 0.006, 0.01]},
    }  # fmt: skip
    config = Grid(SHORT).config
    assert (config.results_dir, config.seeds, config.gpus, config.processes) == ("results", [0], 0, 1)
    assert config.model["checkpoint"] == "all-MiniLM-L6-v2"


def test_a_training_key_is_taken_by_every_stage():
    sections = GRID_SCHEMA["properties"]
    for stage in ("base", "soft", "hard"):
        assert set(sections["training"]["properties"]) <= set(sections[stage]["properties"])


def test_filling_in_defaults_leaves_the_schema_as_it_was():
    filled = fill_defaults({}, GRID_SCHEMA)
    filled["soft"]["lambdas"] = filled["baselines"]["topk"]["keep_rates"] = None
    again = fill_defaults({}, GRID_SCHEMA)
    assert again["soft"]["lambdas"] and again["baselines"]["topk"]["keep_rates"]
    assert set(SECTIONS) <= set(again)
