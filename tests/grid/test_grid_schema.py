"""The grid's schema: every key described, its limits those of the settings that it becomes. No torch."""

from dataclasses import fields

from ltp.grid.reader import load_schema
from ltp.settings.data import DataSettings
from ltp.settings.pruning import PruningSettings
from ltp.settings.training import TrainingSettings


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
