"""Whether a grid gives every method the same number of settings to pick its operating point from.

The operating point of a method is the best of its settings on the validation split. A method with more settings has
more chances of a lucky validation score, so a comparison of methods is fair only at equal numbers.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from itertools import pairwise
from statistics import NormalDist

from ltp.common.names import PRUNING_METHODS
from ltp.grid.grid import Grid
from ltp.grid.sizes import Size


def count_candidates(grid: Grid) -> dict[str, dict[str, int]]:
    """Task → method that prunes → settings that its operating point is picked from: the fine-tuned runs of one seed."""
    seed = grid.config.seeds[0]
    runs = Counter((run.task, run.method) for run in grid.runs.values() if run.stage == "hard" and run.seed == seed)
    return {
        task: {method: runs[task, method] for method in PRUNING_METHODS if runs[task, method]}
        for task in grid.config.tasks
    }


def warn_of_unequal_candidates(grid: Grid, sizes: Mapping[str, Size]) -> list[str]:
    """A line for each group of tasks whose methods have unequal numbers of settings; none where all are equal.

    The line says by how much chance alone could favour the method with most settings over the one with fewest: the
    difference of the expected maxima of that many standard normal draws, in standard errors of the validation score,
    and in points where the size of the validation split is known. Assumed are settings of equal true score, picked by
    validation score alone, with independent errors, and the largest standard error that a mean of n zeros and ones
    can have, 0.5 ÷ √n. Settings are scored on the same examples, so their errors are correlated: the true effect is
    smaller. For metrics other than accuracy the points are an order of magnitude.
    """
    groups: dict[tuple[tuple[str, int], ...], list[str]] = defaultdict(list)
    for task, counts in count_candidates(grid).items():
        if len(set(counts.values())) > 1:
            groups[tuple(counts.items())].append(task)
    return [_warning(dict(counts), tasks, sizes) for counts, tasks in groups.items()]


def _warning(counts: Mapping[str, int], tasks: list[str], sizes: Mapping[str, Size]) -> str:
    most, fewest = max(counts.values()), min(counts.values())
    errors = expected_maximum(most) - expected_maximum(fewest)
    known, points = [size for task in tasks if (size := sizes[task].validation_examples)], ""
    if known:
        points = f", at most {100 * errors * 0.5 / math.sqrt(min(known)):.1f} points with {min(known):,} examples"
    return (
        f"Unequal numbers of settings per method for {', '.join(tasks)}: "
        f"{', '.join(f'{method} {count}' for method, count in counts.items())}. By chance alone the best of {most} can "
        f"be expected {errors:.2f} standard errors of the validation score above the best of {fewest}{points}; "
        "give each method as many values to try."
    )


def expected_maximum(n: int) -> float:
    """The expected largest of ``n`` independent standard normal draws: ∫ x dΦ(x)ⁿ, to three decimals."""
    edges = [step / 100 for step in range(-900, 901)]
    below = [NormalDist().cdf(edge) ** n for edge in edges]
    middles = [(left + right) / 2 for left, right in pairwise(edges)]
    return sum(middle * (right - left) for middle, (left, right) in zip(middles, pairwise(below), strict=True))
