"""Tables → figures for a paper: PNG (300 dpi) and SVG (text as text), one column wide.

Three a task: {task}-accuracy-vs-flops, {task}-tokens-per-layer, {task}-thresholds-per-layer. ltp.figures draws
them. The same tables give the same bytes.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ltp.analysis.csv_files import read_csv
from ltp.analysis.points import chosen_points, setting_points
from ltp.analysis.summary import SUMMARY_COLUMNS
from ltp.analysis.tables import LAYERS, RUNS, RUNS_COLUMNS, SUMMARY
from ltp.common.errors import LTPError
from ltp.common.io import shown
from ltp.report.figures import STYLE, accuracy_figure, thresholds_figure, tokens_figure
from ltp.settings.tasks import TASKS

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
