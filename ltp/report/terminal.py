"""The summary of a study for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from ltp.analysis.labels import short_label
from ltp.analysis.summary import SummaryRow
from ltp.common.names import METRIC_NAMES


def render_summary(rows: Sequence[SummaryRow]) -> str:
    """The rows of summary.csv as text, one block a task."""
    blocks = []
    for task, model in dict.fromkeys((row.task, row.model) for row in rows):
        members = [row for row in rows if (row.task, row.model) == (task, model)]
        examples = next((row.test_examples for row in members if row.test_examples), 0)
        seeds = next((row.seeds for row in members if row.seeds), 0)
        metric = METRIC_NAMES.get(members[0].metric, members[0].metric)
        title = f"{task} · {model} · {metric} on {examples:,} test examples · seeds: {seeds}"
        head = ("method", "setting", "score", "95 % CI", "vs dense", "95 % CI", "GFLOPs", "FLOPs", "fewer")
        notes = [f"  {row.method}: {row.note}" for row in members if row.note]
        blocks.append("\n".join([title, "", *_aligned([head, *map(_cells, members)]), *notes]))
    return "\n\n".join(blocks)


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """Lines of cells in columns: the first two to the left, numbers to the right."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return [
        "  ".join(
            cell.ljust(w) if i < 2 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]


def _cells(row: SummaryRow) -> tuple[str, ...]:
    if row.test_score is None:
        return (row.method, "none", "–", "", "", "", "", "", "")
    return (
        row.method,
        short_label(row.setting),
        f"{row.test_score:.1f}" + _spread(row.test_score_sd),
        f"{row.test_score_low:.1f} to {row.test_score_high:.1f}",
        "" if row.difference is None else f"{row.difference:+.1f}" + _spread(row.difference_sd),
        "" if row.difference is None else f"{row.difference_low:+.1f} to {row.difference_high:+.1f}",
        f"{row.gflops:#.3g}",
        f"{100 * (row.relative_flops or 0):.0f} %",
        f"{row.flops_reduction:.2f} ×",
    )


def _spread(deviation: float | None) -> str:
    return "" if deviation is None else f" ± {deviation:.1f}"
