"""The figures of a study, drawn from its settings on the test split.

Methods differ in marker and line style as well as in colour (Okabe and Ito's palette), so every figure can be read
in grey and by the colour-blind. Sizes fit one column of a two-column page.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import nan
from statistics import fmean
from typing import TYPE_CHECKING, Any

from ltp.analysis.frontier import TOLERANCE
from ltp.analysis.study import Setting, Study
from ltp.common.names import METHOD_NAMES, METHOD_SHORT, METHODS, METRIC_NAMES
from ltp.report.drawn import by_cost, incomplete_label, is_off_scale, percent, percent_sd, thresholds_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ltp.analysis.summary import SummaryRow


WIDTH, HEIGHT = 3.5, 2.75  # inches: one column of a two-column page
MOST_THRESHOLD_LINES = 8
COLOURS = {
    "dense": "#000000",
    "dense+": "#777777",
    "budget": "#CC79A7",
    "ltp": "#0072B2",
    "topk": "#D55E00",
    "topk_budget": "#E69F00",
    "manual": "#009E73",
}
MARKERS = {"dense": "D", "dense+": "P", "budget": "p", "ltp": "o", "topk": "s", "topk_budget": "v", "manual": "^"}
LINES: dict[str, Any] = {
    "dense": "none",
    "dense+": "none",
    "budget": (0, (6, 1.5, 1, 1.5)),
    "ltp": "-",
    "topk": (0, (4, 1.5)),
    "topk_budget": (0, (2, 1)),
    "manual": (0, (1, 1.2)),
}
STYLE: dict[Any, Any] = {
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


def new_figure(height: float = HEIGHT) -> tuple[Figure, Axes]:
    """An empty figure of one column's width."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.add_subplot()


def empty(axes: Axes, text: str) -> None:
    """Say in the middle of the axes why they are empty."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color="#555555")
    axes.set_xticks([])
    axes.set_yticks([])


def legend_below(figure: Figure, axes: Axes, title: str | None = None) -> None:
    """A legend below the axes, where it covers no data."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        title=title,
        title_fontsize=7,
        loc="outside lower center",
        ncols=2,
        frameon=False,
        handlelength=2.6,
        columnspacing=1.2,
    )


def accuracy_figure(study: Study, summary: Sequence[SummaryRow] = ()) -> Figure:
    """Score against relative FLOPs: every setting, each method's frontier as a line, a band of one point below dense.

    Frontiers are picked on the validation split and drawn at their test figures, so a line need not rise throughout.
    A setting that lacks the run of a seed is a cross, at the mean of its finished seeds: it enters no comparison.
    Behind the operating points, the study's rows of ``summary``, stand the intervals of their differences from dense.
    """
    figure, axes = new_figure(3.1)
    name = METRIC_NAMES.get(study.metric, study.metric)
    axes.set_ylabel(f"Test {name}" + ("" if "×" in name else " (%)"))
    axes.set_xlabel("FLOPs relative to the dense model (%)")
    settings, incomplete = by_cost(study.settings), by_cost(study.incomplete)
    if not settings:
        empty(axes, "no finished runs")
        return figure
    dense = [setting for setting in settings if setting.method == "dense"]
    below = {setting for setting in [*settings, *incomplete] if is_off_scale(setting, study)}
    size = 4.5 if len(settings) <= 40 else 3
    for method in METHODS:
        members = [setting for setting in settings if setting.method == method]
        line = [setting for setting in members if setting.on_frontier]
        if not members:
            continue
        style: dict[str, Any] = {"color": COLOURS[method], "marker": MARKERS[method]}
        for group, fill in ((line, COLOURS[method]), ([s for s in members if not s.on_frontier], "white")):
            seen = [setting for setting in group if setting not in below]
            axes.errorbar(
                [percent(setting) for setting in seen],
                [setting.score("test") for setting in seen],
                xerr=[nan if (sd := percent_sd(setting)) is None else sd for setting in seen],
                yerr=[nan if (sd := setting.score_sd("test")) is None else sd for setting in seen],
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
            [percent(setting) for setting in line],
            [setting.score("test") for setting in line],
            **style,
            ms=size,
            ls=LINES[method],
            label=METHOD_NAMES[method],
            zorder=3,
        )
    for setting in incomplete:
        if setting not in below:
            axes.plot(percent(setting), setting.score("test"), "x", color=COLOURS[setting.method], ms=size, mew=0.8)
    if dense:
        top = max(setting.score("test") for setting in dense)
        axes.axhspan(top - TOLERANCE, top, color="#dddddd", lw=0, label=f"within {TOLERANCE:g} point of dense")
    if any(not setting.on_frontier for setting in settings):
        grey: dict[str, Any] = {"mfc": "white", "mec": "#555555", "mew": 0.8}
        axes.plot([], [], ls="none", marker="o", **grey, label="open: not on the frontier")
    if incomplete:
        axes.plot([], [], "x", color="#555555", mew=0.8, label=incomplete_label(study))
    ends = _intervals(axes, summary)
    if len(study.seeds) > 1:
        bars: dict[str, Any] = {"color": "#555555", "elinewidth": 0.7, "capsize": 1.5, "ls": "none"}
        axes.errorbar([], [], yerr=[], **bars, label=f"bars: ± 1 sd, {len(study.seeds)} seeds")
    _limit(axes, [setting for setting in [*settings, *incomplete] if setting not in below], below, ends)
    legend_below(figure, axes)
    return figure


