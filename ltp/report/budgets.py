"""Agreement with the original against FLOPs, of one model pruned to several budgets: a picture and a CSV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ltp.analysis.csv_files import csv_text
from ltp.common.io import write_text
from ltp.report.figures import COLOURS, LINES, MARKERS, STYLE, new_figure
from ltp.report.plots import save_figure

COLUMNS = ("target", "flops", "agreement", "low", "high", "speedup_of_one", "speedup_of_batch")


def write_frontier(model: str, points: Sequence[Mapping[str, Any]], stem: Path) -> list[Path]:
    """Write ``stem``.png, .svg and .csv of the points of a report (ltp.oneshot.prune); returns their paths."""
    from matplotlib import rc_context

    rows = [_row(point) for point in points]
    csv = stem.with_name(stem.name + ".csv")
    write_text(csv, csv_text(COLUMNS, rows))
    share = "equal" in points[0]["agreement"][0]  # else a correlation
    scale = 100 if share else 1
    with rc_context(STYLE):
        figure, axes = new_figure()
        style: dict[str, Any] = {"color": COLOURS["budget"], "marker": MARKERS["budget"]}
        flops = [100 * row["flops"] for row in rows]
        ends = [
            [scale * (row["agreement"] - row["low"]) for row in rows],
            [scale * (row["high"] - row["agreement"]) for row in rows],
        ]
        axes.errorbar(
            flops, [scale * row["agreement"] for row in rows], yerr=ends, ls=LINES["budget"], elinewidth=0.7,
            capsize=1.5, **style,
        )  # fmt: skip
        axes.plot(100, scale, MARKERS["dense"], color=COLOURS["dense"])
        name = points[0]["agreement"][0]["name"]
        axes.set_xlabel("FLOPs relative to the original (%)")
        axes.set_ylabel(name[0].upper() + name[1:] + (" (%)" if share else ""))
        return [csv, *save_figure(figure, model, stem)]


def _row(point: Mapping[str, Any]) -> dict[str, Any]:
    found = point["agreement"][0]
    return {
        "target": point["target"], "flops": point["flops"], "agreement": found["estimate"], "low": found["low"],
        "high": found["high"], "speedup_of_one": point["speed"][0]["speedup"],
        "speedup_of_batch": point["speed"][-1]["speedup"],
    }  # fmt: skip
