"""Records: JSON files that seal the directory in which they lie, so that damage to it is found. Torch-free.

A record carries the sha256 of the files beside it and a fingerprint of its own content: a cut, flipped or
edited byte shows. It is written last and atomically, so its presence means that the directory is complete.
metrics.json (a run) and conversion.json (a conversion) are records. README.md is not sealed (a model card is
there to be edited), nor are logs and folders.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ltp.errors import LTPError

SCHEMA = 1
METRICS, CONVERSION = "metrics.json", "conversion.json"
RECORDS = (METRICS, CONVERSION)

# What sealed files end with: weights, configs, vocabularies, predictions; never logs or cards.
SEALED_SUFFIXES = (".json", ".safetensors", ".txt", ".model", ".jinja")

MEND = "delete its directory and run snakemake again"


def shown(path: str | os.PathLike) -> str:
    """A path as it goes into a one-line message: quoted if it holds a newline or another unprintable sign."""
    text = os.fspath(path)
    return text if text.isprintable() else repr(text)


def file_sha256(path: str | os.PathLike) -> str:
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


def fingerprint(content: Mapping[str, Any]) -> str:
    """The sha256 of a record's canonical JSON, without its ``timing`` and ``fingerprint``."""
    told = {key: value for key, value in content.items() if key not in ("timing", "fingerprint")}
    return canonical_sha256(told)


def canonical_sha256(content: Any) -> str:
    """The sha256 of plain content as JSON, the same however it was laid out in its file."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def write_json(path: str | os.PathLike, content: Any, indent: int | None = 1) -> None:
    """Write JSON, atomically: see :func:`write_text`."""
    write_text(path, json.dumps(plain(content), indent=indent, allow_nan=False) + "\n")


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write a file so that a reader sees the whole new file or none of it, even if the machine dies.

    Raises LTPError when the disk is full or the folder cannot be written.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.partial")  # one name, so that a killed writer leaves no trail
    try:
        with open(partial, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
        _sync(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise LTPError(
            f"{shown(path)}: cannot be written ({error.strerror}); "
            "make room or give permission, then run snakemake again"
        ) from None


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sealed_files(directory: Path) -> list[Path]:
    return sorted(
        path
        for path in directory.iterdir()
        if path.is_file()
        and path.suffix in SEALED_SUFFIXES
        and path.name not in RECORDS
        and not path.name.startswith(".")
    )


def write_record(path: str | os.PathLike, kind: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """Seal a directory: write ``path`` with ``content``, the sha256 of the files beside it, a fingerprint.

    ``kind`` (such as "conversion") must be given again to :func:`read_record`. Call it last: the record says
    that the directory is complete. Returns what was written. Raises LTPError when it cannot be written.
    """
    path = Path(path)
    files = _sealed_files(path.parent)
    try:
        for file in files:  # the record must never survive a power cut that its files did not
            _sync(file)
    except OSError as error:
        why = f"cannot be sealed ({error.strerror}); mend that and run snakemake again"
        raise LTPError(f"{shown(path.parent)}: {why}") from None
    record = {"schema": SCHEMA, "kind": kind, **plain(content)}
    timing = record.pop("timing", None)
    record["files"] = {file.name: file_sha256(file) for file in files}
    if timing is not None:
        timing.pop("sha256", None)
        record["timing"] = {**timing, "sha256": canonical_sha256(timing)}
    record["fingerprint"] = fingerprint(record)
    write_json(path, record)
    return record


def read_record(path: str | os.PathLike, kind: str) -> dict[str, Any]:
    """Read a record written by :func:`write_record`; its schema, kind and fingerprint are checked.

    The files that it names are not: :func:`verify_run` does that. Raises LTPError naming the file.
    """
    name = shown(path)
    try:
        with open(path, "rb") as file:
            record = json.load(file)
    except FileNotFoundError:
        raise LTPError(f"{name}: is not there, so this step is not finished; run snakemake again") from None
    except OSError as error:
        raise LTPError(f"{name}: cannot be read ({error.strerror}); check its permissions") from None
    except (ValueError, RecursionError):
        raise LTPError(f"{name}: is damaged (not valid JSON); {MEND}") from None
    if not isinstance(record, dict):
        raise LTPError(f"{name}: is damaged (not a JSON object); {MEND}")
    if record.get("schema") != SCHEMA:
        raise LTPError(
            f"{name}: has schema {record.get('schema')!r}, expected {SCHEMA} "
            f"(damaged, or from another version of ltp); {MEND}"
        )
    if record.get("kind") != kind:
        raise LTPError(f"{name}: has kind {record.get('kind')!r}, expected {kind!r}; {MEND}")
    if "files" not in record or record.get("fingerprint") != fingerprint(record):
        raise LTPError(f"{name}: does not match its own fingerprint (damaged or edited by hand); {MEND}")
    timing = record.get("timing")
    if timing is not None and timing.pop("sha256", None) != canonical_sha256(timing):
        raise LTPError(f"{name}: its timing does not match its sha256 (damaged or edited by hand); {MEND}")
    return record


def file_problem(path: Path, sha256: str | None) -> str | None:
    """What is wrong with a sealed file, given the sha256 in its record; None when it is sound."""
    if sha256 is None:
        return "is not among the files of its record"
    try:
        return None if file_sha256(path) == sha256 else "was changed after the run (its sha256 differs)"
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
