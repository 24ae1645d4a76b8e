"""The figures of a study, drawn from points on the test split.

Methods differ in marker and line style as well as in colour (Okabe and Ito's palette), so every figure can be read
in grey and by the colour-blind. Sizes fit one column of a two-column page.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import nan
from statistics import fmean
from typing import TYPE_CHECKING

from ltp.analysis.frontier import TOLERANCE
from ltp.analysis.points import Point
from ltp.analysis.summary import short_label
from ltp.common.names import METHODS, METRIC_NAMES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


WIDTH, HEIGHT = 3.5, 2.75  # inches: one column of a two-column page
OFF_SCALE = 15.0  # points below dense at which the accuracy axis ends: a collapsed run must not flatten the rest
MOST_THRESHOLD_LINES = 8
NAMES = {"dense": "dense", "budget": "learned budget", "ltp": "LTP", "topk": "top-k", "manual": "manual thresholds"}
COLOURS = {"dense": "#000000", "budget": "#CC79A7", "ltp": "#0072B2", "topk": "#D55E00", "manual": "#009E73"}
MARKERS = {"dense": "D", "budget": "p", "ltp": "o", "topk": "s", "manual": "^"}
LINES = {"dense": "-", "budget": (0, (6, 1.5, 1, 1.5)), "ltp": "-", "topk": (0, (4, 1.5)), "manual": (0, (1, 1.2))}
STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Arial", "Helvetica"],
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.3,
    "lines.markersize": 4.5,
    "svg.fonttype": "none",
    "svg.hashsalt": "ltp",  # ids in the SVG would be random without it
}


def _figure(height: float = HEIGHT) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.add_subplot()


def _empty(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color="#555555")
    axes.set_xticks([])
    axes.set_yticks([])


def _legend(figure: Figure, axes: Axes) -> None:
    """A legend below the axes, where it covers no data."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=2, frameon=False, handlelength=2.6, columnspacing=1.2
    )


def accuracy_figure(points: Sequence[Point], metric: str) -> Figure:
    """Score against relative FLOPs: every setting, each method's frontier as a line, a band of one point below dense.

    Frontiers are picked on the validation split and drawn at their test figures, so a line need not rise throughout.
    """
    figure, axes = _figure(3.1)
    name = METRIC_NAMES.get(metric, metric)
    axes.set_ylabel(f"Test {name}" + ("" if "×" in name else " (%)"))
    axes.set_xlabel("FLOPs relative to the dense model (%)")
    if not points:
        _empty(axes, "no finished runs")
        return figure
    dense = [point for point in points if point.method == "dense"]
    below = {point for point in points if dense and point.score < dense[0].score - OFF_SCALE}
    size = 4.5 if len(points) <= 40 else 3
    for method in METHODS:
        members = [point for point in points if point.method == method]
        line = [point for point in members if point.on_frontier]
        if not members:
            continue
        style = {"color": COLOURS[method], "marker": MARKERS[method]}
        for group, fill in ((line, COLOURS[method]), ([p for p in members if not p.on_frontier], "white")):
            seen = [point for point in group if point not in below]
            axes.errorbar(
                [point.flops for point in seen],
                [point.score for point in seen],
                xerr=[nan if point.flops_sd is None else point.flops_sd for point in seen],
                yerr=[nan if point.score_sd is None else point.score_sd for point in seen],
                **style,
                mfc=fill,
                mew=0.8,
                ms=size,
                ls="none",
                elinewidth=0.7,
                capsize=1.5,
                zorder=3 if group is line else 2.5,
            )
        axes.plot(
            [point.flops for point in line],
            [point.score for point in line],
            **style,
            ms=size,
            ls="none" if method == "dense" else LINES[method],
            label=NAMES[method],
            zorder=3,
        )
    if dense:
        top = max(point.score for point in dense)
        axes.axhspan(top - TOLERANCE, top, color="#dddddd", lw=0, label=f"within {TOLERANCE:g} point of dense")
    if any(not point.on_frontier for point in points):
        grey = {"mfc": "white", "mec": "#555555", "mew": 0.8}
        axes.plot([], [], ls="none", marker="o", **grey, label="open: beaten on validation")
    seeds = max(len(point.rows) for point in points)
    if seeds > 1:
        bars = {"color": "#555555", "elinewidth": 0.7, "capsize": 1.5, "ls": "none"}
        axes.errorbar([], [], yerr=[], **bars, label=f"bars: ± 1 sd, {seeds} seeds")
    _limit(axes, [point for point in points if point not in below], below)
    _legend(figure, axes)
    return figure


