"""What a study found, in sentences: the text of the page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ltp.analysis.frontier import TOLERANCE
from ltp.analysis.study import Run, Study
from ltp.analysis.summary import SummaryRow
from ltp.common.names import (
    LEARNED_METHODS,
    METHOD_PHRASES,
    METHOD_SHORT,
    METHODS,
    PRUNING_METHODS,
    SELECTION_NOTES,
    STAGES,
)
from ltp.report.numbers import fixed, signed, unbroken
from ltp.settings.tasks import task_title


def answer(rows: Sequence[SummaryRow], metric: str) -> str:
    """What a task's study found, in a paragraph."""
    found = {row.method: row for row in rows if row.test_score is not None}
    dense, lead = found.get("dense"), _learned(rows)
    ltp = found.get(lead)
    if not dense:
        return "No dense model has finished yet, so there is nothing to compare with."
    if not ltp:
        note = next((row.note for row in rows if row.method == lead), "no runs of learned thresholds")
        return f"The dense model’s {metric} is {fixed(dense.test_score)}. {_capital(METHOD_PHRASES[lead])}: {note}."
    interval = f"95 % CI {fixed(ltp.test_score_low)} to {fixed(ltp.test_score_high)}"
    difference = f"95 % CI {signed(ltp.difference_low)} to {signed(ltp.difference_high)}"
    parts = [
        f"{_capital(METHOD_PHRASES[lead])} reach a test {metric} of {fixed(ltp.test_score)} ({interval}) with "
        f"{fixed(ltp.flops_reduction, 2)} × fewer FLOPs than the dense model, which reaches "
        f"{fixed(dense.test_score)}. The difference is {signed(ltp.difference)} points ({difference}): on "
        f"{ltp.test_examples:,} test examples, {_verdict(ltp)}."
    ]
    if "dense+" in found:
        control = found["dense+"]
        parts.append(
            f"The dense model trained as long as the longest of those that prune reaches {fixed(control.test_score)}, "
            f"{signed(control.difference)} points from the dense one."
        )
    others = []
    for method in (method for method in PRUNING_METHODS if method != lead):
        name = METHOD_PHRASES[method]
        if row := found.get(method):
            others.append(f"{name}, {fixed(row.flops_reduction, 2)} × at {signed(row.difference)} points")
        elif note := next((row.note for row in rows if row.method == method), ""):
            others.append(f"{name}, {note}")
    if others:
        parts.append(f"Picked by the same rule: {'; '.join(others)}.")
    return unbroken(" ".join(parts))


def _learned(rows: Sequence[SummaryRow]) -> str:
    """The learned method that a text is about: the first of LEARNED_METHODS that the rows have."""
    found = {row.method for row in rows}
    return next((method for method in LEARNED_METHODS if method in found), "ltp")


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _verdict(row: SummaryRow) -> str:
    """What the interval of a difference from dense says of the tolerance."""
    loss = f"a loss of more than {TOLERANCE:g} point"
    if _rules_out_loss(row):
        return f"{loss} is ruled out at that confidence"
    if row.difference_high is not None and row.difference_high < -TOLERANCE:
        return f"it is {loss}, though on validation it was not"
    return f"{loss} cannot be ruled out"


def _rules_out_loss(row: SummaryRow) -> bool:
    return row.difference_low is not None and row.difference_low >= -TOLERANCE


def overview(summary: Sequence[SummaryRow], studies: Sequence[Study]) -> str | None:
    """What a study of several tasks found; None for one task, whose own answer says it.

    Tasks without finished runs of the learned method are named, and not counted.
    """
    if len(studies) < 2:
        return None
    lead = _learned(summary)
    tried = [study for study in studies if study.dense and study.of(lead)]
    without = [task_title(study.task) for study in studies if study not in tried]
    rest = f" Without finished runs of them: {', '.join(without)}." * bool(without)
    if not tried:
        return f"No task has finished runs of {METHOD_PHRASES[lead]} and of the dense model yet."
    found = [row for row in summary if row.method == lead and row.flops_reduction is not None]
    if not found:
        many = f"none of the {len(tried)} tasks" if len(tried) > 1 else "the one task"
        not_ = " not" * (len(tried) == 1)
        return f"On {many} {METHOD_PHRASES[lead]} are{not_} within {TOLERANCE:g} point of dense.{rest}"
    cuts = sorted(found, key=lambda row: row.flops_reduction or 0.0)
    sure = sum(_rules_out_loss(row) for row in found)
    least, most = (f"{fixed(row.flops_reduction, 2)} × ({task_title(row.task)})" for row in (cuts[0], cuts[-1]))
    cut = f"{least} to {most}" if len(cuts) > 1 else least
    return unbroken(
        f"On {len(found)} of {len(tried)} tasks a setting of {METHOD_PHRASES[lead]} stays within {TOLERANCE:g} point "
        f"of the dense model on validation, with {cut} fewer FLOPs. On {sure or 'none'} of them the test score’s "
        f"interval rules out a loss of more than {TOLERANCE:g} point.{rest}"
    )


def facts_of(runs: Sequence[Run], summary: Sequence[SummaryRow]) -> list[tuple[str, str]]:
    """What was studied, and with what: name and text of each fact that the tables know."""
    complete = [run for run in runs if run.status == "complete"]
    kinds = Counter((run.method, run.stage) for run in complete)
    order = [(method, stage) for method in METHODS for stage in STAGES]
    seconds = sum(run.seconds for run in runs)
    counts = sorted({(run.task, _counted(run)) for run in complete if run.method == "dense"})
    picked = sorted({row.selection for row in summary if row.selection})
    facts = [
        ("Encoder", ", ".join(sorted({run.model for run in runs if run.model}))),
        ("Examples", "; ".join(f"{task_title(task)} " * (len(counts) > 1) + count for task, count in counts)),
        ("Runs", f"{len(complete)} of {len(runs)} complete: "
         + ", ".join(f"{kinds[kind]} {_kind(*kind)}" for kind in order if kinds[kind])),
        ("Seeds", ", ".join(map(str, sorted({run.seed for run in runs if run.seed is not None})))),
        ("Settings", "; ".join(map(_selection, picked))),
        ("Computing", _duration(seconds) if seconds else ""),
        ("Made with", ", ".join(_environments(complete))),
    ]  # fmt: skip
    return [(name, text) for name, text in facts if text]


def _counted(run: Run) -> str:
    splits = [split for split in ("train", "validation", "test") if split in run.examples]
    return ", ".join(f"{run.examples[split]:,} {split}" for split in splits)


def _selection(name: str) -> str:
    note = SELECTION_NOTES.get(name, name)
    return f"{note}: scores are optimistic" if name == "validation" else note


def _kind(method: str, stage: str) -> str:
    return METHOD_SHORT[method] + f" {stage}" * (method in ("ltp", "budget", "topk_budget"))


def _duration(seconds: float) -> str:
    if seconds < 5400:
        return f"{max(1, round(seconds / 60))} min in all"
    return f"{seconds / 3600:.1f} h in all"


def _environments(runs: Sequence[Run]) -> list[str]:
    names = ("ltp", "commit", "python", "torch", "transformers", "device_name")
    found = []
    for name in names:
        values = sorted({run.environment[name] for run in runs if name in run.environment})
        if values:
            found.append(" and ".join(values) if name == "device_name" else f"{name} {' and '.join(values)}")
    return found