def _intervals(axes: Axes, summary: Sequence[SummaryRow]) -> list[float]:
    """Draw what each operating point's score is if its difference from dense lies at its interval's ends; the ends."""
    dense = next((row.test_score for row in summary if row.method == "dense"), None)
    ends: list[float] = []
    for row in summary:
        low, high, cost = row.difference_low, row.difference_high, row.relative_flops
        if dense is None or low is None or high is None or cost is None:
            continue
        pair = [dense + low, dense + high]
        bar: dict[str, Any] = {"color": COLOURS[row.method], "lw": 4, "alpha": 0.3, "solid_capstyle": "butt"}
        axes.plot([100 * cost] * 2, pair, **bar, zorder=2)
        ends += pair
    if ends:
        axes.plot([], [], color="#555555", lw=4, alpha=0.3, label="difference from dense, 95 %")
    return ends


def _limit(axes: Axes, settings: Sequence[Setting], below: set[Setting], ends: Sequence[float]) -> None:
    """Axis limits for ``settings`` and intervals' ``ends``; what lies ``below`` is marked at the edge and labelled."""
    highest = max([*(setting.score("test") + (setting.score_sd("test") or 0) for setting in settings), *ends])
    lowest = min([*(setting.score("test") - (setting.score_sd("test") or 0) for setting in settings), *ends])
    room = max(0.06 * (highest - lowest), 0.3)
    axes.set_ylim(lowest - room, highest + room)
    if below:
        for setting in sorted(below, key=lambda setting: setting.label):
            axes.plot(percent(setting), lowest - room, "v", color=COLOURS[setting.method], clip_on=False, zorder=4)
        worst = min(below, key=lambda setting: (setting.score("test"), setting.flops("test")))
        many = "1 setting" if len(below) == 1 else f"{len(below)} settings"
        note = f"▼ off the axis: {many}, lowest {worst.score('test'):.1f} at {percent(worst):.0f} %"
        axes.set_xlabel(f"{axes.get_xlabel()}\n{note}")


