"""How far a study is: one line after each run, and a summary when the workflow ends.

When it starts, the workflow writes the planned runs to ``R/.progress.json`` (R is the folder of results). A run is done
when its metrics.json is there, and no run that it starts from is still to be made, or has been made since.
"""

from __future__ import annotations

import contextlib
import csv
import json
import math
import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ltp.common.errors import LTPError
from ltp.common.io import write_text
from ltp.grid.candidates import warn_of_unequal_candidates
from ltp.grid.grid import Grid, Run
from ltp.grid.plan import run_tokens, stage_of
from ltp.grid.sizes import task_sizes
from ltp.results.manifest import METRICS
from ltp.results.run import RunManifest, read_metrics
from ltp.results.study_plan import PLAN

SAMPLE = 8  # the time left for a stage is estimated from so many of its latest runs
BASE_THREADS = 2  # a base run may have; all other runs have one, since there are enough of them to fill the cores
# What evaluation adds to a run's tokens, of those of the validation split: a forward pass is a third of a training step
# or less, and there are two splits. A run that only sets thresholds has no other cost.
EVALUATION = 0.5
UNKNOWN_TOKENS = 100_000.0  # assumed for a run whose data are not prepared and of unknown size


def start(grid: Grid, cores: int) -> None:
    """Write the planned runs and the time to the folder of results, for ``report`` and ``final_summary``.

    Warns on stderr where the methods have unequal numbers of settings.
    """
    sizes = task_sizes(grid)
    runs = {}
    for run in grid.runs.values():
        size = sizes[run.task]
        tokens, evaluated = run_tokens(run, size), (size.validation_examples or 1) * size.mean_length
        runs[os.path.relpath(run.directory, grid.results_dir)] = {
            "name": run.name,
            "stage": stage_of(run),
            "tokens": UNKNOWN_TOKENS if tokens is None else tokens + EVALUATION * evaluated,
            "parent": _parent(grid, run),
        }
    Path(grid.results_dir).mkdir(parents=True, exist_ok=True)
    state = {"started": time.time(), "cores": cores, "runs": runs}
    write_text(Path(grid.results_dir, PLAN), json.dumps(state))
    for line in warn_of_unequal_candidates(grid, sizes):
        print(line, file=sys.stderr)


def _parent(grid: Grid, run: Run) -> str | None:
    """The run that a run starts from, converted or not, relative to the folder of results; None for a base run."""
    directory = os.path.dirname(run.parent)
    if directory in grid.conversions:
        directory = os.path.dirname(grid.conversions[directory].parent)
    return os.path.relpath(directory, grid.results_dir) if directory in grid.runs else None


