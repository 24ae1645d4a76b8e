"""Runs as the tables take them in: metrics.json found, read and checked; what cannot be trusted has its reason."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ltp.analysis.csv_files import CHECKSUMS
from ltp.analysis.study import Run, Study
from ltp.common.errors import LTPError
from ltp.common.io import shown
from ltp.common.names import FINAL_STAGES, METHODS, STAGES
from ltp.results.dataset import DataInfo, data_above, read_info
from ltp.results.lineage import Lineage
from ltp.results.manifest import METRICS
from ltp.results.run import CHECKPOINT, PREDICTIONS, RunManifest, read_metrics
from ltp.results.study_plan import PLAN, planned_runs
from ltp.results.verify import verify_files

AGAIN = "run snakemake again"
# How a setting is written in a path → what it is called in metrics.json; for runs that have no metrics to read.
PATH_KEYS = {
    "temperature": "temperature",
    "lambda": "lambda",
    "target": "flops_target",
    "lr": "learning_rate",
    "keep_rate": "token_keep_rate",
    "threshold": "final_token_threshold",
}


def runs_of_study(root: str | os.PathLike[str]) -> list[Path]:
    """The metrics.json of every run of the study in a folder, there or yet to come.

    They are those that its grid asks for, by the plan that the workflow leaves there. In a folder without a plan they
    are all runs below it but those in a subfolder that has a plan or tables of its own: that is another study.
    Raises LTPError where ``root`` is not a folder or its plan is damaged.
    """
    planned = planned_runs(root)
    if planned is not None:
        return [directory / METRICS for directory in planned]
    return [path for path, nested in _found(root) if not nested]


def other_runs(root: str | os.PathLike[str], own: Iterable[str | os.PathLike[str]]) -> str | None:
    """One line about the runs below a folder that are not among ``own``, the study's metrics.json; None for none."""
    known = {os.path.abspath(path) for path in own}
    others = [path.parent for path, _ in _found(root) if os.path.abspath(path) not in known]
    if not others:
        return None
    count = "1 run is" if len(others) == 1 else f"{len(others)} runs are"
    why = "(from an earlier grid, or of another study, which has tables of its own)"
    where = f"below {shown(root)} but not asked for by this study's grid"
    return f"left out: {count} {where}, such as {shown(others[0])} {why}"


def _found(root: str | os.PathLike[str]) -> Iterator[tuple[Path, bool]]:
    """The metrics.json of every run below a folder, there or to come, and whether it lies in a nested study."""
    if not os.path.isdir(root):
        raise LTPError(f"{shown(root)}: is not a folder; expected the folder of results")
    nested: set[str] = set()
    for folder, subfolders, names in os.walk(root):
        inside = os.path.dirname(folder) in nested
        if inside or (folder != os.fspath(root) and (PLAN in names or CHECKSUMS in names)):
            nested.add(folder)
        if METRICS in names or CHECKPOINT in subfolders:
            yield Path(folder) / METRICS, folder in nested
        subfolders[:] = sorted(name for name in subfolders if name != CHECKPOINT and not name.startswith("."))


def load_run(path: Path, output_dir: Path) -> Run:
    """The run of a metrics.json; missing or damaged where that is not there or cannot be trusted.

    Of its files, config.json is hashed, and the predictions of a final run, on which intervals rest. ``output_dir``:
    the folder of the tables, relative to which the run is named.
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
    hashed = ("config.json", PREDICTIONS) if run.stage in FINAL_STAGES else ("config.json",)
    problems = verify_files(directory, metrics["files"], only=hashed)
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


def leave_out_others(study: Study) -> None:
    """Take out the runs whose scores cannot be compared with those of their task.

    They are made from a run or conversion that has been made anew since, or on other data or by another metric than the
    task's data say (without data: than most), or from another encoder than most. A run whose metrics do not name the
    encoder's checksum has the encoder of its seed's dense run; runs of early versions name none.
    """
    complete = [run for run in study.runs if run.metrics and run.status == "complete"]
    lineage = Lineage()
    for run in complete:
        if source := lineage.made_anew(run.directory):
            study.leave_out(run, f"was made from an earlier {shown(source)}; {AGAIN}")
    info = _data_info(complete)
    fingerprints = {run: run.metrics["data_fingerprint"] for run in complete if run.metrics}
    _leave_out_minority(study, fingerprints, "was made on other data", info and info["fingerprint"])
    metrics = {run: run.metric for run in complete}
    _leave_out_minority(study, metrics, "was scored by another metric", info and info["primary_metric"])
    encoders = {run: _encoder(run) for run in complete}
    of_seed = {run.seed: encoder for run, encoder in encoders.items() if run.method == "dense" and encoder}
    known = {run: encoder or of_seed.get(run.seed, "") for run, encoder in encoders.items()}
    _leave_out_minority(study, {run: mark for run, mark in known.items() if mark}, "was made from another encoder")


def _data_info(runs: Sequence[Run]) -> DataInfo | None:
    """What the data of a task's runs are by now; None where they are not there or damaged."""
    folder = data_above(runs[0].directory) if runs else None
    try:
        info = read_info(folder) if folder else None
    except (LTPError, OSError):
        return None
    if info is None or not {"task", "fingerprint", "primary_metric"} <= info.keys() or info["task"] != runs[0].task:
        return None
    return info


def _encoder(run: Run) -> str:
    """The checksum of the encoder that a run started from; empty where its metrics name none."""
    return run.metrics["encoder"].get("sha256", "") if run.metrics and "encoder" in run.metrics else ""


def _leave_out_minority(study: Study, marks: Mapping[Run, str], what: str, right: str | None = None) -> None:
    """Leave out the runs whose mark is not the ``right`` one, or else the usual one.

    Of marks as frequent, the usual one is a dense run's, of the first seed.
    """
    marks = {run: mark for run, mark in marks.items() if run.status == "complete"}
    counts = Counter(marks.values())
    dense = sorted((run for run in marks if run.method == "dense"), key=lambda run: run.seed or 0)
    order = [*(marks[run] for run in dense), *sorted(counts)]
    usual = right or max(counts, key=lambda mark: (counts[mark], -order.index(mark)), default=None)
    whose = "the task's data now" if right else "the others of its task"
    fix = AGAIN if right else f"delete it and {AGAIN}"
    for run, mark in marks.items():
        if mark != usual:
            study.leave_out(run, f"{what} than {whose}; {fix}")


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
