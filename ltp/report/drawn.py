"""What figures and the page draw of a setting: in which order, on which scale, under which name."""

from __future__ import annotations

from collections.abc import Iterable

from ltp.analysis.labels import short_label
from ltp.analysis.study import Setting, Study
from ltp.common.names import METHODS

OFF_SCALE = 15.0  # points below dense at which the score axis ends: a collapsed run must not flatten the rest


def percent(setting: Setting) -> float:
    """Test FLOPs of a setting in % of the dense model's."""
    return 100 * setting.flops("test")


def percent_sd(setting: Setting) -> float | None:
    """Their standard deviation over seeds; None for one seed."""
    spread = setting.flops_sd("test")
    return None if spread is None else 100 * spread


def by_cost(settings: Iterable[Setting]) -> list[Setting]:
    """Settings method by method, the cheapest on the test split first."""
    return sorted(settings, key=lambda s: (METHODS.index(s.method), s.flops("test"), s.label))


def is_off_scale(setting: Setting, study: Study) -> bool:
    """Whether a setting scores so far below dense that it is marked at the edge of a plot."""
    dense = min(study.of("dense"), key=lambda s: s.flops("test"), default=None)
    return dense is not None and setting.score("test") < dense.score("test") - OFF_SCALE


def thresholds_label(setting: Setting) -> str:
    """A setting's name without the hard stage's learning rate, which leaves the thresholds as they are."""
    return short_label(" ".join(part for part in setting.label.split() if not part.startswith("learning_rate=")))


def incomplete_label(study: Study) -> str | None:
    """What the marks of settings that lack the run of a seed mean; None where there are none."""
    if not study.incomplete:
        return None
    counts = sorted({len(setting.runs) for setting in study.incomplete})
    finished = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"incomplete: {finished} of {len(study.seeds)} seeds"
