"""A study's charts as inline SVG for the page: every mark can be hovered, focused and followed to its run.

Colours are the page's (classes, not values), so that one drawing serves light, dark and print; markers and dashes tell
the methods apart without them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, floor, isclose, log10

from markupsafe import Markup

from ltp.analysis.frontier import TOLERANCE
from ltp.analysis.points import Point
from ltp.analysis.summary import short_label
from ltp.common.names import METHODS
from ltp.report.figures import NAMES, OFF_SCALE

LEFT, RIGHT, TOP, BOTTOM = 52, 18, 34, 58  # room around the plot, in units of the drawing


@dataclass
class Plot:
    """A drawing of the given size whose axes span ``xs`` and ``ys``; marks are added to ``body``."""

    width: int
    height: int
    xs: tuple[float, float]
    ys: tuple[float, float]
    body: list[Markup]

    def x(self, value: float) -> float:
        """Where a value lies from left to right."""
        low, high = self.xs
        return round(LEFT + (value - low) / (high - low) * (self.width - LEFT - RIGHT), 2)

    def y(self, value: float) -> float:
        """Where a value lies from top to bottom."""
        low, high = self.ys
        return round(self.height - BOTTOM - (value - low) / (high - low) * (self.height - TOP - BOTTOM), 2)

    def add(self, template: str, **values: object) -> None:
        """Draw an element; values are escaped."""
        self.body.append(Markup(template).format(**values))

    def line(self, points: Iterable[tuple[float, float]], classes: str) -> None:
        """Draw a line through the points."""
        joined = " ".join(f"{self.x(x)},{self.y(y)}" for x, y in points)
        self.add('<polyline class="{classes}" points="{joined}"/>', classes=classes, joined=joined)

    def axes(self, x_ticks: Sequence[float], x_title: str, y_title: str) -> None:
        """Draw grid, numbers and titles."""
        y_ticks = ticks(*self.ys)
        right, bottom = self.width - RIGHT, self.height - BOTTOM
        for value in y_ticks:
            self.add('<line class="grid" x1="{l}" x2="{r}" y1="{y}" y2="{y}"/>', l=LEFT, r=right, y=self.y(value))
            text = label(value, y_ticks)
            self.add('<text class="n" x="{x}" y="{y}" dy=".35em">{t}</text>', x=LEFT - 8, y=self.y(value), t=text)
        self.add('<line class="axis" x1="{l}" x2="{r}" y1="{b}" y2="{b}"/>', l=LEFT, r=right, b=bottom)
        for value in x_ticks:
            x, text = self.x(value), label(value, x_ticks)
            self.add('<line class="axis" x1="{x}" x2="{x}" y1="{b}" y2="{e}"/>', x=x, b=bottom, e=bottom + 4)
            self.add('<text class="m" x="{x}" y="{y}">{t}</text>', x=x, y=bottom + 19, t=text)
        self.add('<text class="m title" x="{x}" y="{y}">{t}</text>', x=(LEFT + right) / 2, y=self.height - 9, t=x_title)
        self.add('<text class="title" x="4" y="16">{t}</text>', t=y_title)

    def mark(
        self, shape: str, x: float, y: float, classes: str, tooltip: Sequence[str], link: str | None = None
    ) -> None:
        """Draw a mark at the place (x, y) of the drawing, with what it tells and the element that it leads to."""
        self.add(
            '<a class="mark {classes}"{link} data-tip="{tip}" aria-label="{said}" tabindex="0" role="{role}">'
            '<title>{tip}</title><circle class="halo" cx="{x}" cy="{y}" r="12"/><path d="{path}"/></a>',
            classes=classes, link=Markup(' href="#{}"').format(link) if link else "", role="link" if link else "img",
            tip="\n".join(tooltip), said="; ".join(tooltip), x=x, y=y, path=outline(shape, x, y),
        )  # fmt: skip

    def svg(self, name: str) -> Markup:
        """The drawing, with the name that a screen reader tells."""
        return Markup(
            '<svg class="plot" viewBox="0 0 {w} {h}" role="group" aria-label="{name}">{body}</svg>'
        ).format(w=self.width, h=self.height, name=name, body=Markup("\n").join(self.body))  # fmt: skip


def outline(shape: str, x: float, y: float, r: float = 5) -> str:
    """The path of a method's marker around (x, y); ``down`` is what lies below the axis, ``dot`` a small circle."""
    if shape in ("ltp", "dot"):
        r = r if shape == "ltp" else 3
        return f"M{x - r:.1f} {y:.1f}a{r} {r} 0 1 0 {2 * r} 0a{r} {r} 0 1 0 {-2 * r} 0z"
    corners = {
        "dense": ((0, -1.35), (1.35, 0), (0, 1.35), (-1.35, 0)),
        "budget": ((0, -1.25), (1.2, -0.4), (0.74, 1.0), (-0.74, 1.0), (-1.2, -0.4)),
        "topk": ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
        "manual": ((0, -1.2), (1.15, 0.85), (-1.15, 0.85)),
        "down": ((0, 1.2), (1.15, -0.85), (-1.15, -0.85)),
    }[shape]
    return "M" + "L".join(f"{x + r * a:.1f} {y + r * b:.1f}" for a, b in corners) + "z"


