"""Tables → figures for a paper: PNG (300 dpi) and SVG (text as text), one column wide.

Four a task: {task}-accuracy-vs-flops, {task}-tokens-per-layer, {task}-thresholds-per-layer, {task}-flops-by-length; of
a task with several encoders, the encoder's name comes after the task's. The same tables give the same bytes.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ltp.analysis.csv_files import read_rows
from ltp.analysis.lengths import LengthRow, read_lengths
from ltp.analysis.runs import RUNS, read_studies
from ltp.analysis.study import Study
from ltp.analysis.summary import SUMMARY, SummaryRow
from ltp.common.errors import LTPError
from ltp.common.io import shown
from ltp.report.by_length import length_figure
from ltp.report.figures import STYLE, accuracy_figure, thresholds_figure, tokens_figure
from ltp.settings.tasks import task_title

if TYPE_CHECKING:
    from matplotlib.figure import Figure


KINDS = ("accuracy-vs-flops", "tokens-per-layer", "thresholds-per-layer", "flops-by-length")
DPI = 300


def write_plots(tables_dir: str | os.PathLike[str], output_dir: str | os.PathLike[str]) -> list[Path]:
    """Draw the figures of every task in the tables; returns the files written.

    A task without finished runs gets figures that say so. Raises LTPError for missing or damaged tables.
    """
    from matplotlib import rc_context

    tables_dir, output_dir = Path(tables_dir), Path(output_dir)
    studies, lengths = read_studies(tables_dir), read_lengths(tables_dir)
    summary = read_rows(tables_dir / SUMMARY, SummaryRow)
    output_dir.mkdir(parents=True, exist_ok=True)
    written = []
    for study in studies:
        task = study.task
        if Path(task).name != task:
            raise LTPError(f"{shown(tables_dir / RUNS)}: task {task!r} cannot name a file; rename it in the grid")
        several = sum(other.task == task for other in studies) > 1
        stem = f"{task}-{study.model.replace('/', '-')}" if several else task
        with rc_context(STYLE):
            points = [row for row in summary if _is_of(row, study)]
            by_length = [row for row in lengths if _is_of(row, study)]
            drawn = (
                accuracy_figure(study, points), tokens_figure(study), thresholds_figure(study), length_figure(by_length)
            )  # fmt: skip
            for kind, figure in zip(KINDS, drawn, strict=True):
                written += save_figure(figure, task_title(task), output_dir / f"{stem}-{kind}")
    return written


def _is_of(row: SummaryRow | LengthRow, study: Study) -> bool:
    return (row.task, row.model) == (study.task, study.model)


def save_figure(figure: Figure, title_text: str, stem: Path) -> list[Path]:
    """Write a figure with a title as ``stem``.png and .svg; LTPError where that is not possible."""
    title = figure.axes[0].set_title(title_text, loc="left", fontweight="bold", pad=4)
    title.set_parse_math(False)
    png, svg = stem.with_name(stem.name + ".png"), stem.with_name(stem.name + ".svg")
    try:
        figure.savefig(png, dpi=DPI, metadata={"Software": None})
        figure.savefig(svg, metadata={"Date": None, "Creator": None})
    except OSError as error:
        raise LTPError(f"{shown(stem)}: cannot be written ({error.strerror}); make room or give permission") from None
    return [png, svg]
