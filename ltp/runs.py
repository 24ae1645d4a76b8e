"""The run directory: how a finished run is written, read and verified. Torch-free.

A run directory holds a checkpoint, predictions.json and, written last and atomically, metrics.json, which is
a record (see ltp.records). The schema of metrics.json lives here and nowhere else.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ltp.errors import LTPError
from ltp.records import (
    MEND,
    METRICS,
    RECORDS,
    file_problem,
    file_sha256,
    plain,
    read_record,
    shown,
    write_json,
    write_record,
)

__all__ = [
    "METRICS",
    "PREDICTIONS",
    "file_sha256",
    "read_metrics",
    "read_predictions",
    "read_record",
    "verify_run",
    "verify_tree",
    "write_json",
    "write_predictions",
    "write_record",
    "write_run",
]

PREDICTIONS = "predictions.json"
METHODS = ("dense", "ltp", "topk", "manual")
STAGES = ("base", "soft", "hard")
STATUSES = ("complete", "diverged")
DATA = "task.json"  # the record of a directory of data
CHECKPOINT = "checkpoint"  # the resumable state of a training that goes on

# Key of metrics.json → the types it may have (None is null). write_run adds schema, kind, files, fingerprint.
SCHEMA_TYPES: dict[str, tuple[type | None, ...]] = {
    "status": (str,),
    "reason": (str, None),
    "task": (str,),
    "model": (str,),
    "method": (str,),
    "stage": (str,),
    "seed": (int,),
    "settings": (dict,),
    "primary_metric": (str,),
    "metrics": (dict,),  # split → metric → fraction
    "examples": (dict,),  # split → count
    "flops": (dict,),  # split → gflops, dense_gflops, relative
    "layers": (dict,),  # threshold, attention_tokens, ffn_tokens → one number a layer
    "data_fingerprint": (str,),
    "parent": (dict, None),
    "environment": (dict,),
    "timing": (dict,),  # the only part that may differ between two identical runs
}


def write_run(directory: str | os.PathLike, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Finish a run: write metrics.json, last and atomically, over the files that lie in ``directory``.

    ``metrics`` has the keys of SCHEMA_TYPES; schema, kind, files and fingerprint are added. A complete run
    must already have its config.json and predictions.json. Returns what was written. Raises LTPError.
    """
    path = Path(directory) / METRICS
    metrics = plain(metrics)
    _check_schema(path, metrics)
    if metrics["status"] == "complete":
        for name in ("config.json", PREDICTIONS):
            if not (path.parent / name).is_file():
                raise LTPError(f"{shown(path.parent)}: lacks {name}, which a complete run must hold")
    return write_record(path, "run", metrics)


def _check_schema(path: Path, metrics: Mapping[str, Any]) -> None:
    name = shown(path)
    for key, types in SCHEMA_TYPES.items():
        if key not in metrics:
            raise LTPError(f"{name}: lacks the key {key!r}; {MEND}")
        value = metrics[key]
        if (None if value is None else type(value)) not in types:
            raise LTPError(f"{name}: {key} is {value!r:.60}, which has the wrong type; {MEND}")
    for key, allowed in (("status", STATUSES), ("method", METHODS), ("stage", STAGES)):
        if metrics[key] not in allowed:
            raise LTPError(f"{name}: {key} is {metrics[key]!r}, expected one of {', '.join(allowed)}; {MEND}")


def read_metrics(path: str | os.PathLike) -> dict[str, Any]:
    """The metrics of a run, given its directory or its metrics.json; schema and fingerprint are checked.

    Raises LTPError naming the file when it is missing, cut, edited, or of another schema version.
    """
    path = Path(path)
    if path.name != METRICS:
        path = path / METRICS
    metrics = read_record(path, "run")
    _check_schema(path, metrics)
    return metrics


def write_predictions(directory: str | os.PathLike, predictions: Mapping[str, Mapping[str, Any]]) -> None:
    """Write predictions.json: split → {"labels": [...], "predictions": [...]}, in one order for every run."""
    for split, columns in predictions.items():
        if len(columns["labels"]) != len(columns["predictions"]):
            raise LTPError(
                f"{shown(Path(directory) / PREDICTIONS)}: {split} has {len(columns['labels'])} labels but "
                f"{len(columns['predictions'])} predictions; expected one of each for every example"
            )
    write_json(Path(directory) / PREDICTIONS, predictions, indent=None)


