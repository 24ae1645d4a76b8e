"""How far a study is: one line after each run, a final_summary at the end. Torch-free, reads only small files.

The workflow writes what is planned to ``R/.progress.json`` when it starts; whether a run is done, the results tell.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ltp.common.errors import LTPError
from ltp.common.io import write_text
from ltp.grid.grid import Grid
from ltp.grid.plan import run_tokens, stage_of, task_sizes
from ltp.results.study_plan import PLAN

SAMPLE = 8  # the latest runs of a stage by which the rest of that stage is judged
BASE_THREADS = 2  # of the base run: nothing else can run beside it, so it alone takes more than one core
UNKNOWN_TOKENS = 100_000.0  # of a run on data whose size nobody knows yet


def start(grid: Grid, cores: int) -> None:
    """Note the plan and the time, for ``report`` and ``final_summary``."""
    sizes = task_sizes(grid)
    runs = {
        os.path.relpath(run.directory, grid.results_dir): {
            "name": run.name,
            "stage": stage_of(run),
            "tokens": run_tokens(run, sizes[run.task]) or UNKNOWN_TOKENS,
        }
        for run in grid.runs.values()
    }
    Path(grid.results_dir).mkdir(parents=True, exist_ok=True)
    state = {"started": time.time(), "cores": cores, "runs": runs}
    write_text(Path(grid.results_dir, PLAN), json.dumps(state))


def _state(results_dir: str | Path) -> dict[str, Any]:
    path = Path(results_dir, PLAN)
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        return {key: state[key] for key in ("started", "cores", "runs")}
    except (OSError, ValueError, KeyError, TypeError):
        raise LTPError(f"{path}: not there or damaged; the workflow writes it when it starts") from None


def report(results_dir: str | Path, run_dir: str | Path | None = None) -> str:
    """One line: what has become of a run, how many are done and go on, how long the rest will take.

    Raises LTPError where no workflow has been started in ``results_dir``.
    """
    state = _state(results_dir)
    runs: dict[str, dict[str, Any]] = state["runs"]
    finished = {name: mtime for name in runs if (mtime := _mtime(Path(results_dir, name, "metrics.json")))}
    # A log younger than the workflow without a result is a run that goes on, or that failed; the cores bound the first.
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
    metrics = _read_metrics(run_dir)
    if not metrics:
        return "not done"
    return "done" if metrics.get("status") == "complete" else f"{metrics.get('status')} ({metrics.get('reason')})"


def _seconds_left(
    results_dir: Path,
    runs: Mapping[str, Mapping[str, Any]],
    finished: Mapping[str, float],
    begun: Iterable[str],
    cores: int,
) -> float | None:
    """Tokens still to train ÷ the speed of the latest runs, stage by stage; None while there are none to judge by."""
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
    left = [
        run["tokens"] * seconds.get(run["stage"], usual) * (0.5 if name in begun else 1.0)  # halfway, on average
        for name, run in runs.items()
        if name not in finished
    ]
    return max(sum(left) / cores, max(left, default=0.0))


def _read_metrics(run_dir: Path) -> dict[str, Any]:
    try:
        metrics = json.loads((run_dir / "metrics.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return metrics if isinstance(metrics, dict) else {}


def _total_seconds(run_dir: Path) -> float:
    metrics = _read_metrics(run_dir)
    return metrics.get("timing", {}).get("total_seconds") or 0.0 if metrics.get("status") == "complete" else 0.0


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
    """Wall time × threads of each job that ended after ``since``, from the workflow's benchmark files."""
    spent = []
    for path in Path(results_dir, "benchmarks").rglob("*.tsv"):
        if _mtime(path) >= since:
            threads = min(BASE_THREADS, cores) if path.name == "base.tsv" else 1
            # A benchmark that a full disk cut off must not spoil the end of a study.
            with contextlib.suppress(ValueError, KeyError, TypeError), path.open(encoding="utf-8", newline="") as file:
                spent += [threads * float(row["s"]) for row in csv.DictReader(file, delimiter="\t")]
    return spent


def final_summary(results_dir: str | Path) -> str:
    """What to say when the workflow has done all that was asked: where things are, and how well the cores were used."""
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
