"""Manifests: JSON files with the checksums of their directory, so that damage to it is found.

A manifest holds the sha256 of the files beside it and a fingerprint of its own content: a cut, flipped or edited byte
shows. It is written last and atomically, so its presence means that the directory is complete. metrics.json (a run) and
conversion.json (a conversion) are manifests. README.md is not covered (a model card may be edited), nor are logs and
folders.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ltp.common.errors import LTPError
from ltp.common.io import canonical_sha256, file_sha256, plain, shown, sync, write_json

SCHEMA = 1
METRICS, CONVERSION = "metrics.json", "conversion.json"
MANIFESTS = (METRICS, CONVERSION)

# Suffixes of the files covered: weights, configs, vocabularies, predictions; no logs or cards.
CHECKED_SUFFIXES = (".json", ".safetensors", ".txt", ".model", ".jinja")

FIX = "delete its directory and run snakemake again"


def fingerprint(content: Mapping[str, Any]) -> str:
    """The sha256 of a manifest's canonical JSON, without its ``timing`` and ``fingerprint``."""
    covered = {key: value for key, value in content.items() if key not in ("timing", "fingerprint")}
    return canonical_sha256(covered)


def _checked_files(directory: Path) -> list[Path]:
    return sorted(
        path
        for path in directory.iterdir()
        if path.is_file()
        and path.suffix in CHECKED_SUFFIXES
        and path.name not in MANIFESTS
        and not path.name.startswith(".")
    )


def write_manifest(path: str | os.PathLike[str], kind: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """Write ``path`` with ``content``, the sha256 of the files beside it and a fingerprint.

    ``kind`` (such as "conversion") must be given again to :func:`read_manifest`. Call it last: the manifest says
    that the directory is complete. Returns what was written. Raises LTPError when it cannot be written.
    """
    path = Path(path)
    files = _checked_files(path.parent)
    try:
        for file in files:  # after a power cut there must be no manifest without its files
            sync(file)
    except OSError as error:
        why = f"cannot be read for its checksums ({error.strerror}); fix that and run snakemake again"
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


def read_manifest(path: str | os.PathLike[str], kind: str) -> dict[str, Any]:
    """Read a manifest written by :func:`write_manifest`; its schema, kind and fingerprint are checked.

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
        raise LTPError(f"{name}: is damaged (not valid JSON); {FIX}") from None
    if not isinstance(record, dict):
        raise LTPError(f"{name}: is damaged (not a JSON object); {FIX}")
    if record.get("schema") != SCHEMA:
        raise LTPError(
            f"{name}: has schema {record.get('schema')!r}, expected {SCHEMA} "
            f"(damaged, or from another version of ltp); {FIX}"
        )
    if record.get("kind") != kind:
        raise LTPError(f"{name}: has kind {record.get('kind')!r}, expected {kind!r}; {FIX}")
    if "files" not in record or record.get("fingerprint") != fingerprint(record):
        raise LTPError(f"{name}: does not match its own fingerprint (damaged or edited by hand); {FIX}")
    timing = record.get("timing")
    if timing is not None and timing.pop("sha256", None) != canonical_sha256(timing):
        raise LTPError(f"{name}: its timing does not match its sha256 (damaged or edited by hand); {FIX}")
    return record


def file_problem(path: Path, sha256: str | None) -> str | None:
    """What is wrong with a file, given the sha256 in its manifest; None when it is ok."""
    if sha256 is None:
        return "is not among the files of its manifest"
    try:
        return None if file_sha256(path) == sha256 else "was changed after the run (its sha256 differs)"
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