def read_predictions(directory: str | os.PathLike) -> dict[str, dict[str, list]]:
    """A run's predictions, after checking them against the sha256 in its metrics.json. Raises LTPError."""
    path = Path(directory) / PREDICTIONS
    why = file_problem(path, read_metrics(directory)["files"].get(PREDICTIONS))
    if why:
        raise LTPError(f"{shown(path)}: {why}; {MEND}")
    return json.loads(path.read_bytes())


def verify_files(directory: Path, files: Mapping[str, str], only: tuple[str, ...] | None = None) -> list[str]:
    """What is wrong with the files (name → sha256) that a record seals, one line each; empty when sound.

    ``only`` limits the hashing to files of these names; of the others, presence alone is checked.
    """
    problems = []
    for name, sha256 in sorted(files.items()):
        file = directory / name
        hashed = only is None or name in only
        why = file_problem(file, sha256) if hashed else (None if file.is_file() else "is missing")
        if why:
            problems.append(f"{shown(file)}: {why}; {MEND}")
    return problems


def _verify_record(path: Path) -> list[str]:
    try:
        record = read_metrics(path) if path.name == METRICS else read_record(path, path.stem)
    except LTPError as error:
        return [str(error)]
    return verify_files(path.parent, record["files"])


def verify_run(directory: str | os.PathLike) -> list[str]:
    """What is wrong with the directory of a run, a conversion or data, a line each; every file is hashed."""
    directory = Path(directory)
    if (directory / DATA).exists():
        from ltp import data

        return data.verify(directory)
    found = [directory / name for name in RECORDS if (directory / name).exists()] or [directory / METRICS]
    return [problem for path in found for problem in _verify_record(path)]


def verify_tree(root: str | os.PathLike) -> tuple[list[Path], list[tuple[Path, str]]]:
    """Check all data, every run and every conversion below ``root``.

    Returns the directories that are sound, and (directory, why) for those that are not: damaged, unfinished,
    or made from a parent that has been replaced since. Raises LTPError when ``root`` is not a folder.
    """
    if not os.path.isdir(root):
        raise LTPError(f"{shown(root)}: is not a folder; expected the folder of results")
    sound: list[Path] = []
    unsound: list[tuple[Path, str]] = []
    for directory, finished in _walk(Path(root)):
        if finished:
            problems = verify_run(directory)
        else:
            problems = [f"{shown(directory)}: is not finished (no {METRICS}); run snakemake again"]
        unsound += [(directory, problem) for problem in problems]
        if not problems:
            sound.append(directory)
    made = [directory for directory in sound if not (directory / DATA).exists()]
    prints = {os.path.realpath(directory): _record(directory)["fingerprint"] for directory in made}
    for directory in made:
        parent = _record(directory).get("parent")
        known = prints.get(os.path.realpath(parent["path"])) if isinstance(parent, dict) else None
        if known is not None and known != parent.get("fingerprint"):
            sound.remove(directory)
            made_from = shown(parent["path"])
            unsound.append((directory, f"{shown(directory)}: was made from an earlier {made_from}; {MEND}"))
    return sound, unsound


def _record(directory: Path) -> dict[str, Any]:
    return json.loads(next(directory / name for name in RECORDS if (directory / name).exists()).read_bytes())


def _walk(root: Path) -> Iterator[tuple[Path, bool]]:
    """(directory, whether it has a record) for every directory that is a run or was to become one."""
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        finished = any(name in names for name in (*RECORDS, DATA))
        if finished or CHECKPOINT in subfolders or "model.safetensors" in names or PREDICTIONS in names:
            yield Path(folder), finished
        if CHECKPOINT in subfolders:
            subfolders.remove(CHECKPOINT)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``ltp verify``."""
    parser.add_argument("root", help="folder of results to check: every run below it, every file hashed")


def run(arguments: argparse.Namespace) -> int:
    """``ltp verify``: print what is sound, what is not and why. Returns 1 when anything is unsound."""
    sound, unsound = verify_tree(arguments.root)
    for directory in sound:
        print(f"sound    {shown(directory)}")
    for _, why in unsound:
        print(f"UNSOUND  {why}")
    damaged = len({directory for directory, _ in unsound})
    print(f"{len(sound)} sound, {damaged} unsound below {shown(arguments.root)}", file=sys.stderr)
    return 1 if unsound else 0
