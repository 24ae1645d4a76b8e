"""Runs → runs.csv, frontier.csv, summary.csv.  the same runs give the same bytes (timings aside).

Scores are in points (fractions × 100), FLOPs in GFLOPs a sentence or relative to the dense model. A run that is
missing, diverged or damaged is listed with its reason and enters no figure. Settings are picked on the validation
split and reported on the test split.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ltp.analysis.csv_files import CHECKSUMS, _csv
from ltp.analysis.frontier import frontier
from ltp.analysis.study import Run, by_setting, deviation, label_runs, seeds_to_compare
from ltp.analysis.summary import SUMMARY_COLUMNS, chosen_settings, summary_rows
from ltp.common.errors import LTPError
from ltp.common.io import file_sha256, shown, write_json, write_text
from ltp.common.names import METHODS
from ltp.results.manifest import METRICS
from ltp.results.run import CHECKPOINT, read_metrics
from ltp.results.verify import verify_files

RUNS, FRONTIER, SUMMARY = "runs.csv", "frontier.csv", "summary.csv"
FRONTIER_COLUMNS = (
    "task",
    "model",
    "metric",
    "method",
    "setting",
    "seeds",
    "validation_score",
    "validation_score_sd",
    "validation_relative_flops",
    "test_score",
    "test_score_sd",
    "test_relative_flops",
    "test_relative_flops_sd",
    "test_gflops",
    "test_flops_reduction",
    "runs",
)
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
LAYERS = ("layer_threshold", "layer_attention_tokens", "layer_ffn_tokens")
# How a setting is written in a path → what it is called in metrics.json; for runs that have no metrics to read.
PATH_KEYS = {
    "temperature": "temperature",
    "lambda": "lambda",
    "target": "flops_target",
    "lr": "learning_rate",
    "keep_rate": "token_keep_rate",
    "threshold": "final_token_threshold",
}


def write_tables(
    metrics_paths: Iterable[str | os.PathLike],
    output_dir: str | os.PathLike,
    expected: Iterable[str | os.PathLike] | None = None,
) -> list[str]:
    """Write runs.csv, frontier.csv and summary.csv into ``output_dir``; returns the problems, one line each.

    ``metrics_paths``: the metrics.json of every run. ``expected``: those that the grid asks for; what is not there
    is listed as missing. config.json of every run is checked, and all files of the runs that summary.csv rests on.
    Raises LTPError when the tables cannot be written.
    """
    output_dir = Path(output_dir)
    paths = sorted({Path(path) for path in [*metrics_paths, *(expected or [])]})
    runs = sorted((_load(path, output_dir) for path in paths), key=lambda run: run.name)
    studies: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for run in runs:
        if run.metrics:
            studies[run.get("task"), run.get("model")].append(run)
    frontier_rows, summaries, on_frontier = [], [], set()
    for _, study in sorted(studies.items()):
        _leave_out_other_data(study)
        _verify_chosen(study)
        label_runs(study)
        for setting in _frontier_settings(study):
            frontier_rows.append(_frontier_row(setting))
            on_frontier.update(run.name for run in setting.runs)
        summaries += summary_rows(study, [run for run in runs if run.get("task") == study[0].get("task")])
    label_runs([run for run in runs if not run.metrics])
    write_text(output_dir / RUNS, _runs_csv(runs, on_frontier))
    write_text(output_dir / FRONTIER, _csv(FRONTIER_COLUMNS, frontier_rows))
    write_text(output_dir / SUMMARY, _csv(SUMMARY_COLUMNS, summaries))
    write_json(output_dir / CHECKSUMS, {name: file_sha256(output_dir / name) for name in (RUNS, FRONTIER, SUMMARY)})
    return [f"{run.status}: {run.name}: {run.reason}" for run in runs if run.status != "complete"]


def _load(path: Path, output_dir: Path) -> Run:
    directory = path.parent
    name = Path(os.path.relpath(directory, output_dir)).as_posix()
    if not path.exists():
        reason = "no metrics.json: not run yet, or failed; run snakemake again"
        return Run(directory, name, "missing", reason, facts=_facts(name))
    try:
        metrics = read_metrics(path)
    except LTPError as error:
        return Run(directory, name, "damaged", str(error), facts=_facts(name))
    problems = verify_files(directory, metrics["files"], only=("config.json",))
    if problems:
        return Run(directory, name, "damaged", problems[0], metrics)
    return Run(directory, name, metrics["status"], metrics["reason"] or "", metrics)


def _facts(name: str) -> dict[str, Any]:
    """What the path of a run tells when its metrics cannot: task, seed, method, stage and settings."""
    facts: dict[str, Any] = {"settings": {}}
    parts = name.split("/")
    for position, part in enumerate(parts):
        key, tilde, value = part.partition("~")
        if tilde and key == "seed":
            facts["task"] = parts[position - 1] if position else None
            facts["seed"] = int(value) if value.isdigit() else None
        elif tilde and key in PATH_KEYS:
            facts["settings"][PATH_KEYS[key]] = value
        elif part in METHODS:
            facts["method"] = part
        elif part in ("base", "soft", "hard"):
            facts["stage"] = part
    return facts


def _leave_out_other_data(study: Sequence[Run]) -> None:
    """Scores on different examples cannot be compared: what differs from most runs of a task is left out."""
    prints = Counter(run.metrics["data_fingerprint"] for run in study if run.status == "complete")
    if len(prints) > 1:
        usual = max(prints, key=lambda print_: (prints[print_], print_))
        for run in study:
            if run.status == "complete" and run.metrics["data_fingerprint"] != usual:
                run.status = "damaged"
                run.reason = "was made on other data than most runs of its task; delete it and run snakemake again"


def _verify_chosen(study: Sequence[Run]) -> None:
    """Hash every file of the runs that the summary rests on; without a damaged one, others may be chosen."""
    verified: set[str] = set()
    while True:
        chosen = [run for setting in chosen_settings(study) for run in setting.runs if run.name not in verified]
        if not chosen:
            return
        for run in chosen:
            verified.add(run.name)
            problems = verify_files(run.directory, run.metrics["files"])
            if problems:
                run.status, run.reason = "damaged", problems[0]


def _frontier_settings(study: Sequence[Run]) -> list:
    settings = by_setting(study, seeds_to_compare(study))
    kept = []
    for method in METHODS:
        members = [setting for setting in settings if setting.method == method]
        points = [(setting.score("validation"), setting.flops("validation")) for setting in members]
        kept += [members[i] for i in frontier(points)]
    return kept


def _frontier_row(setting) -> dict[str, Any]:
    first = setting.runs[0]
    return {
        "task": first.get("task"),
        "model": first.get("model"),
        "metric": first.metrics["primary_metric"],
        "method": setting.method,
        "setting": setting.label,
        "seeds": len(setting.runs),
        "validation_score": setting.score("validation"),
        "validation_score_sd": deviation(run.score("validation") for run in setting.runs),
        "validation_relative_flops": setting.flops("validation"),
        "test_score": setting.score("test"),
        "test_score_sd": deviation(run.score("test") for run in setting.runs),
        "test_relative_flops": setting.flops("test"),
        "test_relative_flops_sd": deviation(run.flops("test") for run in setting.runs),
        "test_gflops": setting.flops("test", "gflops"),
        "test_flops_reduction": 1 / setting.flops("test"),
        "runs": [run.name for run in setting.runs],
    }


def _run_row(run: Run, on_frontier: set[str]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "run": run.name,
        "status": run.status,
        "reason": run.reason,
        **{key: run.get(key) for key in ("task", "model", "method", "stage", "seed")},
        "setting": run.label,
        "frontier": run.name in on_frontier,
    }
    if run.status not in ("complete", "diverged"):  # figures that cannot be trusted are not shown
        return row | {f"setting_{key}": value for key, value in (run.facts.get("settings") or {}).items()}
    metrics = run.metrics
    row["metric"] = metrics["primary_metric"]
    for split in ("validation", "test"):
        row[f"{split}_score"] = run.score(split)
        row[f"{split}_relative_flops"] = run.flops(split)
    row |= {f"setting_{key}": value for key, value in metrics["settings"].items()}
    for split, scores in metrics["metrics"].items():
        for name, value in scores.items():
            row[f"{split}_{name}"] = value if name == "loss" or value is None else 100 * value
    for split, flops in metrics["flops"].items():
        row |= {f"{split}_{name}": value for name, value in flops.items() if name != "relative"}
    row |= {f"examples_{split}": count for split, count in metrics["examples"].items()}
    row |= {f"layer_{name}": values for name, values in metrics["layers"].items()}
    row |= {"data_fingerprint": metrics["data_fingerprint"], "fingerprint": metrics["fingerprint"]}
    row |= {f"environment_{key}": value for key, value in metrics["environment"].items()}
    return row | {f"timing_{key}": value for key, value in metrics["timing"].items()}


def _runs_csv(runs: Sequence[Run], on_frontier: set[str]) -> str:
    rows = [_run_row(run, on_frontier) for run in runs]
    others = {key for row in rows for key in row} - set(RUNS_COLUMNS)

    def place(key: str) -> tuple[int, str]:
        groups = ("setting_", "validation_", "test_", "examples_", "layer_", "data_", "fingerprint", "environment_")
        kinds = [i for i, group in enumerate(groups) if key.startswith(group)]
        return (99 if key.startswith("timing_") else kinds[0] if kinds else 50, key)

    return _csv([*RUNS_COLUMNS, *sorted(others | set(LAYERS), key=place)], rows)


def find_runs(root: str | os.PathLike) -> list[Path]:
    """The metrics.json of every run below ``root``, there or, of a run not finished, yet to come."""
    if not os.path.isdir(root):
        raise LTPError(f"{shown(root)}: is not a folder; expected the folder of results")
    found = []
    for folder, subfolders, names in os.walk(root):
        if METRICS in names or CHECKPOINT in subfolders:
            found.append(Path(folder) / METRICS)
        subfolders[:] = sorted(name for name in subfolders if name != CHECKPOINT and not name.startswith("."))
    return found