def tokens_figure(study: Study) -> Figure:
    """Share of a sentence's tokens that enters each layer's attention and its feed-forward, one line a method."""
    figure, axes = new_figure(2.95)
    axes.set_xlabel("Layer (filled: into attention, open: into feed-forward)")
    axes.set_ylabel("Tokens (% of the sentence)")
    drawn = [setting for setting in study.representatives() if setting.layers("attention_tokens")]
    if not drawn:
        empty(axes, "no finished runs that prune")
        return figure
    for setting in drawn:
        attention, ffn = setting.layers("attention_tokens"), setting.layers("ffn_tokens")
        method = setting.method
        style: dict[str, Any] = {
            "color": COLOURS[method],
            "marker": MARKERS[method],
            "ms": 4.5 if len(ffn) < 8 else 2.5,
        }
        xs = [layer + side for layer in range(1, len(ffn) + 1) for side in (-0.2, 0.2)]
        ys = [100 * tokens / attention[0] for pair in zip(attention, ffn, strict=True) for tokens in pair]
        axes.plot(xs, ys, color=style["color"], ls=LINES[method], zorder=2)
        axes.plot(xs[::2], ys[::2], **style, ls="none", zorder=3)
        axes.plot(xs[1::2], ys[1::2], **style, ls="none", mfc="white", mew=0.8, zorder=3)
        label = f"{METHOD_SHORT[method]}: {percent(setting):.0f} % of FLOPs"
        axes.plot([], [], **style, ls=LINES[method], label=label)
    axes.set_ylim(0, 105)
    _layer_axis(axes, len(drawn[0].layers("ffn_tokens")))
    legend_below(figure, axes)
    return figure


def _layer_axis(axes: Axes, layers: int) -> None:
    step = 1 if layers <= 12 else 2
    axes.set_xticks(range(1, layers + 1, step))
    axes.grid(False, axis="x")


def thresholds_figure(study: Study) -> Figure:
    """Learned threshold of each layer, one line for each pair of temperature and λ, and the line they start from."""
    figure, axes = new_figure()
    axes.set_xlabel("Layer")
    axes.set_ylabel(r"Threshold on token importance ($10^{-3}$)")
    found: dict[tuple[float, ...], Setting] = {}  # settings that differ in learning rate alone share their thresholds
    for setting in sorted(by_cost(study.of("ltp")), key=lambda setting: not setting.on_frontier):
        values = tuple(1000 * value for value in setting.layers("threshold"))
        if values:
            found.setdefault(values, setting)
    if not found:
        tried = any(run.method == "ltp" for run in study.runs)
        empty(axes, "no finished runs with λ" if tried else "no runs with λ")
        return figure
    lines = sorted(found.items(), key=lambda item: -item[0][-1])
    if len(lines) > MOST_THRESHOLD_LINES:
        last = len(lines) - 1
        lines = [lines[round(i * last / (MOST_THRESHOLD_LINES - 1))] for i in range(MOST_THRESHOLD_LINES)]
    layers = len(lines[0][0])
    xs = range(1, layers + 1)
    shades = _shades([setting.value("lambda") for _, setting in lines])
    dashes = _dashes([setting.value("temperature") for _, setting in lines])
    ends = []
    for (values, setting), shade, dash in zip(lines, shades, dashes, strict=True):
        axes.plot(xs, values, color=shade, ls=dash, marker="o", ms=2.5 if layers < 13 else 1.5)
        ends.append((values[-1], thresholds_label(setting), shade))
    final = lines[0][1].value("final_token_threshold")
    if final is not None:
        start = [1000 * final * layer / layers for layer in xs]
        axes.plot(xs, start, color="#777777", lw=0.9, ls=(0, (1, 1.5)))
        ends.append((start[-1], "start", "#555555"))
    axes.set_ylim(bottom=min(0, min(min(values) for values, _ in lines)))
    _layer_axis(axes, layers)
    _label_ends(axes, layers, ends)
    return figure


def _shades(values: Sequence[float | None]) -> list[Any]:
    """Colours from light to dark as the values rise, so that their order is seen in grey too."""
    from matplotlib import colormaps

    order = sorted({value or 0 for value in values})
    return [colormaps["viridis_r"](0.3 + 0.7 * (order.index(v or 0) / max(1, len(order) - 1))) for v in values]


def _dashes(values: Sequence[float | None]) -> list[Any]:
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
