"""The run directory: how a finished run is written, read and verified.

A run directory holds a checkpoint, predictions.json and, written last and atomically, metrics.json, which is
a record (see ltp.records). The schema of metrics.json lives here and nowhere else.
"""

from __future__ import annotations

import json
import os
import typing
from collections.abc import Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypedDict, cast

from ltp.common.errors import LTPError
from ltp.common.io import plain, shown, write_json
from ltp.common.names import METHODS, STAGES
from ltp.results.manifest import FIX, METRICS, file_problem, read_manifest, write_manifest

PREDICTIONS = "predictions.json"
STATUSES = ("complete", "diverged")
CHECKPOINT = "checkpoint"  # the folder of a training's resumable state, inside its run directory


class Flops(TypedDict):
    """What a split costs, a sentence on average."""

    gflops: float
    dense_gflops: float  # of the same model without pruning
    relative: float  # the first over the second


class Layers(TypedDict):
    """One number a layer, on the test split."""

    threshold: list[float] | None  # None where the pruning rule has none
    attention_tokens: list[float]  # tokens a sentence that enter the layer's attention
    ffn_tokens: list[float]  # and its feed-forward


class Encoder(TypedDict):
    """The pretrained encoder that a base run started from."""

    name: str
    source: str
    revision: str | None  # the resolved commit of a model of the Hub
    sha256: str  # of the weights


class _RequiredMetrics(TypedDict):
    status: str  # one of STATUSES
    reason: str | None  # why a run diverged
    task: str
    model: str  # the encoder
    method: str
    stage: str
    seed: int
    settings: dict[str, Any]
    primary_metric: str
    metrics: dict[str, dict[str, float | None]]  # split → metric → fraction; None where it was not finite
    examples: dict[str, int]  # split → count
    flops: dict[str, Flops]  # split → cost
    layers: Layers
    data_fingerprint: str
    parent: dict[str, Any] | None  # path and fingerprint of the run or conversion that this one started from
    environment: dict[str, Any]
    timing: dict[str, Any]  # the only part that may differ between two identical runs


class RunMetrics(_RequiredMetrics, total=False):
    """What a stage says of its run: the content of metrics.json without what write_run adds.

    The keys of this class may be absent: earlier versions did not write them, nor do runs that they do not concern.
    """

    teacher: dict[str, Any] | None  # path and fingerprint of the dense run that distillation learned from
    tokenizer_sha256: str  # of the tokenizer that made the data
    encoder: Encoder  # of base runs
    budget: dict[str, Any]  # of runs with a flops_target: it, and the FLOPs on training text that led to it


class RunManifest(RunMetrics):
    """metrics.json as :func:`read_metrics` returns it."""

    schema: int
    kind: str
    files: dict[str, str]  # name → sha256
    fingerprint: str


def _json_types(hint: Any) -> tuple[type | None, ...]:
    """The types that a value of this hint may have once it is JSON: ``float | None`` → (float, None)."""
    parts = typing.get_args(hint) if isinstance(hint, UnionType) else (hint,)
    plain_types = (dict if typing.is_typeddict(part) else typing.get_origin(part) or part for part in parts)
    return tuple(None if kind is NoneType else kind for kind in plain_types)


# Key of metrics.json → the types it may have (None is null). write_run adds schema, kind, files, fingerprint.
SCHEMA_TYPES = {key: _json_types(hint) for key, hint in typing.get_type_hints(_RequiredMetrics).items()}
OPTIONAL_TYPES = {
    key: _json_types(hint) for key, hint in typing.get_type_hints(RunMetrics).items() if key not in SCHEMA_TYPES
}


def write_run(directory: str | os.PathLike[str], metrics: Mapping[str, Any]) -> RunManifest:
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
    return cast(RunManifest, write_manifest(path, "run", metrics))


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


def read_metrics(path: str | os.PathLike[str]) -> RunManifest:
    """The metrics of a run, given its directory or its metrics.json; schema and fingerprint are checked.

    Raises LTPError naming the file when it is missing, cut, edited, or of another schema version.
    """
    path = Path(path)
    if path.name != METRICS:
        path = path / METRICS
    metrics = read_manifest(path, "run")
    _check_schema(path, metrics)
    return cast(RunManifest, metrics)


def write_predictions(directory: str | os.PathLike[str], predictions: Mapping[str, Mapping[str, Any]]) -> None:
    """Write predictions.json: split → columns with an entry for each example, in one order for every run.

    The columns are ``labels``, ``predictions``, ``lengths`` (tokens) and ``relative_flops`` (the share of its unpruned
    FLOPs that the example costs); runs of early versions lack the last two.
    """
    for split, columns in predictions.items():
        if len(columns["labels"]) != len(columns["predictions"]):
            raise LTPError(
                f"{shown(Path(directory) / PREDICTIONS)}: {split} has {len(columns['labels'])} labels but "
                f"{len(columns['predictions'])} predictions; expected one of each for every example"
            )
    write_json(Path(directory) / PREDICTIONS, predictions, indent=None)


def read_predictions(directory: str | os.PathLike[str]) -> dict[str, dict[str, list[Any]]]:
    """A run's predictions, after checking them against the sha256 in its metrics.json. Raises LTPError."""
    path = Path(directory) / PREDICTIONS
    why = file_problem(path, read_metrics(directory)["files"].get(PREDICTIONS))
    if why:
        raise LTPError(f"{shown(path)}: {why}; {FIX}")
    return cast(dict[str, dict[str, list[Any]]], json.loads(path.read_bytes()))
