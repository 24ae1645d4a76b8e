"""What a study found, in words: the sentences of the page, and how its numbers are written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from ltp.analysis.frontier import TOLERANCE
from ltp.common.names import METHODS
from ltp.report.figures import NAMES
from ltp.settings.tasks import TASKS

Row = Mapping[str, str]
LONG_NAMES = {
    "budget": "thresholds learned for a FLOPs target",
    "topk": "top-k pruning",
    "manual": "thresholds set by hand",
}
# How a setting was picked, by the word in the column `selection` of summary.csv.
SELECTIONS = {
    "split": "picked on a validation split, reported on a test split; both cut out of the training text",
    "half": "picked on one half of the validation split, reported on the other",
    "validation": "picked and reported on the same validation split, as in the paper: scores are optimistic",
    "given": "picked on the validation split, reported on the data’s own test split",
}


def task_title(task: str) -> str:
    """A task's name for readers: GLUE's own spelling, or a made-up name's underscores opened."""
    known = TASKS[task].download_folder if task in TASKS else None
    return known or (task.replace("_", " ").title() if task.islower() else task)


def fixed(value: str | float, decimals: int = 1) -> str:
    """A number with fixed decimals and a true minus sign; an empty cell for no number."""
    return "" if value in ("", None) else f"{float(value) + 0.0:.{decimals}f}".replace("-", "−")


def signed(value: str | float, decimals: int = 1) -> str:
    """The same with a plus sign where it is positive."""
    return "" if value in ("", None) else f"{float(value) + 0.0:+.{decimals}f}".replace("-", "−")


def significant(value: str | float, digits: int = 3) -> str:
    """A number with so many significant digits."""
    return "" if value in ("", None) else f"{float(value):#.{digits}g}".rstrip(".").replace("-", "−")


def answer(rows: Sequence[Row], metric: str) -> str:
    """What a task's study found, in a paragraph."""
    found = {row["method"]: row for row in rows if row["test_score"]}
    ltp, dense = found.get("ltp"), found.get("dense")
    if not dense:
        return "No dense model has finished yet, so there is nothing to compare with."
    if not ltp:
        note = next((row["note"] for row in rows if row["method"] == "ltp"), "no runs of learned thresholds")
        return f"The dense model’s {metric} is {fixed(dense['test_score'])}. Learned thresholds: {note}."
    interval = f"95 % CI {fixed(ltp['test_score_low'])} to {fixed(ltp['test_score_high'])}"
    difference = f"95 % CI {signed(ltp['difference_low'])} to {signed(ltp['difference_high'])}"
    parts = [
        f"Learned thresholds reach a test {metric} of {fixed(ltp['test_score'])} ({interval}) with "
        f"{fixed(ltp['flops_reduction'], 2)} × fewer FLOPs than the dense model, which reaches "
        f"{fixed(dense['test_score'])}. The difference is {signed(ltp['difference'])} points ({difference}): on "
        f"{int(ltp['test_examples']):,} test examples, {_verdict(ltp)}."
    ]
    others = []
    for method in ("budget", "topk", "manual"):
        if method in found:
            row = found[method]
            cost = f"{fixed(row['flops_reduction'], 2)} × at {signed(row['difference'])} points"
            others.append(f"{LONG_NAMES[method]}, {cost}")
        elif any(row["method"] == method for row in rows):
            others.append(f"{LONG_NAMES[method]}, which has no setting within {TOLERANCE:g} point")
    if others:
        parts.append(f"Picked by the same rule: {'; '.join(others)}.")
    return _unbroken(" ".join(parts))


def _verdict(row: Row) -> str:
    """What the interval of a difference from dense says of the tolerance."""
    loss = f"a loss of more than {TOLERANCE:g} point"
    if float(row["difference_low"]) >= -TOLERANCE:
        return f"{loss} is ruled out at that confidence"
    if float(row["difference_high"]) < -TOLERANCE:
        return f"it is {loss}, though on validation it was not"
    return f"{loss} cannot be ruled out"


