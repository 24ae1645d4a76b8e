"""Files and JSON: checksums, atomic writes, and how paths and errors go into one-line messages."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ltp.common.errors import UnwritableError


def shown(path: str | os.PathLike[str]) -> str:
    """A path as it goes into a one-line message: quoted if it holds a newline or another unprintable sign."""
    text = os.fspath(path)
    return text if text.isprintable() else repr(text)


def first_line(error: BaseException) -> str:
    """An error's text up to its first line break; the name of its class where it has no text."""
    return (str(error) or type(error).__name__).splitlines()[0]


def file_sha256(path: str | os.PathLike[str]) -> str:
    """The sha256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def plain(value: Any) -> Any:
    """``value`` as JSON types: numpy, tuples and paths are turned; NaN and infinity become None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):  # numpy
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, (str, int, float)):
        return value
    return str(value)


def canonical_sha256(content: Any) -> str:
    """The sha256 of plain content as JSON, whatever the order of keys and the white space of its file."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def write_json(path: str | os.PathLike[str], content: Any, indent: int | None = 1) -> None:
    """Write JSON, atomically: see :func:`write_text`."""
    write_text(path, json.dumps(plain(content), indent=indent, allow_nan=False) + "\n")


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a file so that a reader sees the whole new file or none of it, even if the machine dies.

    Raises UnwritableError when the disk is full or the folder cannot be written.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.partial")  # one name, so that a killed writer leaves no trail
    try:
        with open(partial, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
        sync(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise UnwritableError(
            f"{shown(path)}: cannot be written ({error.strerror}); make room or give permission, then run it again"
        ) from None


def sync(path: Path) -> None:
    """Wait until a file or folder has reached the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
