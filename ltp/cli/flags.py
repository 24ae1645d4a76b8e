"""Flags made of a settings dataclass, so that each setting is described once, where it is checked."""

from __future__ import annotations

import argparse
import typing
from collections.abc import Collection
from dataclasses import fields
from types import NoneType, UnionType
from typing import Any, TypeVar

DEFAULT_GRID = "config/grid.yaml"  # as in workflow/rules/common.smk

Settings = TypeVar("Settings")


def add_settings(parser: argparse._ActionsContainer, settings: type, names: Collection[str] | None = None) -> None:
    """One flag for each field of a settings dataclass, described and typed as the field is.

    ``parser`` may be a group of flags. ``names`` limits the flags to these fields; unset: all.
    """
    hints = typing.get_type_hints(settings)
    for field in fields(settings):
        if names is not None and field.name not in names:
            continue
        kind = hints[field.name]
        if isinstance(kind, UnionType) or typing.get_origin(kind) is typing.Union:
            kind = next(part for part in typing.get_args(kind) if part is not NoneType)
        name = field.name.rstrip("_")
        text = field.metadata["help"].replace("%", "%%")
        options: dict[str, Any] = {"dest": field.name, "default": field.default, "help": text}
        if kind is bool:
            options["action"] = "store_true"
        elif typing.get_origin(kind) is tuple:
            of = typing.get_args(kind)[0]
            options |= {"nargs": "+", "type": of, "metavar": "NAME" if of is str else "N"}
        else:
            choices = field.metadata.get("choices")
            options |= {"type": kind, "choices": choices, "metavar": None if choices else name.upper()}
        if kind is not bool and field.default is not None:
            values = field.default if isinstance(field.default, tuple) else (field.default,)
            options["help"] += f" (default: {' '.join(map(str, values))})"
        parser.add_argument("--" + name.replace("_", "-"), **options)


def read_settings(arguments: argparse.Namespace, settings: type[Settings]) -> Settings:
    """The settings dataclass that the flags describe; LTPError names a value out of bounds."""
    # The parser gave each flag its field's type, which a Namespace does not tell.
    return settings(**{field.name: getattr(arguments, field.name) for field in fields(settings)})  # type: ignore[arg-type]