def overview(summary: Sequence[Row]) -> str | None:
    """What a study of several tasks found; None for one task, whose own answer says it."""
    tasks = {(row["task"], row["model"]) for row in summary}
    if len(tasks) < 2:
        return None
    found = [row for row in summary if row["method"] == "ltp" and row["test_score"]]
    if not found:
        return f"On none of the {len(tasks)} tasks are learned thresholds within {TOLERANCE:g} point of dense."
    cuts = sorted(found, key=lambda row: float(row["flops_reduction"]))
    sure = sum(float(row["difference_low"]) >= -TOLERANCE for row in found)
    least, most = (f"{fixed(row['flops_reduction'], 2)} × ({task_title(row['task'])})" for row in (cuts[0], cuts[-1]))
    cut = f"{least} to {most}" if len(cuts) > 1 else least
    return _unbroken(
        f"On {len(found)} of {len(tasks)} tasks a setting of learned thresholds stays within {TOLERANCE:g} point of "
        f"the dense model on validation, with {cut} fewer FLOPs. On {sure or 'none'} of them the test score’s "
        f"interval rules out a loss of more than {TOLERANCE:g} point."
    )


def _unbroken(text: str) -> str:
    """Text in which no line ends between a number and its unit."""
    return text.replace(" ×", "\N{NO-BREAK SPACE}×").replace(" %", "\N{NO-BREAK SPACE}%")


def facts_of(runs: Sequence[Row], summary: Sequence[Row]) -> list[tuple[str, str]]:
    """What was studied, and with what: name and text of each fact that the tables know."""
    complete = [row for row in runs if row["status"] == "complete"]
    stages = Counter(" ".join((row["method"], row["stage"])) for row in complete)
    order = [f"{method} {stage}" for method in METHODS for stage in ("base", "soft", "hard")]
    seconds = sum(float(row.get("timing_total_seconds") or row.get("timing_train_seconds") or 0) for row in runs)
    counts = {
        (row["task"], *(row.get(f"examples_{split}", "") for split in ("train", "validation", "test")))
        for row in complete
        if row["method"] == "dense"
    }
    picked = sorted({row["selection"] for row in summary if row["selection"]})
    facts = [
        ("Encoder", ", ".join(sorted({row["model"] for row in runs if row["model"]}))),
        ("Examples", "; ".join(_counted(*row, several=len(counts) > 1) for row in sorted(counts))),
        ("Runs", f"{len(complete)} of {len(runs)} complete: "
         + ", ".join(f"{stages[kind]} {_kind(kind)}" for kind in order if stages[kind])),
        ("Seeds", ", ".join(sorted({row["seed"] for row in runs if row["seed"]}, key=int))),
        ("Settings", "; ".join(SELECTIONS.get(name, name) for name in picked)),
        ("Computing", _duration(seconds) if seconds else ""),
        ("Made with", ", ".join(_environments(complete))),
    ]  # fmt: skip
    return [(name, text) for name, text in facts if text]


def _counted(task: str, train: str, validation: str, test: str, several: bool) -> str:
    counts = [f"{int(count):,} {name}" for name, count in
              (("train", train), ("validation", validation), ("test", test)) if count]  # fmt: skip
    return f"{task_title(task)} " * several + ", ".join(counts)


def _kind(kind: str) -> str:
    method, stage = kind.split()
    return {"dense": "dense", "ltp": f"LTP {stage}", "budget": f"budget {stage}"}.get(method, NAMES[method].split()[0])


def _duration(seconds: float) -> str:
    if seconds < 5400:
        return f"{max(1, round(seconds / 60))} min in all"
    return f"{seconds / 3600:.1f} h in all"


def _environments(rows: Sequence[Row]) -> list[str]:
    names = ("ltp", "commit", "python", "torch", "transformers", "device_name")
    found = []
    for name in names:
        values = sorted({row[f"environment_{name}"] for row in rows if row.get(f"environment_{name}")})
        if values:
            found.append(" and ".join(values) if name == "device_name" else f"{name} {' and '.join(values)}")
    return found
