"""The operating points and the comparison at equal FLOPs, for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from ltp.analysis.labels import short_label
from ltp.analysis.matched import MatchedRow
from ltp.analysis.study import Study
from ltp.analysis.summary import SummaryRow
from ltp.common.names import ALL_TASKS, METRIC_NAMES
from ltp.report.comparison import (
    at_equal_flops,
    how_sure_picks_are,
    learned_of,
    matched_table,
    methods_tried,
    unequal_tries,
    what_intervals_hold,
)

WIDTH = 110


def render_tables(studies: Sequence[Study], summary: Sequence[SummaryRow], matched: Sequence[MatchedRow]) -> str:
    """summary.csv and matched.csv as text: for each task its operating points, then its scores at equal FLOPs."""
    blocks = []
    for study in studies:
        points = [row for row in summary if (row.task, row.model) == (study.task, study.model)]
        equal = [row for row in matched if (row.task, row.model) == (study.task, study.model)]
        if points:
            intervals = any(row.test_score is not None for row in points)
            remarks = [
                unequal_tries(study),
                how_sure_picks_are(study, points),
                what_intervals_hold([study]) if intervals else None,
            ]
            blocks += [_operating_points(points), _paragraphs(remarks)]
        if equal:
            blocks += [_equal_flops(equal), _paragraphs([at_equal_flops(equal, methods_tried(study))])]
    if mean := [row for row in matched if row.task == ALL_TASKS]:
        blocks.append(_equal_flops(mean))
    return "\n\n".join(filter(None, blocks))


def _operating_points(rows: Sequence[SummaryRow]) -> str:
    first = rows[0]
    examples = next((row.test_examples for row in rows if row.test_examples), 0)
    seeds = next((row.seeds for row in rows if row.seeds), 0)
    metric = METRIC_NAMES.get(first.metric, first.metric)
    title = f"{first.task} · {first.model} · {metric} on {examples:,} test examples · seeds: {seeds}"
    head = ("method", "setting", "score", "95 % CI", "vs dense", "95 % CI", "GFLOPs", "FLOPs", "fewer")
    notes = [f"  {row.method}: {row.note}" for row in rows if row.note]
    return "\n".join([title, "", *_aligned([head, *map(_cells, rows)], left=2), *notes])


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


def _equal_flops(rows: Sequence[MatchedRow]) -> str:
    where = f"{rows[0].metric}" if rows[0].task == ALL_TASKS else rows[0].task
    title = f"{where} · at equal FLOPs, between the settings of each method's validation frontier"
    lines = [
        (
            "FLOPs",
            "method",
            "score",
            "95 % CI",
            "vs dense",
            "95 % CI",
            f"{learned_of(rows) or 'ltp'} minus it",
            "95 % CI",
        )
    ]
    for share, cells in matched_table(rows):
        found = [row for row in cells if row]
        for row in found:
            gap = row.learned_minus
            lines.append(
                (
                    f"{100 * share:.0f} %" if row is found[0] else "",
                    row.method,
                    f"{row.score:.1f}",
                    f"{row.score_low:.1f} to {row.score_high:.1f}",
                    f"{row.difference:+.1f}",
                    f"{row.difference_low:+.1f} to {row.difference_high:+.1f}",
                    "" if gap is None else f"{gap:+.1f}",
                    "" if gap is None else f"{row.learned_minus_low:+.1f} to {row.learned_minus_high:+.1f}",
                )
            )
    return "\n".join([title, "", *_aligned(lines, left=2)])


def _aligned(lines: Sequence[Sequence[str]], left: int) -> list[str]:
    """Lines of cells in columns: the first ``left`` to the left, numbers to the right."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return [
        "  ".join(
            cell.ljust(w) if i < left else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]


def _paragraphs(texts: Iterable[str | None]) -> str:
    return "\n".join(textwrap.fill(text, WIDTH) for text in texts if text)
