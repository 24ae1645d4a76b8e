"""Runs as the tables take them in: metrics.json found, read and checked; what cannot be trusted has its reason."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

from ltp.analysis.study import Run, Study
from ltp.common.errors import LTPError
from ltp.common.io import shown
from ltp.common.names import METHODS, STAGES
from ltp.results.manifest import METRICS
from ltp.results.run import CHECKPOINT, RunManifest, read_metrics
from ltp.results.verify import verify_files

# How a setting is written in a path → what it is called in metrics.json; for runs that have no metrics to read.
PATH_KEYS = {
    "temperature": "temperature",
    "lambda": "lambda",
    "lr": "learning_rate",
    "keep_rate": "token_keep_rate",
    "threshold": "final_token_threshold",
}


def find_runs(root: str | os.PathLike[str]) -> list[Path]:
    """The metrics.json of every run below ``root``, there or, of a run not finished, yet to come."""
    if not os.path.isdir(root):
        raise LTPError(f"{shown(root)}: is not a folder; expected the folder of results")
    found = []
    for folder, subfolders, names in os.walk(root):
        if METRICS in names or CHECKPOINT in subfolders:
            found.append(Path(folder) / METRICS)
        subfolders[:] = sorted(name for name in subfolders if name != CHECKPOINT and not name.startswith("."))
    return found


def load_run(path: Path, output_dir: Path) -> Run:
    """The run of a metrics.json; missing or damaged where that is not there or cannot be trusted.

    Of its files, config.json is hashed. ``output_dir``: the folder of the tables, in which the run is named.
    """
    directory = path.parent
    name = Path(os.path.relpath(directory, output_dir)).as_posix()
    if not path.exists():
        reason = "no metrics.json: not run yet, or failed; run snakemake again"
        return Run(directory, name, "missing", reason, **_from_path(name))
    try:
        metrics = read_metrics(path)
    except LTPError as error:
        return Run(directory, name, "damaged", str(error), **_from_path(name))
    run = _from_metrics(directory, name, metrics)
    problems = verify_files(directory, metrics["files"], only=("config.json",))
    if problems:
        run.status, run.reason = "damaged", problems[0]
    return run


def _from_metrics(directory: Path, name: str, metrics: RunManifest) -> Run:
    primary = metrics["primary_metric"]
    scores = {split: found.get(primary) for split, found in metrics["metrics"].items()}
    return Run(
        directory,
        name,
        metrics["status"],
        metrics["reason"] or "",
        metrics["task"],
        metrics["model"],
        metrics["method"],
        metrics["stage"],
        metrics["seed"],
        metric=primary,
        settings={key: value for key, value in metrics["settings"].items() if key != "seed"},
        scores={split: 100 * score for split, score in scores.items() if score is not None},
        relative_flops=_numbers(metrics, "relative"),
        gflops=_numbers(metrics, "gflops"),
        metrics=metrics,
    )


def _numbers(metrics: RunManifest, key: str) -> dict[str, float]:
    found = {split: dict(flops).get(key) for split, flops in metrics["flops"].items()}
    return {split: value for split, value in found.items() if isinstance(value, (int, float))}


def _from_path(name: str) -> dict[str, Any]:
    """What the path of a run says where its metrics cannot: task, seed, method, stage and settings."""
    facts: dict[str, Any] = {"settings": {}}
    parts = name.split("/")
    for position, part in enumerate(parts):
        key, tilde, value = part.partition("~")
        if tilde and key == "seed":
            facts["task"] = parts[position - 1] if position else ""
            facts["seed"] = int(value) if value.isdigit() else None
        elif tilde and key in PATH_KEYS:
            facts["settings"][PATH_KEYS[key]] = value
        elif part in METHODS:
            facts["method"] = part
        elif part in STAGES:
            facts["stage"] = part
    return facts


def leave_out_other_data(study: Study) -> None:
    """Scores on different examples cannot be compared: what differs from most runs of a task is left out."""
    made_on = {run: run.metrics["data_fingerprint"] for run in study.runs if run.metrics and run.status == "complete"}
    prints = Counter(made_on.values())
    usual = max(prints, key=lambda print_: (prints[print_], print_), default=None)
    for run, found in made_on.items():
        if found != usual:
            study.leave_out(run, "was made on other data than most runs of its task; delete it and run snakemake again")


def verify_reported(study: Study) -> None:
    """Hash every file of the runs that the summary rests on; without a damaged one, others may be picked."""
    verified: set[Run] = set()
    while True:
        left = [run for setting in study.reported() for run in setting.runs if run not in verified]
        if not left:
            return
        for run in left:
            verified.add(run)
            problems = verify_files(run.directory, run.metrics["files"] if run.metrics else {})
            if problems:
                study.leave_out(run, problems[0])
