"""TODO"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ltp.analysis.study import number
from ltp.common.errors import LTPError
from ltp.common.io import file_sha256, shown

CHECKSUMS = ".tables.json"  # beside the tables: the sha256 of each


def _csv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([number(row.get(column)) for column in columns] for row in rows)
    return text.getvalue()


def read_csv(path: str | os.PathLike, columns: Sequence[str], maker: str = "tables") -> list[dict[str, str]]:
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


def _is_changed(path: Path) -> bool:
    """Whether a table has a seal beside it that it no longer matches."""
    try:
        sealed = json.loads((path.parent / CHECKSUMS).read_text(encoding="utf-8")).get(path.name)
    except FileNotFoundError:
        return False
    except (ValueError, AttributeError):
        return True
    return sealed is not None and sealed != file_sha256(path)
