"""A study's charts for the page: score against FLOPs, tokens and thresholds by layer, intervals."""

from __future__ import annotations

from collections.abc import Callable

from markupsafe import Markup

from ltp.analysis.frontier import TOLERANCE
from ltp.analysis.labels import short_label
from ltp.analysis.study import Setting, Study
from ltp.common.names import METHOD_NAMES, METHODS
from ltp.report.drawn import by_cost, is_off_scale, percent, percent_sd, thresholds_label
from ltp.report.svg import BOTTOM, LEFT, RIGHT, Plot, ticks


def tooltip_of(setting: Setting, study: Study, metric: str) -> list[str]:
    """What a setting's mark says: scores and costs, seed by seed where there are several."""

    def spread(value: float | None) -> str:
        return "" if value is None else f" ± {value:.1f}"

    name, flops = METHOD_NAMES[setting.method], percent(setting)
    lines = [f"{name} · {short_label(setting.label)}" if setting.label else name]
    lines.append(f"test {metric} {setting.score('test'):.1f}{spread(setting.score_sd('test'))}")
    lines.append(f"{flops:.1f} %{spread(percent_sd(setting))} of dense FLOPs, {100 / flops:.2f} × fewer")
    for run in setting.runs:
        seed = f"seed {run.seed}: " if len(setting.runs) > 1 else ""
        test = f", test {run.scores['test']:.1f}" if seed else ""
        lines.append(f"{seed}validation {run.scores['validation']:.1f}{test}")
    if missing := len(study.seeds) - len(setting.runs):
        return [*lines, f"incomplete: {missing} of {len(study.seeds)} seeds missing, so it enters no comparison"]
    return [*lines, "on its method’s frontier" if setting.on_frontier else "not on its method’s frontier"]


def frontier_chart(study: Study, metric: str, link: Callable[[str], str]) -> Markup | None:
    """Test score against relative FLOPs: a mark a setting, a line along each method's frontier; None without settings.

    The settings of the summary are ringed; those that lack the run of a seed are crosses. ``link``: run → the element
    to lead to.
    """
    settings = by_cost([*study.settings, *study.incomplete])
    if not study.settings:
        return None
    dense = [setting.score("test") for setting in settings if setting.method == "dense"]
    reported = study.reported()
    seen = [setting for setting in settings if not is_off_scale(setting, study)]
    low = min(setting.score("test") - (setting.score_sd("test") or 0) for setting in seen)
    high = max(setting.score("test") + (setting.score_sd("test") or 0) for setting in seen)
    low = min([low, *(score - 1.2 * TOLERANCE for score in dense)])
    room = max(0.05 * (high - low), 0.2)
    costs = [percent(setting) for setting in settings]
    plot = Plot(720, 430, (max(0.0, min(costs) - 4), max(102.0, *costs)), (low - room, high + room), [])
    if dense:
        top, end = plot.y(dense[0]), plot.y(dense[0] - TOLERANCE)
        width, text = plot.width - LEFT - RIGHT, f"within {TOLERANCE:g} point of dense"
        plot.add('<rect class="band" x="{x}" y="{y}" width="{w}" height="{h}"/>', x=LEFT, y=top, w=width, h=end - top)
        plot.add('<text class="note" x="{x}" y="{y}">{t}</text>', x=LEFT + 6, y=end - 6, t=text)
    plot.axes(ticks(*plot.xs), "FLOPs of the dense model, %", f"test {metric}")
    for method in METHODS[::-1]:
        members = [setting for setting in seen if setting.method == method]
        line = [(percent(setting), setting.score("test")) for setting in members if setting.on_frontier]
        plot.line(line, f"line {method}")
        for setting in sorted(members, key=lambda setting: setting.on_frontier):
            if setting not in study.incomplete:
                _bars(plot, setting)
    for method in METHODS[::-1]:
        members = [setting for setting in settings if setting.method == method]
        for setting in sorted(members, key=lambda setting: setting.on_frontier):
            kind = " incomplete" if setting in study.incomplete else "" if setting.on_frontier else " open"
            classes = method + kind + " chosen" * (setting in reported)
            off_scale = setting not in seen
            y = plot.height - BOTTOM - 6 if off_scale else plot.y(setting.score("test"))
            tooltip = tooltip_of(setting, study, metric) + ["below the axis"] * off_scale
            shape = "down" if off_scale else "cross" if setting in study.incomplete else method
            plot.mark(shape, plot.x(percent(setting)), y, classes, tooltip, link(setting.runs[0].name))
    return plot.svg(f"Test {metric} against FLOPs, {len(settings)} settings")


