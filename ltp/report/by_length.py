"""What sentences cost by their length, right and wrong answers apart: a figure, the page's charts and its table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from ltp.analysis.labels import short_label
from ltp.analysis.lengths import LengthRow
from ltp.common.names import METHOD_NAMES, METHODS, PRUNING_METHODS
from ltp.report.figures import COLOURS, LINES, MARKERS, WIDTH, empty, legend_below
from ltp.report.svg import Plot, ticks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DODGE = 0.012  # of the range of lengths: methods lie side by side, so that their bars do not cover each other


def length_figure(rows: Sequence[LengthRow]) -> Figure:
    """FLOPs of a sentence relative to the dense model's against its length, a line a method.

    ``rows`` are those of one study. Right and wrong answers have a panel each, a regression has one panel; bars are
    ± 1 standard deviation over sentences.
    """
    from matplotlib.figure import Figure

    answers = _answers(rows)
    figure = Figure(figsize=(WIDTH, 2.75 if len(answers) < 2 else 4.2), layout="constrained")
    panels = figure.subplots(max(1, len(answers)), sharex=True, sharey=True, squeeze=False)[:, 0]
    panels[-1].set_xlabel("Text length (word pieces)")
    figure.supylabel("FLOPs of a text (% of the dense model's)", fontsize=8)
    if not answers:
        empty(panels[0], "no run recorded what each sentence cost")
        return figure
    for axes, answer in zip(panels, answers, strict=True):
        if answer != "any":
            axes.set_title(f"{answer} answers", loc="right", pad=4)
        for method, members, places in _lines(rows, answer):
            style: dict[str, Any] = {"color": COLOURS[method], "marker": MARKERS[method], "ms": 4}
            axes.errorbar(
                places,
                [100 * row.relative_flops for row in members],
                yerr=[100 * (row.relative_flops_sd or 0) for row in members],
                **style,
                ls=LINES[method],
                elinewidth=0.7,
                capsize=1.5,
            )
    for method in PRUNING_METHODS:  # from all rows: a method may have no wrong answers
        of_method = [row for row in rows if row.method == method]
        if of_method:
            picked = f"{100 * of_method[0].validation_relative_flops:.0f} %"
            label = f"{METHOD_NAMES[method]}: {picked}"
            panels[0].plot([], [], color=COLOURS[method], marker=MARKERS[method], ls=LINES[method], label=label)
    centres = list(_centres(rows).values())
    if len(centres) == 1:
        panels[0].set_xticks(centres, [f"{centres[0]:.0f}"])
        panels[0].set_xlim(0, 2 * centres[0])
    legend_below(figure, panels[0], title="In %: FLOPs on validation. Bars: ± 1 sd over texts")
    return figure


def length_charts(rows: Sequence[LengthRow]) -> list[tuple[str, Markup]]:
    """The same for the page: right, wrong or any, and the chart; empty without rows."""
    charts = []
    drawn = [row for row in rows if row.method in PRUNING_METHODS]
    for answer in _answers(rows):
        ends = _centres(rows).values()
        room = 0.06 * (max(ends) - min(ends)) or max(ends)
        low = min(100 * (row.relative_flops - (row.relative_flops_sd or 0)) for row in drawn)
        high = max(100 * (row.relative_flops + (row.relative_flops_sd or 0)) for row in drawn)
        above = max(0.05 * (high - low), 1.0)
        plot = Plot(480, 320, (min(ends) - room, max(ends) + room), (low - above, high + above), [])
        plot.axes(ticks(*plot.xs), "tokens of the sentence", "FLOPs, % of the dense model’s")
        for method, members, places in _lines(rows, answer):
            points = [(x, 100 * row.relative_flops) for x, row in zip(places, members, strict=True)]
            plot.line(points, f"line {method}")
            for (x, y), row in zip(points, members, strict=True):
                spread = 100 * (row.relative_flops_sd or 0)
                plot.line([(x, y - spread), (x, y + spread)], f"bar {method}")
                name = METHOD_NAMES[method] + (f" · {short_label(row.setting)}" if row.setting else "")
                where = f"{row.shortest} to {row.longest} tokens: {y:.1f} ± {spread:.1f} % of the FLOPs"
                tooltip = [name, where, f"{row.examples} {'' if answer == 'any' else answer + ' '}answers"]
                plot.mark(method, plot.x(x), plot.y(y), method, tooltip)
        what = "" if answer == "any" else f" of sentences with {answer} answers"
        charts.append((answer, plot.svg(f"FLOPs{what} against length")))
    return charts


def accuracy_by_length(rows: Sequence[LengthRow]) -> dict[str, Any]:
    """Accuracy and FLOPs in % for each range of lengths and method; FLOPs on validation. A regression has no rows."""
    methods = [method for method in METHODS if any(row.method == method for row in rows)]
    lines = []
    for low, high in sorted({(row.shortest, row.longest) for row in rows if row.answer != "any"}):
        cells: list[dict[str, float] | None] = []
        sentences = 0
        for method in methods:
            found = [row for row in rows if (row.shortest, row.longest, row.method) == (low, high, method)]
            count = sum(row.examples for row in found)
            seeds = max((row.seeds for row in found), default=1)
            right = sum(row.examples for row in found if row.answer == "right")
            flops = sum(row.examples * row.relative_flops for row in found)
            cells.append({"accuracy": 100 * right / count, "flops": 100 * flops / count} if count else None)
            sentences = max(sentences, count // seeds)
        lines.append({"tokens": f"{low}–{high}" if low < high else f"{low}", "sentences": sentences, "cells": cells})
    picked = {row.method: 100 * row.validation_relative_flops for row in rows}
    return {"methods": methods, "rows": lines, "validation": [picked[method] for method in methods]}


def _answers(rows: Sequence[LengthRow]) -> list[str]:
    """The kinds of answers that methods that prune gave: right before wrong."""
    return sorted({row.answer for row in rows if row.method in PRUNING_METHODS})


def _lines(rows: Sequence[LengthRow], answer: str) -> Iterator[tuple[str, list[LengthRow], list[float]]]:
    """The methods that prune, each with its rows by length and where those lie on the axis of lengths."""
    methods = [method for method in PRUNING_METHODS if any(row.method == method for row in rows)]
    centres = _centres(rows)
    step = DODGE * (max(centres.values()) - min(centres.values()) or max(centres.values()))
    for place, method in enumerate(methods):
        shift = step * (place - (len(methods) - 1) / 2)
        members = [row for row in rows if (row.method, row.answer) == (method, answer)]
        members.sort(key=lambda row: row.shortest)
        yield method, members, [centres[row.shortest] + shift for row in members]


def _centres(rows: Sequence[LengthRow]) -> dict[int, float]:
    """The shortest length of each range → the mean length of its sentences."""
    tokens: dict[int, float] = {}
    sentences: dict[int, int] = {}
    for row in rows:
        tokens[row.shortest] = tokens.get(row.shortest, 0) + row.examples * row.mean_length
        sentences[row.shortest] = sentences.get(row.shortest, 0) + row.examples
    return {shortest: tokens[shortest] / sentences[shortest] for shortest in tokens}