def ticks(low: float, high: float, wanted: int = 8) -> list[float]:
    """Round numbers within [low, high], about as many as wanted."""
    rough = (high - low) / wanted
    size = 10 ** floor(log10(rough))
    step = next(size * unit for unit in (1, 2, 5, 10) if size * unit >= rough * (1 - 1e-9))
    return [n * step for n in range(ceil(low / step - 1e-9), floor(high / step + 1e-9) + 1)]


def label(value: float, among: Sequence[float]) -> str:
    """A tick's number, with as many decimals as its neighbours need."""
    gap = min((b - a for a, b in pairwise(among)), default=1.0)
    decimals = next((n for n in range(6) if isclose(gap, round(gap, n), rel_tol=1e-6)), 6)
    return f"{value + 0.0:.{decimals}f}".replace("-", "−")


def tooltip_of(point: Point, metric: str) -> list[str]:
    """What a setting's mark tells: scores and costs, seed by seed where there are several."""

    def spread(value: float | None) -> str:
        return "" if value is None else f" ± {value:.1f}"

    name = NAMES[point.method]
    lines = [f"{name} · {short_label(point.label)}" if point.label else name]
    lines.append(f"test {metric} {point.score:.1f}{spread(point.score_sd)}")
    lines.append(f"{point.flops:.1f} %{spread(point.flops_sd)} of dense FLOPs, {100 / point.flops:.2f} × fewer")
    for row in point.rows:
        seed = f"seed {row['seed']}: " if len(point.rows) > 1 else ""
        test = f", test {float(row['test_score']):.1f}" if seed else ""
        lines.append(f"{seed}validation {float(row['validation_score']):.1f}{test}")
    return [*lines, "on its method’s frontier" if point.on_frontier else "beaten on validation"]


def frontier_chart(points: Sequence[Point], chosen: set[str], metric: str, link: Callable[[str], str]) -> Markup | None:
    """Test score against relative FLOPs: a mark a setting, a line along each method's frontier; None without points.

    ``chosen``: the operating points, ringed, as summary.csv names them; ``link``: run → the element to lead to.
    """
    if not points:
        return None
    dense = [point for point in points if point.method == "dense"]
    below = [point for point in points if dense and point.score < dense[0].score - OFF_SCALE]
    seen = [point for point in points if point not in below]
    low = min(point.score - (point.score_sd or 0) for point in seen)
    high = max(point.score + (point.score_sd or 0) for point in seen)
    low = min([low, *(point.score - 1.2 * TOLERANCE for point in dense)])
    room = max(0.05 * (high - low), 0.2)
    costs = [point.flops for point in points]
    plot = Plot(720, 430, (max(0.0, min(costs) - 4), max(102.0, *costs)), (low - room, high + room), [])
    if dense:
        top, end = plot.y(dense[0].score), plot.y(dense[0].score - TOLERANCE)
        width, text = plot.width - LEFT - RIGHT, f"within {TOLERANCE:g} point of dense"
        plot.add('<rect class="band" x="{x}" y="{y}" width="{w}" height="{h}"/>', x=LEFT, y=top, w=width, h=end - top)
        plot.add('<text class="note" x="{x}" y="{y}">{t}</text>', x=LEFT + 6, y=end - 6, t=text)
    plot.axes(ticks(*plot.xs), "FLOPs of the dense model, %", f"test {metric}")
    for method in METHODS[::-1]:
        members = [point for point in seen if point.method == method]
        plot.line([(p.flops, p.score) for p in members if p.on_frontier], f"line {method}")
        for point in sorted(members, key=lambda point: point.on_frontier):
            _bars(plot, point)
    for method in METHODS[::-1]:
        for point in sorted((p for p in points if p.method == method), key=lambda point: point.on_frontier):
            runs = ";".join(row["run"] for row in point.rows)
            classes = f"{method}{'' if point.on_frontier else ' open'}{' chosen' if runs in chosen else ''}"
            lost = point in below
            y = plot.height - BOTTOM - 6 if lost else plot.y(point.score)
            tooltip = tooltip_of(point, metric) + ["below the axis"] * lost
            shape = "down" if lost else method
            plot.mark(shape, plot.x(point.flops), y, classes, tooltip, link(point.rows[0]["run"]))
    return plot.svg(f"Test {metric} against FLOPs, {len(points)} settings")