def _bars(plot: Plot, setting: Setting) -> None:
    """± one standard deviation over seeds, across and up."""
    flops, score = percent(setting), setting.score("test")
    if sd := setting.score_sd("test"):
        plot.line([(flops, score - sd), (flops, score + sd)], f"bar {setting.method}")
    if sd := percent_sd(setting):
        plot.line([(flops - sd, score), (flops + sd, score)], f"bar {setting.method}")


def tokens_chart(study: Study) -> Markup | None:
    """Share of a sentence's tokens left after each layer, a line a method; None without such figures."""
    drawn = [setting for setting in study.representatives() if setting.layers("ffn_tokens")]
    if not drawn:
        return None
    layers = max(len(setting.layers("ffn_tokens")) for setting in drawn)
    plot = Plot(480, 320, (0, layers), (0, 100), [])
    plot.axes(_layer_ticks(0, layers), "after layer", "tokens left, % of the sentence")
    for setting in reversed(drawn):
        whole, left = setting.layers("attention_tokens")[0], setting.layers("ffn_tokens")
        shares = [100.0, *(100 * tokens / whole for tokens in left)]
        plot.line(enumerate(shares), f"line {setting.method}")
        for layer, (share, tokens) in enumerate(zip(shares, [whole, *left], strict=True)):
            when = f"after layer {layer}" if layer else "into layer 1"
            name = f"{METHOD_NAMES[setting.method]} · {short_label(setting.label)}"
            tooltip = [name, f"{when}: {share:.0f} % left", f"{tokens:.1f} tokens a sentence"]
            plot.mark(setting.method, plot.x(layer), plot.y(share), setting.method, tooltip)
    return plot.svg("Tokens left after each layer")


def thresholds_chart(study: Study) -> Markup | None:
    """Learned threshold of each layer, a line for each set of thresholds, the operating point's in full colour."""
    point = study.operating_point("ltp")
    found: dict[tuple[float, ...], Setting] = {}  # settings that differ in learning rate alone share their thresholds
    for setting in sorted(by_cost(study.of("ltp")), key=lambda s: (s is not point, not s.on_frontier)):
        values = tuple(1000 * value for value in setting.layers("threshold"))
        if values:
            found.setdefault(values, setting)
    if not found:
        return None
    layers = max(map(len, found))
    finals = [setting.value("final_token_threshold") for setting in found.values()]
    final = next((value for value in finals if value is not None), None)
    start = [1000 * final * layer / layers for layer in range(1, layers + 1)] if final else []
    heights = [0.0, *start, *(value for line in found for value in line)]
    low, high = min(heights), max(heights)
    plot = Plot(480, 320, (1, max(layers, 2)), (low, low + 1.06 * (high - low) or 1.0), [])
    plot.axes(_layer_ticks(1, layers), "layer", "threshold on importance, 10⁻³")
    if start:
        plot.line(enumerate(start, 1), "line start")
    for thresholds, setting in reversed(found.items()):
        faint = "" if setting is point else " faint"
        plot.line(enumerate(thresholds, 1), f"line ltp{faint}")
        for layer, value in enumerate(thresholds, 1):
            tooltip = [f"LTP · {thresholds_label(setting)}", f"layer {layer}: {value / 1000:.5f}"]
            plot.mark("dot", plot.x(layer), plot.y(value), f"ltp{faint}", tooltip)
    return plot.svg("Learned threshold of each layer")


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
