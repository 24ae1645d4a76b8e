"""TODO"""

from __future__ import annotations

import argparse
import typing
from dataclasses import fields
from types import NoneType, UnionType


def add_settings(parser: argparse.ArgumentParser, settings: type) -> None:
    """One flag for each field of a settings dataclass, described and typed as the field is."""
    hints = typing.get_type_hints(settings)
    for field in fields(settings):
        kind = hints[field.name]
        if isinstance(kind, UnionType) or typing.get_origin(kind) is typing.Union:
            kind = next(part for part in typing.get_args(kind) if part is not NoneType)
        flag = "--" + field.name.rstrip("_").replace("_", "-")
        text = field.metadata["help"].replace("%", "%%")
        options: dict = {"dest": field.name, "default": field.default, "help": text}
        if kind is bool:
            options["action"] = "store_true"
        elif typing.get_origin(kind) is tuple:
            options |= {"nargs": "+", "metavar": "NAME"}
        else:
            options |= {"type": kind, "choices": field.metadata.get("choices")}
        parser.add_argument(flag, **options)


def read_settings(arguments: argparse.Namespace, settings: type):
    """The settings dataclass that the flags describe; LTPError names a value out of bounds."""
    return settings(**{field.name: getattr(arguments, field.name) for field in fields(settings)})
