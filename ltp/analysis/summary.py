"""The paper's table: per task, what each method saves for at most one point, with its uncertainty."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ltp.analysis.bootstrap import Interval, difference_interval, score_interval
from ltp.analysis.frontier import TOLERANCE
from ltp.analysis.labels import short_label
from ltp.analysis.predictions import Answers, read_answers, resampled_metrics
from ltp.analysis.study import Run, Setting, Study, deviation
from ltp.common.names import METHODS

SUMMARY = "summary.csv"


@dataclass
class SummaryRow:
    """A method's operating point, at its test figures; without one, ``note`` says why. Scores are in points.

    Intervals (``_low``, ``_high``) are those of ltp.analysis.bootstrap; ``_sd`` is the standard deviation over seeds.
    """

    task: str
    model: str
    metric: str
    method: str
    setting: str = ""
    seeds: int | None = None
    test_examples: int | None = None
    validation_score: float | None = None
    test_score: float | None = None
    test_score_sd: float | None = None
    test_score_low: float | None = None
    test_score_high: float | None = None
    difference: float | None = None  # from dense, paired
    difference_sd: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    validation_difference: float | None = None  # likewise, on the examples that the setting was picked by
    validation_difference_low: float | None = None
    validation_difference_high: float | None = None
    gflops: float | None = None
    relative_flops: float | None = None
    relative_flops_sd: float | None = None
    flops_reduction: float | None = None
    other_scores: str = ""
    selection: str = ""  # a key of ltp.common.names.SELECTION_NOTES
    note: str = ""
    runs: list[str] = field(default_factory=list)


def summary_rows(study: Study) -> list[SummaryRow]:
    """The rows of a study: dense, then ltp, topk and manual, those of them that it has runs of."""
    reported = {setting.method: setting for setting in study.reported()}
    dense = reported.get("dense")
    settings = list(reported.values())
    answers = dict(zip(reported, _answers_of(settings, "test"), strict=True))
    picked_by = dict(zip(reported, _answers_of(settings, "validation"), strict=True))
    rows = []
    for method in METHODS:
        runs = [run for run in study.runs if run.method == method]
        if method != "dense" and not runs:
            continue
        notes = [_left_out(runs), _seeds_without_dense(study, runs) if method != "dense" else ""]
        figures: dict[str, Any] = {}
        if method in reported:
            figures = _figures(reported[method], answers[method])
            notes.append(_precisions_note(reported[method], dense))
            if dense and method != "dense":
                figures |= _difference(reported[method], dense, answers[method], answers["dense"])
                figures |= _validation_difference(reported[method], dense, picked_by[method], picked_by["dense"])
        elif dense is None:
            notes.append("no complete dense run to compare with")
        else:
            notes.append(_why_none(study, method, dense))
        note = "; ".join(filter(None, notes))
        rows.append(SummaryRow(study.task, study.model, study.metric, method, **figures, note=note))
    return rows


def _precisions_note(setting: Setting, dense: Setting | None) -> str:
    """Where runs that are averaged or compared were trained in different number formats: in which."""
    own, of_dense = _precisions(setting), _precisions(dense) if dense else ""
    if dense and own != of_dense:
        return f"trained in {own}, dense in {of_dense}"
    return f"trained in {own}" if " and " in own else ""


def _precisions(setting: Setting) -> str:
    """The number formats that a setting's runs were trained in: ``bf16``, ``bf16 and fp32``."""
    return " and ".join(sorted({str(run.settings.get("precision", "fp32")) for run in setting.runs}))


def _answers_of(settings: Sequence[Setting], split: str) -> list[Answers]:
    """The answers of each setting on a split, all on the same labels."""
    if not settings:
        return []
    labels, predictions = read_answers(settings, split)
    return [Answers(labels, [rows]) for rows in predictions]


def _left_out(runs: Sequence[Run]) -> str:
    counts = Counter(run.status for run in runs if run.status != "complete")
    return ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))