def _limit(axes: Axes, points: Sequence[Point], below: set[Point]) -> None:
    """Axis limits for ``points``; what lies ``below`` is marked at the edge and named in the label."""
    highest = max(point.score + (point.score_sd or 0) for point in points)
    lowest = min(point.score - (point.score_sd or 0) for point in points)
    room = max(0.06 * (highest - lowest), 0.3)
    axes.set_ylim(lowest - room, highest + room)
    if below:
        for point in sorted(below, key=lambda point: point.label):
            axes.plot(point.flops, lowest - room, "v", color=COLOURS[point.method], clip_on=False, zorder=4)
        worst = min(below, key=lambda point: (point.score, point.flops))
        many = "1 setting" if len(below) == 1 else f"{len(below)} settings"
        note = f"▼ off the axis: {many}, lowest {worst.score:.1f} at {worst.flops:.0f} %"
        axes.set_xlabel(f"{axes.get_xlabel()}\n{note}")


def tokens_figure(chosen: Sequence[Point]) -> Figure:
    """Share of a sentence's tokens that enters each layer's attention and its feed-forward, one line a point."""
    figure, axes = _figure(2.95)
    axes.set_xlabel("Layer (filled: into attention, open: into feed-forward)")
    axes.set_ylabel("Tokens (% of the sentence)")
    chosen = [point for point in chosen if point.layers("layer_attention_tokens")]
    if not chosen:
        _empty(axes, "no finished runs that prune")
        return figure
    for point in chosen:
        attention, ffn = point.layers("layer_attention_tokens"), point.layers("layer_ffn_tokens")
        style = {"color": COLOURS[point.method], "marker": MARKERS[point.method], "ms": 4.5 if len(ffn) < 8 else 2.5}
        xs = [layer + side for layer in range(1, len(ffn) + 1) for side in (-0.2, 0.2)]
        ys = [100 * tokens / attention[0] for pair in zip(attention, ffn, strict=True) for tokens in pair]
        axes.plot(xs, ys, color=style["color"], ls=LINES[point.method], zorder=2)
        axes.plot(xs[::2], ys[::2], **style, ls="none", zorder=3)
        axes.plot(xs[1::2], ys[1::2], **style, ls="none", mfc="white", mew=0.8, zorder=3)
        label = f"{NAMES[point.method].split()[0]}: {point.flops:.0f} % of FLOPs"
        axes.plot([], [], **style, ls=LINES[point.method], label=label)
    axes.set_ylim(0, 105)
    _layer_axis(axes, len(chosen[0].layers("layer_ffn_tokens")))
    _legend(figure, axes)
    return figure


def _layer_axis(axes: Axes, layers: int) -> None:
    step = 1 if layers <= 12 else 2
    axes.set_xticks(range(1, layers + 1, step))
    axes.grid(False, axis="x")


