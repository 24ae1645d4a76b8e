"""Tables → figures for a paper: PNG (300 dpi) and SVG (text as text), one column wide. Torch-free.

Three a task: {task}-accuracy-vs-flops, {task}-tokens-per-layer, {task}-thresholds-per-layer. ltp.figures draws
them. The same tables give the same bytes.
"""

from __future__ import annotations

import argparse
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from ltp.errors import LTPError
from ltp.figures import STYLE, Point, accuracy_figure, thresholds_figure, tokens_figure
from ltp.frontier import FINAL_STAGES, deviation
from ltp.records import shown
from ltp.runs import METHODS
from ltp.summary import SUMMARY_COLUMNS
from ltp.tables import LAYERS, RUNS, RUNS_COLUMNS, SUMMARY, read_csv
from ltp.tasks import TASKS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS = ("accuracy-vs-flops", "tokens-per-layer", "thresholds-per-layer")
DPI = 300


def write_plots(tables_dir: str | os.PathLike, output_dir: str | os.PathLike) -> list[Path]:
    """Draw the figures of every task in the tables; returns the files written.

    A task without finished runs gets figures that say so. Raises LTPError for missing or damaged tables.
    """
    from matplotlib import rc_context

    tables_dir, output_dir = Path(tables_dir), Path(output_dir)
    runs = read_csv(tables_dir / RUNS, (*RUNS_COLUMNS, *LAYERS))
    summary = read_csv(tables_dir / SUMMARY, SUMMARY_COLUMNS)
    output_dir.mkdir(parents=True, exist_ok=True)
    written = []
    for task in sorted({row["task"] for row in runs if row["task"]}):
        if Path(task).name != task:
            raise LTPError(f"{shown(tables_dir / RUNS)}: task {task!r} cannot name a file; rename it in the grid")
        points = setting_points([row for row in runs if row["task"] == task])
        chosen = chosen_points(points, {row["runs"] for row in summary if row["task"] == task})
        metric = next((row["metric"] for row in runs if row["task"] == task and row["metric"]), "score")
        with rc_context(STYLE):
            figures = (accuracy_figure(points, metric), tokens_figure(chosen), thresholds_figure(points))
            for kind, figure in zip(KINDS, figures, strict=True):
                written += _save(figure, task, output_dir / f"{task}-{kind}")
    return written


def setting_points(rows: Sequence[dict[str, str]]) -> list[Point]:
    groups: dict[tuple[str, str], list[dict[str, str]]] = defaultdict(list)
    for row in rows:
        final = row["status"] == "complete" and row["stage"] in FINAL_STAGES
        if final and row["test_score"] and row["test_relative_flops"]:
            groups[row["method"], row["setting"]].append(row)
    points = []
    for (method, label), members in groups.items():
        members.sort(key=lambda row: int(row["seed"]))
        scores = [float(row["test_score"]) for row in members]
        flops = [100 * float(row["test_relative_flops"]) for row in members]
        chosen = any(row["frontier"] == "true" for row in members)
        points.append(
            Point(method, label, fmean(scores), deviation(scores), fmean(flops), deviation(flops), chosen, members)
        )
    return sorted(points, key=lambda point: (METHODS.index(point.method), point.flops, point.label))


def chosen_points(points: Sequence[Point], summary: set[str]) -> list[Point]:
    """A point per pruning method: its operating point in summary.csv, or else its best on the frontier."""
    chosen = []
    for method in METHODS[1:]:
        members = [point for point in points if point.method == method and point.on_frontier]
        within = [point for point in members if ";".join(row["run"] for row in point.rows) in summary]
        best = max(members, key=lambda p: fmean(float(r["validation_score"]) for r in p.rows), default=None)
        chosen += within or ([best] if best else [])
    return chosen


def _save(figure: Figure, task: str, stem: Path) -> list[Path]:
    known = TASKS[task].download_folder if task in TASKS else None  # GLUE's way to write its tasks
    name = known or (task.replace("_", " ").title() if task.islower() else task)
    title = figure.axes[0].set_title(name, loc="left", fontweight="bold", pad=4)
    title.set_parse_math(False)
    png, svg = stem.with_name(stem.name + ".png"), stem.with_name(stem.name + ".svg")
    try:
        figure.savefig(png, dpi=DPI, metadata={"Software": None})
        figure.savefig(svg, metadata={"Date": None, "Creator": None})
    except OSError as error:
        raise LTPError(f"{shown(stem)}: cannot be written ({error.strerror}); make room or give permission") from None
    return [png, svg]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``ltp plots``."""
    parser.add_argument("tables", help="folder with runs.csv, frontier.csv and summary.csv")
    parser.add_argument("--output", help="folder for the figures; unset: plots/ in the folder of the tables")


def run(arguments: argparse.Namespace) -> int:
    """``ltp plots``: draw the figures and name them."""
    for path in write_plots(arguments.tables, arguments.output or Path(arguments.tables) / "plots"):
        print(path)
    return 0