def _seeds_without_dense(study: Study, runs: Sequence[Run]) -> str:
    """Seeds whose runs cannot be compared, since their dense run is not there."""
    left_out = sorted({run.seed for run in runs if run.is_final and run.seed is not None} - study.seeds)
    return f"seed {', '.join(map(str, left_out))} left out: no dense run" if left_out else ""


def _why_none(study: Study, method: str, dense: Setting) -> str:
    settings = study.of(method)
    lacking = sum(setting.method == method for setting in study.incomplete)
    if not settings and lacking:
        return f"no setting has the runs of all {len(study.seeds)} seeds ({lacking} lack one or more)"
    if not settings:
        return "no complete runs"
    best = max(settings, key=lambda setting: setting.score("validation"))
    short = best.score("validation") - dense.score("validation")
    found = f"best {short:+.1f}: {short_label(best.label)}"
    return f"none of {len(settings)} within {TOLERANCE:g} point of dense on validation ({found})"


def _figures(setting: Setting, answers: Answers) -> dict[str, Any]:
    metrics = setting.runs[0].metrics
    assert metrics is not None  # final runs have them
    labels, (predictions,) = answers
    score = score_interval(resampled_metrics(metrics), labels, predictions).in_points()
    return {
        "setting": setting.label,
        "seeds": len(setting.runs),
        "test_examples": len(labels),
        "validation_score": setting.score("validation"),
        "test_score": setting.score("test"),
        "test_score_sd": setting.score_sd("test"),
        "test_score_low": score.low,
        "test_score_high": score.high,
        "gflops": setting.gflops("test"),
        "relative_flops": setting.flops("test"),
        "relative_flops_sd": setting.flops_sd("test"),
        "flops_reduction": 1 / setting.flops("test"),
        "other_scores": _other_scores(setting),
        "selection": metrics["settings"].get("selection") or "",
        "runs": [run.name for run in setting.runs],
    }


def _difference_interval(setting: Setting, answers: Answers, baseline: Answers) -> Interval:
    """The interval of a setting's difference from dense, in points."""
    metrics = setting.runs[0].metrics
    assert metrics is not None
    labels, (predictions,) = answers
    return difference_interval(resampled_metrics(metrics), labels, predictions, baseline.predictions[0]).in_points()


def _validation_difference(setting: Setting, dense: Setting, answers: Answers, baseline: Answers) -> dict[str, Any]:
    """The difference from dense on the split that the setting was picked by."""
    interval = _difference_interval(setting, answers, baseline)
    return {
        "validation_difference": setting.score("validation") - dense.score("validation"),
        "validation_difference_low": interval.low,
        "validation_difference_high": interval.high,
    }


def _difference(setting: Setting, dense: Setting, answers: Answers, baseline: Answers) -> dict[str, Any]:
    interval = _difference_interval(setting, answers, baseline)
    pairs = zip(setting.runs, dense.runs, strict=True)
    return {
        "difference": setting.score("test") - dense.score("test"),
        "difference_sd": deviation(run.scores["test"] - base.scores["test"] for run, base in pairs),
        "difference_low": interval.low,
        "difference_high": interval.high,
    }


def _other_scores(setting: Setting) -> str:
    """The other metrics of the test split, and the primary one of further splits (MNLI's mismatched), in points."""
    metrics = [run.metrics["metrics"] for run in setting.runs if run.metrics]
    primary = setting.runs[0].metric
    found = []
    for split, scores in sorted(metrics[0].items()):
        for name in sorted(scores):
            wanted = (split == "test" and name != primary) or (
                split not in ("train", "validation", "test") and name == primary
            )
            values = [value for of_run in metrics if (value := of_run.get(split, {}).get(name)) is not None]
            if wanted and name != "loss" and len(values) == len(metrics):
                found.append(f"{split}_{name}={100 * sum(values) / len(values):.2f}")
    return " ".join(found)