def _bars(plot: Plot, point: Point) -> None:
    """± one standard deviation over seeds, across and up."""
    if sd := point.score_sd:
        plot.line([(point.flops, point.score - sd), (point.flops, point.score + sd)], f"bar {point.method}")
    if sd := point.flops_sd:
        plot.line([(point.flops - sd, point.score), (point.flops + sd, point.score)], f"bar {point.method}")


def tokens_chart(chosen: Sequence[Point]) -> Markup | None:
    """Share of a sentence's tokens left after each layer, a line a method; None without such figures."""
    chosen = [point for point in chosen if point.layers("layer_ffn_tokens")]
    if not chosen:
        return None
    layers = max(len(point.layers("layer_ffn_tokens")) for point in chosen)
    plot = Plot(480, 320, (0, layers), (0, 100), [])
    plot.axes(_layer_ticks(0, layers), "after layer", "tokens left, % of the sentence")
    for point in reversed(chosen):
        whole, left = point.layers("layer_attention_tokens")[0], point.layers("layer_ffn_tokens")
        shares = [100.0, *(100 * tokens / whole for tokens in left)]
        plot.line(enumerate(shares), f"line {point.method}")
        for layer, (share, tokens) in enumerate(zip(shares, [whole, *left], strict=True)):
            when = f"after layer {layer}" if layer else "into layer 1"
            name = f"{NAMES[point.method]} · {short_label(point.label)}"
            tooltip = [name, f"{when}: {share:.0f} % left", f"{tokens:.1f} tokens a sentence"]
            plot.mark(point.method, plot.x(layer), plot.y(share), point.method, tooltip)
    return plot.svg("Tokens left after each layer")


def thresholds_chart(points: Sequence[Point], chosen: set[str]) -> Markup | None:
    """Learned threshold of each layer, a line for each run of thresholds, the operating point's stressed."""
    found: dict[tuple[float, ...], Point] = {}  # hard runs that differ in learning rate alone share their thresholds
    for point in sorted(points, key=lambda p: (not _is_chosen(p, chosen), not p.on_frontier)):
        values = tuple(1000 * value for value in point.layers("layer_threshold"))
        if point.method == "ltp" and values:
            found.setdefault(values, point)
    if not found:
        return None
    layers = max(map(len, found))
    final = next((row["setting_final_token_threshold"] for p in found.values() for row in p.rows
                  if row.get("setting_final_token_threshold")), None)  # fmt: skip
    start = [1000 * float(final) * layer / layers for layer in range(1, layers + 1)] if final else []
    values = [0.0, *start, *(value for line in found for value in line)]
    low, high = min(values), max(values)
    plot = Plot(480, 320, (1, max(layers, 2)), (low, low + 1.06 * (high - low) or 1.0), [])
    plot.axes(_layer_ticks(1, layers), "layer", "threshold on importance, 10⁻³")
    if start:
        plot.line(enumerate(start, 1), "line start")
    for line, point in reversed(found.items()):
        stressed = "" if _is_chosen(point, chosen) else " faint"
        plot.line(enumerate(line, 1), f"line ltp{stressed}")
        setting = short_label(" ".join(part for part in point.label.split() if not part.startswith("learning_rate=")))
        for layer, value in enumerate(line, 1):
            tooltip = [f"LTP · {setting}", f"layer {layer}: {value / 1000:.5f}"]
            plot.mark("dot", plot.x(layer), plot.y(value), f"ltp{stressed}", tooltip)
    return plot.svg("Learned threshold of each layer")


def _is_chosen(point: Point, chosen: set[str]) -> bool:
    return ";".join(row["run"] for row in point.rows) in chosen


def _layer_ticks(first: int, layers: int) -> list[float]:
    return list(range(first, layers + 1, 1 if layers <= 12 else 3))


def interval_chart(value: float, low: float, high: float, span: tuple[float, float]) -> Markup:
    """A difference and its interval as a whisker against zero and the tolerance; ``span`` is shared by a table."""
    start, end = span

    def x(at: float) -> float:
        return round(4 + 112 * (at - start) / (end - start), 1)

    return Markup(
        '<svg class="whisker" viewBox="0 0 120 20" aria-hidden="true">'
        '<line class="allowed" x1="{t}" x2="{t}" y1="1" y2="19"/>'
        '<line class="zero" x1="{z}" x2="{z}" y1="1" y2="19"/><line class="ci" x1="{l}" x2="{h}" y1="10" y2="10"/>'
        '<circle cx="{v}" cy="10" r="3.2"/></svg>'
    ).format(t=x(-TOLERANCE), z=x(0), l=x(low), h=x(high), v=x(value))  # fmt: skip
