"""The comparison at equal FLOPs in a sentence, and what limits comparisons; page and terminal say both."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median

from ltp.analysis.frontier import TOLERANCE
from ltp.analysis.matched import MatchedRow
from ltp.analysis.study import Study
from ltp.analysis.summary import SummaryRow
from ltp.common.names import LEARNED_METHODS, LEARNED_SHORT, METHOD_PHRASES, METHODS, PRUNING_METHODS
from ltp.report.numbers import fixed, signed


def at_equal_flops(rows: Sequence[MatchedRow], tried: Iterable[str] = ()) -> str | None:
    """What each method loses at equal FLOPs: a sentence for the share that most methods reach, nearest to a half.

    ``tried`` are the study's methods, of which those that reach no share have no rows.
    """
    if not rows:
        return None
    reached = {share: {row.method: row for row in rows if row.relative_flops == share} for share in _shares(rows)}
    share, found = max(reached.items(), key=lambda item: (len(item[1]), -abs(item[0] - 0.5)))
    losses = [f"{METHOD_PHRASES[method]} {_points(row)}" for method, row in found.items()]
    learned = learned_of(rows)
    gaps = [
        f"{LEARNED_SHORT[learned]} minus {METHOD_PHRASES[method]} {signed(row.learned_minus)} "
        f"({signed(row.learned_minus_low)} to {signed(row.learned_minus_high)})"
        for method, row in found.items()
        if learned and row.learned_minus is not None
    ]
    where = "half the FLOPs" if share == 0.5 else f"{100 * share:.0f} % of the FLOPs"
    sentence = f"At {where}, points against dense (95 % CI): {', '.join(losses)}"
    known = {*methods_of(rows), *tried}
    absent = [METHOD_PHRASES[method] for method in METHODS if method in known and method not in found]
    sentence += f"; no setting of {' or '.join(absent)} is that cheap" * bool(absent)
    return f"{sentence}. {'; '.join(gaps).capitalize()}." if gaps else f"{sentence}."


def _points(row: MatchedRow) -> str:
    return f"{signed(row.difference)} ({signed(row.difference_low)} to {signed(row.difference_high)})"


def _shares(rows: Iterable[MatchedRow]) -> list[float]:
    return sorted({row.relative_flops for row in rows}, reverse=True)


def learned_of(rows: Iterable[MatchedRow]) -> str | None:
    """The learned method that others are compared with; None where the rows have none."""
    found = methods_of(rows)
    return found[0] if found and found[0] in LEARNED_METHODS else None


def methods_of(rows: Iterable[MatchedRow]) -> list[str]:
    """The methods of the rows, in the order of METHODS."""
    found = {row.method for row in rows}
    return [method for method in METHODS if method in found]


def methods_tried(study: Study) -> list[str]:
    """The methods that prune of which a study has settings to compare."""
    return [method for method in PRUNING_METHODS if study.of(method)]


def matched_table(rows: Sequence[MatchedRow]) -> list[tuple[float, list[MatchedRow | None]]]:
    """The rows by FLOPs: each share with the methods' rows, in the order of METHODS; None where one does not reach."""
    by_key = {(row.relative_flops, row.method): row for row in rows}
    return [(share, [by_key.get((share, method)) for method in methods_of(rows)]) for share in _shares(rows)]


def unequal_tries(study: Study) -> str | None:
    """A warning where the operating points were picked among different numbers of settings; None where not."""
    counts = {method: len(study.of(method)) for method in PRUNING_METHODS if study.of(method)}
    if len(set(counts.values())) < 2:
        return None
    tried = [f"{count} of {METHOD_PHRASES[method]}" for method, count in counts.items()]
    return (
        f"Unequal numbers of settings were tried: {', '.join(tried[:-1])} and {tried[-1]}. With more to pick from, the "
        f"cheapest within {TOLERANCE:g} point of dense tends to be cheaper by chance alone; compare at equal FLOPs."
    )


def how_sure_picks_are(study: Study, rows: Sequence[SummaryRow]) -> str | None:
    """How well validation knows the differences that operating points were picked by, where that is worse than a point.

    ``rows`` are the study's. None where it is known better, or nothing was picked.
    """
    widths = [
        (row.validation_difference_high - row.validation_difference_low) / 2
        for row in rows
        if row.validation_difference_low is not None and row.validation_difference_high is not None
    ]
    if study.dense is None or not widths or median(widths) <= TOLERANCE:
        return None
    return (
        f"The settings were picked by {study.dense.runs[0].examples['validation']:,} validation examples, which know a "
        f"difference from dense to ± {fixed(median(widths))} points: the cheapest that seems within {TOLERANCE:g} may "
        "lose more on test. With more of them the pick is surer."
    )


def what_intervals_hold(studies: Iterable[Study]) -> str:
    """Which chances are in the intervals of a table, by the number of seeds."""
    counts = {len(study.seeds) for study in studies if study.seeds}
    if max(counts, default=1) == 1:
        return (
            "Intervals: 95 %, by bootstrap over the examples. With one seed the training itself is not in them: "
            "another training of the same settings may differ by more."
        )
    seeds = f"the {counts.pop()} seeds" if len(counts) == 1 else "the seeds, where there are several,"
    return (
        f"Intervals: 95 %, by bootstrap over {seeds} and the examples together; so few seeds make them rather too "
        "narrow."
    )
