"""runs.csv: one row a run, written from runs and read back as the same runs; here the studies of a folder are read."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ltp.analysis.csv_files import csv_text, read_csv
from ltp.analysis.study import Run, Study, studies_of
from ltp.common.errors import LTPError
from ltp.common.io import shown

RUNS = "runs.csv"
# Columns that every runs.csv has, first; then settings, metrics, layers, environment, timings, as the runs have them.
RUNS_COLUMNS = (
    "run",
    "status",
    "reason",
    "task",
    "model",
    "method",
    "stage",
    "seed",
    "setting",
    "frontier",
    "metric",
    "validation_score",
    "test_score",
    "validation_relative_flops",
    "test_relative_flops",
)
SPLITS = ("validation", "test")  # whose score and FLOPs have a column of their own
LAYERS = ("layer_threshold", "layer_attention_tokens", "layer_ffn_tokens")
Value = TypeVar("Value")


def runs_table(runs: Sequence[Run], on_frontier: set[str]) -> str:
    """runs.csv. ``on_frontier``: the names of the runs of settings on the frontier. Timings are its last columns."""
    rows = [_row(run, on_frontier) for run in runs]
    others = {key for row in rows for key in row} - set(RUNS_COLUMNS)

    def place(key: str) -> tuple[int, str]:
        groups = ("setting_", "validation_", "test_", "examples_", "layer_", "data_", "fingerprint", "environment_")
        kinds = [i for i, group in enumerate(groups) if key.startswith(group)]
        return (99 if key.startswith("timing_") else kinds[0] if kinds else 50, key)

    return csv_text([*RUNS_COLUMNS, *sorted(others | set(LAYERS), key=place)], rows)


def _row(run: Run, on_frontier: set[str]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "run": run.name,
        "status": run.status,
        "reason": run.reason,
        **{key: getattr(run, key) for key in ("task", "model", "method", "stage", "seed")},
        "setting": run.label,
        "frontier": run.name in on_frontier,
    }
    metrics = run.metrics
    if metrics is None:
        return row | _prefixed("setting", run.settings)
    if run.status not in ("complete", "diverged"):  # figures that cannot be trusted are not shown
        return row
    row["metric"] = run.metric
    for split in SPLITS:
        row[f"{split}_score"] = run.scores.get(split)
        row[f"{split}_relative_flops"] = run.relative_flops.get(split)
    row |= _prefixed("setting", metrics["settings"])
    for split, scores in metrics["metrics"].items():
        for name, value in scores.items():
            row[f"{split}_{name}"] = value if name == "loss" or value is None else 100 * value
    for split, flops in metrics["flops"].items():
        row |= {f"{split}_{name}": value for name, value in flops.items() if name != "relative"}
    row |= _prefixed("examples", metrics["examples"]) | _prefixed("layer", metrics["layers"])
    row |= {"data_fingerprint": metrics["data_fingerprint"], "fingerprint": metrics["fingerprint"]}
    return row | _prefixed("environment", metrics["environment"]) | _prefixed("timing", metrics["timing"])


def _prefixed(prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{prefix}_{key}": value for key, value in values.items()}


def read_studies(tables_dir: str | os.PathLike[str]) -> list[Study]:
    """The studies of the tables in a folder, by task and encoder. Raises LTPError for missing or damaged tables."""
    return studies_of(read_runs(tables_dir))


def read_runs(tables_dir: str | os.PathLike[str]) -> list[Run]:
    """The runs of runs.csv, in its order. Raises LTPError where it is missing or damaged."""
    path = Path(tables_dir, RUNS)
    rows = read_csv(path, (*RUNS_COLUMNS, *LAYERS))
    try:
        return [_run(path.parent, row) for row in rows]
    except ValueError:
        raise LTPError(f"{shown(path)}: has text for a number; make it again with `ltp tables`") from None


def _run(folder: Path, row: Mapping[str, str]) -> Run:
    seconds = row.get("timing_total_seconds") or row.get("timing_train_seconds") or 0.0
    settings = _with_prefix("setting_", row, str)
    settings.pop("seed", None)
    return Run(
        folder / row["run"],
        row["run"],
        row["status"],
        row["reason"],
        row["task"],
        row["model"],
        row["method"],
        row["stage"],
        metric=row["metric"],
        seed=int(row["seed"]) if row["seed"] else None,
        label=row["setting"],
        settings=settings,
        scores=_of_splits("score", row),
        relative_flops=_of_splits("relative_flops", row),
        gflops=_of_splits("gflops", row),
        layers=_with_prefix("layer_", row, lambda cell: [float(value) for value in cell.split(";")]),
        examples=_with_prefix("examples_", row, int),
        environment=_with_prefix("environment_", row, str),
        seconds=float(seconds),
    )


def _of_splits(name: str, row: Mapping[str, str]) -> dict[str, float]:
    return {split: float(row[f"{split}_{name}"]) for split in SPLITS if row.get(f"{split}_{name}")}


def _with_prefix(prefix: str, row: Mapping[str, str], read: Callable[[str], Value]) -> dict[str, Value]:
    """The cells of the columns with a prefix, by the rest of their name; empty ones are left out."""
    return {key.removeprefix(prefix): read(cell) for key, cell in row.items() if key.startswith(prefix) and cell}
