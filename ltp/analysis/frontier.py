"""Which settings are worth having: the frontier of score and FLOPs, and the point on it to deploy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ltp.analysis.study import Setting

TOLERANCE = 1.0  # points below the dense score at which a setting still counts as being as good


def frontier(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the (score, FLOPs) points that no other beats: none is as good on both and better on one."""
    order = sorted(range(len(points)), key=lambda i: (points[i][1], -points[i][0]))  # cheapest first, best first
    kept: list[int] = []
    best, cheapest_best = float("-inf"), None
    for i in order:
        score, flops = points[i]
        if score > best or (score == best and flops == cheapest_best):
            kept.append(i)
            best, cheapest_best = score, flops
    return kept


def operating_point(settings: Sequence[Setting], dense: Setting) -> Setting | None:
    """The cheapest setting that is within TOLERANCE points of dense; validation split only. None: there is none.

    Of the control ``dense+``, which saves nothing, the best, however far from dense.
    """
    if settings and settings[0].method == "dense+":
        return max(settings, key=lambda setting: (setting.score("validation"), setting.label))
    # The margin of 1e-9 keeps a setting exactly TOLERANCE points below from being lost to rounding.
    least = dense.score("validation") - TOLERANCE - 1e-9
    within = [setting for setting in settings if setting.score("validation") >= least]
    return min(within, key=lambda s: (s.flops("validation"), -s.score("validation"), s.label), default=None)
