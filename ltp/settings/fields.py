"""Fields of the settings dataclasses: default, description and limits of a setting in one place."""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Mapping
from dataclasses import field, fields
from typing import Any

from ltp.common.errors import LTPError


def described(default: Any, text: str, **limits: Any) -> Any:
    """A dataclass field with its help text and limits (``minimum``, ``maximum``, ``above``, ``choices``).

    Limits of a tuple of numbers hold for each of them.
    """
    return field(default=default, metadata={"help": text, **limits})


def field_types(settings: type) -> dict[str, tuple[Any, bool]]:
    """Field name → its type (``int``, ``tuple[str, ...]``) without None, and whether None is allowed."""
    found: dict[str, tuple[Any, bool]] = {}
    for name, hint in typing.get_type_hints(settings).items():
        parts = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
        (kind,) = (part for part in parts if part is not types.NoneType)
        found[name] = kind, types.NoneType in parts
    return found


def check_limits(settings: Any) -> None:
    """Raise LTPError for the first field of a settings dataclass that breaks the limits in its metadata."""
    for item in fields(settings):
        value, limits = getattr(settings, item.name), item.metadata
        if value is None:
            continue
        name = item.name.rstrip("_")
        if "choices" in limits and value not in limits["choices"]:
            raise LTPError(f"{name}: {value!r} is not one of {', '.join(map(str, limits['choices']))}")
        for number in value if isinstance(value, tuple) else (value,):
            if not isinstance(number, bool) and isinstance(number, (int, float)):
                _check_number(name, number, limits)


def _check_number(name: str, value: float, limits: Mapping[str, Any]) -> None:
    if not math.isfinite(value):
        raise LTPError(f"{name}: {value} is not a finite number")
    if "minimum" in limits and value < limits["minimum"]:
        raise LTPError(f"{name}: {value} is too small; expected at least {limits['minimum']}")
    if "maximum" in limits and value > limits["maximum"]:
        raise LTPError(f"{name}: {value} is too large; expected at most {limits['maximum']}")
    if "above" in limits and value <= limits["above"]:
        raise LTPError(f"{name}: {value} is too small; expected more than {limits['above']}")
