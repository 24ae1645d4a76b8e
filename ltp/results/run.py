"""The run directory: how a finished run is written, read and verified.

A run directory holds a checkpoint, predictions.json and, written last and atomically, metrics.json, which is
a manifest (see ltp.results.manifest). The schema of metrics.json lives here and nowhere else.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ltp.common.errors import LTPError
from ltp.common.io import plain, shown, write_json
from ltp.common.names import METHODS, STAGES
from ltp.results.manifest import FIX, METRICS, file_problem, read_manifest, write_manifest

PREDICTIONS = "predictions.json"
STATUSES = ("complete", "diverged")
CHECKPOINT = "checkpoint"  # the folder of a training's resumable state, inside its run directory

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
# Keys that some runs lack: earlier versions did not write them, nor do runs without them now.
OPTIONAL_TYPES: dict[str, tuple[type | None, ...]] = {
    "teacher": (dict, None),  # path and fingerprint of the dense run that distillation learned from
    "tokenizer_sha256": (str,),  # of the tokenizer that made the data
    "budget": (dict,),  # of runs with a flops_target: it, and the FLOPs on training text that led to it
    "encoder": (dict,),  # of base runs: name, source, revision (the resolved commit, or null), sha256 of the weights
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
    return write_manifest(path, "run", metrics)


def _check_schema(path: Path, metrics: Mapping[str, Any]) -> None:
    name = shown(path)
    for key in SCHEMA_TYPES:
        if key not in metrics:
            raise LTPError(f"{name}: lacks the key {key!r}; {FIX}")
    for key, types in {**SCHEMA_TYPES, **OPTIONAL_TYPES}.items():
        if key not in metrics:
            continue
        value = metrics[key]
        if (None if value is None else type(value)) not in types:
            raise LTPError(f"{name}: {key} is {value!r:.60}, which has the wrong type; {FIX}")
    for key, allowed in (("status", STATUSES), ("method", METHODS), ("stage", STAGES)):
        if metrics[key] not in allowed:
            raise LTPError(f"{name}: {key} is {metrics[key]!r}, expected one of {', '.join(allowed)}; {FIX}")


def read_metrics(path: str | os.PathLike) -> dict[str, Any]:
    """The metrics of a run, given its directory or its metrics.json; schema and fingerprint are checked.

    Raises LTPError naming the file when it is missing, cut, edited, or of another schema version.
    """
    path = Path(path)
    if path.name != METRICS:
        path = path / METRICS
    metrics = read_manifest(path, "run")
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
        raise LTPError(f"{shown(path)}: {why}; {FIX}")
    return json.loads(path.read_bytes())
