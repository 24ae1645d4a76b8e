"""Inline SVG for the page: axes, lines, and marks that can be hovered, focused and followed.

Colours are the page's (classes, not values), so that one drawing serves light, dark and print; markers and dashes
distinguish the methods without them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, floor, isclose, log10

from markupsafe import Markup

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
        """Draw a mark at the place (x, y) of the drawing, with its tooltip and the element that it leads to."""
        self.add(
            '<a class="mark {classes}"{link} data-tip="{tip}" aria-label="{said}" tabindex="0" role="{role}">'
            '<title>{tip}</title><circle class="halo" cx="{x}" cy="{y}" r="12"/><path d="{path}"/></a>',
            classes=classes, link=Markup(' href="#{}"').format(link) if link else "", role="link" if link else "img",
            tip="\n".join(tooltip), said="; ".join(tooltip), x=x, y=y, path=outline(shape, x, y),
        )  # fmt: skip

    def svg(self, name: str) -> Markup:
        """The drawing, with the name that a screen reader says."""
        return Markup(
            '<svg class="plot" viewBox="0 0 {w} {h}" role="group" aria-label="{name}">{body}</svg>'
        ).format(w=self.width, h=self.height, name=name, body=Markup("\n").join(self.body))  # fmt: skip


def outline(shape: str, x: float, y: float, r: float = 5) -> str:
    """The path of a marker around (x, y): a method's, ``down`` (below the axis), ``cross`` (incomplete) or ``dot``."""
    if shape == "cross":
        return f"M{x - r:.1f} {y - r:.1f}L{x + r:.1f} {y + r:.1f}M{x - r:.1f} {y + r:.1f}L{x + r:.1f} {y - r:.1f}"
    if shape in ("ltp", "dot"):
        r = r if shape == "ltp" else 3
        return f"M{x - r:.1f} {y:.1f}a{r} {r} 0 1 0 {2 * r} 0a{r} {r} 0 1 0 {-2 * r} 0z"
    corners = {
        "dense": ((0, -1.35), (1.35, 0), (0, 1.35), (-1.35, 0)),
        "dense+": ((0, -0.9), (0.9, 0), (0, 0.9), (-0.9, 0)),
        "budget": ((0, -1.25), (1.2, -0.4), (0.74, 1.0), (-0.74, 1.0), (-1.2, -0.4)),
        "topk": ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
        "topk_budget": ((-0.9, -0.9), (0, -0.4), (0.9, -0.9), (0, 1.2)),
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