def thresholds_figure(points: Sequence[Point]) -> Figure:
    """Learned threshold of each layer, one line for each pair of temperature and λ, and the line they start from."""
    figure, axes = _figure()
    axes.set_xlabel("Layer")
    axes.set_ylabel(r"Threshold on token importance ($10^{-3}$)")
    found: dict[tuple[float, ...], Point] = {}  # hard runs that differ in learning rate alone share their thresholds
    for point in sorted(points, key=lambda point: not point.on_frontier):
        values = tuple(1000 * value for value in point.layers("layer_threshold"))
        if point.method == "ltp" and values:
            found.setdefault(values, point)
    if not found:
        _empty(axes, "no finished runs with learned thresholds")
        return figure
    lines = sorted(found.items(), key=lambda item: -item[0][-1])
    if len(lines) > MOST_THRESHOLD_LINES:
        last = len(lines) - 1
        lines = [lines[round(i * last / (MOST_THRESHOLD_LINES - 1))] for i in range(MOST_THRESHOLD_LINES)]
    layers = len(lines[0][0])
    xs = range(1, layers + 1)
    shades = _shades([_setting(point, "lambda") for _, point in lines])
    dashes = _dashes([_setting(point, "temperature") for _, point in lines])
    ends = []
    for (values, point), shade, dash in zip(lines, shades, dashes, strict=True):
        axes.plot(xs, values, color=shade, ls=dash, marker="o", ms=2.5 if layers < 13 else 1.5)
        # The hard stage's learning rate is no part of the name: it leaves thresholds as they are.
        parts = [part for part in point.label.split() if not part.startswith("learning_rate=")]
        ends.append((values[-1], short_label(" ".join(parts)), shade))
    final = _setting(lines[0][1], "final_token_threshold")
    if final is not None:
        start = [1000 * final * layer / layers for layer in xs]
        axes.plot(xs, start, color="#777777", lw=0.9, ls=(0, (1, 1.5)))
        ends.append((start[-1], "start", "#555555"))
    axes.set_ylim(bottom=min(0, min(min(values) for values, _ in lines)))
    _layer_axis(axes, layers)
    _label_ends(axes, layers, ends)
    return figure


def _setting(point: Point, key: str) -> float | None:
    value = point.rows[0].get(f"setting_{key}")
    return float(value) if value else None


def _shades(values: Sequence[float | None]) -> list:
    """Colours from light to dark as the values rise, so that their order is seen in grey too."""
    from matplotlib import colormaps

    order = sorted({value or 0 for value in values})
    return [colormaps["viridis_r"](0.3 + 0.7 * (order.index(v or 0) / max(1, len(order) - 1))) for v in values]


def _dashes(values: Sequence[float | None]) -> list:
    styles = ["-", (0, (4, 1.5)), (0, (1, 1.2)), (0, (4, 1.5, 1, 1.5))]
    order = sorted({value or 0 for value in values})
    return [styles[order.index(value or 0) % len(styles)] for value in values]


def _label_ends(axes: Axes, x: float, ends: Sequence[tuple[float, str, object]]) -> None:
    """Write each line's name at its right end, moved apart where they would overlap."""
    low, high = axes.get_ylim()
    ordered = sorted(ends, key=lambda end: end[0])
    heights = _spread([value for value, _, _ in ordered], 0.065 * (high - low))
    for (value, text, colour), height in zip(ordered, heights, strict=True):
        axes.annotate(
            text,
            (x, value),
            xytext=(x + 0.06 * x, height),
            va="center",
            fontsize=6.5,
            color="#222222",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "relpos": (0, 0.5), "lw": 0.5, "color": colour, "shrinkA": 0, "shrinkB": 2},
        )


def _spread(values: Sequence[float], gap: float) -> list[float]:
    """Ascending values moved as little as possible (in squares) so that neighbours lie ``gap`` apart."""
    blocks: list[list[float]] = []  # pool adjacent violators: runs of labels that touch share their mean shift
    for i, value in enumerate(values):
        blocks.append([value - i * gap])
        while len(blocks) > 1 and fmean(blocks[-2]) > fmean(blocks[-1]):
            last = blocks.pop()
            blocks[-1] += last
    shifted = [fmean(block) for block in blocks for _ in block]
    return [value + i * gap for i, value in enumerate(shifted)]
