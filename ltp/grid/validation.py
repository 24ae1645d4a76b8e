"""Check plain YAML data against a JSON schema and report the first problem in one line.

Knows no particular schema, and follows no ``$ref``. Three steps, in this order: ``read_numbers`` (YAML loaders read
1e-5 as text), ``check`` (raises LTPError), ``fill_defaults``.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator
from typing import Any, cast

import jsonschema

from ltp.common.errors import LTPError

Path = tuple[str | int, ...]
Schema = dict[str, Any]

_TYPE_NAMES = {
    "object": "a mapping of keys to values",
    "array": "a list",
    "string": "text",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "null": "null",
}


def dotted(path: Path) -> str:
    """``("soft", "lambdas", 1)`` as ``soft.lambdas[1]``; keys that could break the line are shown quoted."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            name = part if part.isprintable() else repr(part)
            text += f".{name}" if text else name
    return text or "the grid"


def short_repr(value: Any) -> str:
    """A value's ``repr``, cut to 80 characters, for a message of one line."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _types(schema: Schema) -> list[str]:
    types = schema.get("type", [])
    return [types] if isinstance(types, str) else types


def read_numbers(value: Any, schema: Schema, path: Path = ()) -> Any:
    """A copy of ``value`` in which text such as ``'1e-5'`` is a number wherever the schema wants one.

    Raises LTPError for what JSON schema cannot see: keys that are not text, and numbers that are not finite.
    """
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise LTPError(f"{dotted(path)}: the key {key!r} is not text; put it in quotes")
        known = schema.get("properties", {})
        other = schema.get("additionalProperties")
        other = other if isinstance(other, dict) else {}
        return {key: read_numbers(item, known.get(key, other), (*path, key)) for key, item in value.items()}
    if isinstance(value, list):
        items = schema.get("items", {})
        return [read_numbers(item, items, (*path, index)) for index, item in enumerate(value)]

    wanted = _types(schema)
    if not {"number", "integer"} & set(wanted) or isinstance(value, bool):
        return value
    if isinstance(value, str) and "string" not in wanted:
        try:
            value = float(value)
        except ValueError:
            return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise LTPError(f"{dotted(path)}: {value} is not a finite number; expected {expected(schema)}")
        if "number" not in wanted and value.is_integer():
            return int(value)
    return value


def fill_defaults(value: dict[str, Any], schema: Schema) -> dict[str, Any]:
    """A copy of ``value`` in which missing keys have the schema's defaults, through nested mappings."""
    filled = dict(value)
    for key, item in schema.get("properties", {}).items():
        if key not in filled and "default" in item:
            filled[key] = item["default"]
        if isinstance(filled.get(key), dict):
            filled[key] = fill_defaults(filled[key], item)
    return filled


def allowed(schema: Schema) -> str:
    """The type, choices and bounds that a schema asks for, in words."""
    if "enum" in schema:
        return "one of " + ", ".join("null" if choice is None else str(choice) for choice in schema["enum"])
    text = " or ".join(_TYPE_NAMES[name] for name in _types(schema))
    for keyword, words in (
        ("minimum", "at least"),
        ("exclusiveMinimum", "more than"),
        ("maximum", "at most"),
        ("exclusiveMaximum", "less than"),
    ):
        if keyword in schema:
            text += f", {words} {schema[keyword]}"
    return text


def expected(schema: Schema) -> str:
    """What a schema asks for, in words: type, bounds, description."""
    return f"{allowed(schema)} ({schema['description']})" if "description" in schema else allowed(schema)


def check(value: dict[str, Any], schema: Schema) -> None:
    """Raise LTPError for the first place, in the order of the file, where ``value`` breaks ``schema``."""
    errors = sorted(jsonschema.Draft202012Validator(schema).iter_errors(value), key=lambda error: _rank(error, value))
    if errors:
        raise LTPError(_sentence(errors[0], schema))


def _rank(error: jsonschema.ValidationError, value: Any) -> list[int]:
    """The positions of the keys that lead to the error, so that errors sort as the file reads."""
    rank = []
    for part in error.absolute_path:
        rank.append(part if isinstance(part, int) else list(value).index(part))
        value = value[part]
    return rank


def _sentence(error: jsonschema.ValidationError, root: Schema) -> str:
    path = tuple(error.absolute_path)
    value, schema = cast(Any, error.instance), cast(Schema, error.schema)
    where = f"{dotted(path)}: {short_repr(value)}"
    match error.validator:
        case "additionalProperties":
            key = next(key for key in value if key not in schema["properties"])
            return f"{dotted((*path, key))}: unknown key; {_did_you_mean(key, schema, root)}"
        case "required":
            key = next(key for key in schema["required"] if key not in value)
            wanted = expected(schema["properties"][key])
            return f"{dotted((*path, key))}: missing; expected {wanted}"
        case "type" | "enum":
            return f"{where} is not {expected(schema)}"
        case "minimum" | "exclusiveMinimum":
            return f"{where} is too small; expected {expected(schema)}"
        case "maximum" | "exclusiveMaximum":
            return f"{where} is too large; expected {expected(schema)}"
        case "minItems" | "minLength" | "minProperties":
            return f"{where} is empty; expected {expected(schema)} with at least one entry"
        case _:
            return f"{where} does not fit; expected {expected(schema)}"


def _did_you_mean(key: str, schema: Schema, root: Schema) -> str:
    known = list(schema["properties"])
    for guess in difflib.get_close_matches(key, known, n=1):
        return f"did you mean {guess}?"
    places = [dotted(path) for path in _places(key, root)]
    if places:
        return f"{key} belongs under {' or '.join(places)}"
    return f"expected one of {', '.join(known)}"


def _places(key: str, schema: Schema, path: Path = ()) -> Iterator[Path]:
    """The sections in which ``key`` is known. A task's own values are left out: they stand below a name, not a key."""
    properties = schema.get("properties", {})
    if key in properties and path:
        yield path
    for name, item in properties.items():
        yield from _places(key, item, (*path, name))
