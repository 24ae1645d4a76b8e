"""CSV tables: how rows are written, and read back as what they were written from."""

from __future__ import annotations

import csv
import io
import json
import os
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar

from ltp.common.errors import LTPError
from ltp.common.io import file_sha256, shown

CHECKSUMS = ".tables.json"  # beside the tables: the sha256 of each
Row = TypeVar("Row")


def number(value: Any) -> str:
    """A value as tables show it: shortest decimal form of twelve digits, lists joined by semicolons."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.12g}"
    if isinstance(value, (list, tuple)):
        return ";".join(map(number, value))
    return json.dumps(value, sort_keys=True) if isinstance(value, dict) else str(value)


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as CSV under a header line; a column that a row lacks stays empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([number(row.get(column)) for column in columns] for row in rows)
    return text.getvalue()


def columns_of(kind: type) -> tuple[str, ...]:
    """The columns of a table whose rows are instances of this dataclass."""
    return tuple(field.name for field in fields(kind))


def rows_text(kind: type[Row], rows: Iterable[Row]) -> str:
    """Instances of a dataclass as CSV, a column for each of its fields."""
    return csv_text(columns_of(kind), (vars(row) for row in rows))


def read_rows(path: str | os.PathLike[str], kind: type[Row]) -> list[Row]:
    """The rows of :func:`rows_text`. Raises LTPError as :func:`read_csv`, and for a cell of another type."""
    hints = typing.get_type_hints(kind)
    rows = []
    for line, cells in enumerate(read_csv(path, columns_of(kind)), 2):
        try:
            rows.append(kind(**{name: _value(cells[name], hint) for name, hint in hints.items()}))
        except ValueError:
            raise LTPError(
                f"{shown(path)}: line {line} has text for a number; make it again with `ltp tables`"
            ) from None
    return rows


def _value(cell: str, hint: Any) -> Any:
    """A cell as a field of this type: text, a number, a list of text; an empty one is None where that is allowed."""
    if isinstance(hint, UnionType):
        if not cell:
            return None
        hint = typing.get_args(hint)[0]
    if typing.get_origin(hint) is list:
        return cell.split(";") if cell else []
    return hint(cell)


def read_csv(path: str | os.PathLike[str], columns: Sequence[str], maker: str = "tables") -> list[dict[str, str]]:
    """Rows of a table, as text. Raises LTPError when it is missing, cut, changed, or lacks one of ``columns``.

    ``maker``: the command that writes such a table.
    """
    fix = f"make it again with `ltp {maker}`"
    try:
        with open(path, encoding="utf-8", newline="") as file:
            text = file.read()
        rows = list(csv.reader(io.StringIO(text), strict=True))
    except OSError as error:
        raise LTPError(f"{shown(path)}: cannot be read ({error.strerror}); {fix}") from None
    except (ValueError, csv.Error):
        raise LTPError(f"{shown(path)}: is damaged (not a CSV table in UTF-8); {fix}") from None
    header = rows[0] if rows else []
    lacking = [column for column in columns if column not in header]
    if lacking:
        raise LTPError(f"{shown(path)}: lacks column {lacking[0]} (from another version of ltp?); {fix}")
    if not text.endswith("\n") or any(len(row) != len(header) for row in rows):
        raise LTPError(f"{shown(path)}: is damaged (a line is cut or has a field too many); {fix}")
    if _is_changed(Path(path)):
        raise LTPError(f"{shown(path)}: was changed after it was made; {fix}")
    return [dict(zip(header, row, strict=True)) for row in rows[1:]]


def is_expected(path: Path) -> bool:
    """Whether a table is there, or is gone though the checksums beside it name it: early versions made fewer tables."""
    try:
        listed = json.loads((path.parent / CHECKSUMS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        listed = {}
    return path.exists() or path.name in listed


def _is_changed(path: Path) -> bool:
    """Whether a table has a checksum beside it that it no longer matches."""
    try:
        checksum = json.loads((path.parent / CHECKSUMS).read_text(encoding="utf-8")).get(path.name)
    except FileNotFoundError:
        return False
    except (ValueError, AttributeError):
        return True
    return checksum is not None and checksum != file_sha256(path)