def base_threads(grid: Grid, cores: float) -> int:
    """Threads of each base run: more than one only where the base runs are fewer than the cores."""
    return max(1, int(min(BASE_THREADS, cores // sum(run.method == "dense" for run in grid.runs.values()))))


def _finished(results_dir: str | Path, runs: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """The runs that are done, and when they ended, in seconds since the epoch; ``runs`` has parents before children."""
    finished: dict[str, float] = {}
    for name, run in runs.items():
        ended, parent = _mtime(Path(results_dir, name, METRICS)), run.get("parent")
        if ended and (parent is None or ended >= finished.get(parent, math.inf)):
            finished[name] = ended
    return finished


def _state(results_dir: str | Path) -> dict[str, Any]:
    path = Path(results_dir, PLAN)
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        return {key: state[key] for key in ("started", "cores", "runs")}
    except (OSError, ValueError, KeyError, TypeError):
        raise LTPError(f"{path}: not there or damaged; the workflow writes it when it starts") from None


def report(results_dir: str | Path, run_dir: str | Path | None = None) -> str:
    """One line: the outcome of the run in ``run_dir``, how many runs are done and running, how long the rest will take.

    Raises LTPError where no workflow has been started in ``results_dir``.
    """
    state = _state(results_dir)
    runs: dict[str, dict[str, Any]] = state["runs"]
    finished = _finished(results_dir, runs)
    # A run with a log of this workflow and no result is running or has failed; no more run than there are cores.
    logs = (name for name in runs if name not in finished)
    begun = [name for name in logs if _mtime(Path(results_dir, "logs", f"{name}.log")) >= state["started"]]
    begun = sorted(begun, key=lambda name: -_mtime(Path(results_dir, "logs", f"{name}.log")))[: state["cores"]]

    counts = f"{len(finished)} of {len(runs)} runs done"
    if len(finished) < len(runs):
        counts += f", {len(begun)} running"
        left = _seconds_left(Path(results_dir), runs, finished, begun, state["cores"])
        counts += f", about {duration(left)} left" if left is not None else ""
    if run_dir is None:
        return counts
    name = os.path.relpath(run_dir, results_dir)
    return f"{runs.get(name, {'name': name})['name']} {_outcome(Path(run_dir))}: {counts}"


def _outcome(run_dir: Path) -> str:
    metrics = _metrics(run_dir)
    if metrics is None:
        return "not done"
    return "done" if metrics["status"] == "complete" else f"{metrics['status']} ({metrics['reason']})"


def _seconds_left(
    results_dir: Path,
    runs: Mapping[str, Mapping[str, Any]],
    finished: Mapping[str, float],
    begun: Iterable[str],
    cores: int,
) -> float | None:
    """Tokens still to train ÷ the speed of the latest runs, stage by stage; None while no run is done."""
    by_stage: dict[str, list[str]] = defaultdict(list)
    for name in sorted(finished, key=lambda name: -finished[name]):
        by_stage[runs[name]["stage"]].append(name)
    seconds: dict[str, float] = {}
    for stage, names in by_stage.items():
        timed = [(_total_seconds(results_dir / name), runs[name]["tokens"]) for name in names[:SAMPLE]]
        timed = [(spent, tokens) for spent, tokens in timed if spent]
        if timed:
            seconds[stage] = sum(spent for spent, _ in timed) / sum(tokens for _, tokens in timed)  # per token
    if not seconds:
        return None
    usual = sum(seconds.values()) / len(seconds)
    begun = set(begun)
    left: list[float] = [
        run["tokens"] * seconds.get(run["stage"], usual) * (0.5 if name in begun else 1.0)  # half done, on average
        for name, run in runs.items()
        if name not in finished
    ]
    return max(sum(left) / cores, max(left, default=0.0))


def _metrics(run_dir: Path) -> RunManifest | None:
    """The metrics of a run; None where they are missing or damaged, which the tables and ``ltp verify`` report."""
    try:
        return read_metrics(run_dir)
    except LTPError:
        return None


def _total_seconds(run_dir: Path) -> float:
    """Seconds that a complete run took; 0 for any other."""
    metrics = _metrics(run_dir)
    if metrics is None or metrics["status"] != "complete":
        return 0.0
    return metrics["timing"].get("total_seconds") or 0.0


def _mtime(path: Path) -> float:
    """Seconds since the epoch; 0 for a file that is not there."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def duration(seconds: float) -> str:
    """``40 s``, ``6 min``, ``3.2 h``."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 2 * 3600 else f"{seconds / 3600:.1f} h"


def job_seconds(results_dir: str | Path, since: float = 0.0, cores: int = 1) -> list[float]:
    """Wall time × threads, in seconds, of each job that ended after ``since``, from the workflow's benchmark files."""
    spent = []
    benchmarks = Path(results_dir, "benchmarks")
    for path in benchmarks.rglob("*.tsv"):
        if _mtime(path) >= since:
            run = _metrics(Path(results_dir, path.relative_to(benchmarks).with_suffix("")))
            threads = min(run["environment"].get("threads", 1), cores) if run else 1
            # A benchmark file that is cut, since the disk was full, is left out.
            with contextlib.suppress(ValueError, KeyError, TypeError), path.open(encoding="utf-8", newline="") as file:
                spent += [threads * float(row["s"]) for row in csv.DictReader(file, delimiter="\t")]
    return spent


def final_summary(results_dir: str | Path) -> str:
    """Where the results of a finished workflow are, how long it took and how well the cores were used."""
    root, state, now = Path(results_dir), _state(results_dir), time.time()
    lines = [
        f"{what:<8}{path}"
        for what, path in (
            ("tables", ", ".join(str(root / f"{name}.csv") for name in ("summary", "matched", "frontier", "runs"))),
            ("plots", root / "plots"),
            ("page", root / "index.html"),
        )
        if Path(str(path).split(",")[0]).exists()
    ]
    wall, spent = now - state["started"], job_seconds(root, state["started"], state["cores"])
    share = sum(spent) / (state["cores"] * wall)
    lines.append(
        f"time    {duration(wall)} for {len(spent)} jobs; job seconds × threads ÷ (cores × wall seconds) = "
        f"{sum(spent):.0f} ÷ ({state['cores']} × {wall:.0f}) = {share:.2f}"
    )
    return "\n".join(lines)
