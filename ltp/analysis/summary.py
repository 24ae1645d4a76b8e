"""The paper's table: per task, what each method saves for at most one point, with its uncertainty."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ltp.analysis.bootstrap import CLASSIFICATION, REGRESSION, Interval, difference_interval, score_interval
from ltp.analysis.frontier import TOLERANCE, operating_point
from ltp.analysis.study import Run, Setting, by_setting, deviation, seeds_to_compare
from ltp.common.errors import LTPError
from ltp.common.names import METHODS, METRIC_NAMES
from ltp.results.run import read_predictions

SUMMARY_COLUMNS = (
    "task",
    "model",
    "metric",
    "method",
    "setting",
    "seeds",
    "test_examples",
    "validation_score",
    "test_score",
    "test_score_sd",
    "test_score_low",
    "test_score_high",
    "difference",
    "difference_sd",
    "difference_low",
    "difference_high",
    "gflops",
    "relative_flops",
    "relative_flops_sd",
    "flops_reduction",
    "other_scores",
    "selection",
    "note",
    "runs",
)


def _dense(study: Sequence[Run]) -> tuple[list[Setting], Setting | None]:
    """The settings of a study, and the dense one: of several, the best on validation."""
    settings = by_setting(study, seeds_to_compare(study))
    dense = [setting for setting in settings if setting.method == "dense"]
    return settings, max(dense, key=lambda setting: setting.score("validation"), default=None)


def chosen_settings(study: Sequence[Run]) -> list[Setting]:
    """The settings of one task that summary.csv reports: dense, and each method's operating point."""
    settings, dense = _dense(study)
    if dense is None:
        return []
    chosen = [
        operating_point([s for s in settings if s.method == method], dense) for method in METHODS if method != "dense"
    ]
    return [dense, *(setting for setting in chosen if setting)]


def summary_rows(study: Sequence[Run], listed: Sequence[Run]) -> list[dict[str, Any]]:
    """The rows of one task: dense, then ltp, topk and manual, those of them that the study has.

    ``study``: its runs with metrics; ``listed``: those without as well, so that what is missing can be told.
    """
    settings, dense = _dense(study)
    chosen = {setting.method: setting for setting in chosen_settings(study)}
    truth = _examples(dense) if dense else None
    rows = []
    for method in METHODS:
        if method != "dense" and not any(run.get("method") == method for run in listed):
            continue
        row: dict[str, Any] = {"task": study[0].get("task"), "model": study[0].get("model"), "method": method}
        row["metric"] = study[0].metrics["primary_metric"]
        if method in chosen:
            row |= _figures(chosen[method], dense, truth)
        notes = [_left_out([run for run in listed if run.get("method") == method])]
        if dense is None:
            notes.append("no complete dense run to compare with")
        elif method not in chosen:
            notes.append(_why_none([s for s in settings if s.method == method], dense))
        rows.append(row | {"note": "; ".join(note for note in notes if note)})
    return rows


def _left_out(runs: Sequence[Run]) -> str:
    counts = Counter(run.status for run in runs if run.status != "complete")
    return ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))


def _why_none(settings: Sequence[Setting], dense: Setting) -> str:
    if not settings:
        return "no complete runs"
    best = max(settings, key=lambda setting: setting.score("validation"))
    short = best.score("validation") - dense.score("validation")
    found = f"best {short:+.1f}: {best.label}"
    return f"none of {len(settings)} within {TOLERANCE:g} point of dense on validation ({found})"


def _examples(setting: Setting) -> tuple[list, list[list]]:
    """Test labels (N,) and predictions (S, N) of a setting. Raises LTPError if its runs differ in their labels."""
    splits = [read_predictions(run.directory)["test"] for run in setting.runs]
    for run, split in zip(setting.runs, splits, strict=True):
        if split["labels"] != splits[0]["labels"]:
            raise LTPError(f"{run.directory}: has other test labels than {setting.runs[0].directory}; delete one")
    return splits[0]["labels"], [split["predictions"] for split in splits]


def _figures(setting: Setting, dense: Setting, truth: tuple[list, list[list]]) -> dict[str, Any]:
    labels, predictions = _examples(setting)
    if labels != truth[0]:
        first = setting.runs[0].directory
        raise LTPError(f"{first}: has other test labels than {dense.runs[0].directory}; delete one of them")
    first = setting.runs[0].metrics
    names = _resampled(first)
    score = _points(score_interval(names, labels, predictions))
    figures = {
        "setting": setting.label,
        "seeds": len(setting.runs),
        "test_examples": len(labels),
        "validation_score": setting.score("validation"),
        "test_score": setting.score("test"),
        "test_score_sd": deviation(run.score("test") for run in setting.runs),
        "test_score_low": score.low,
        "test_score_high": score.high,
        "gflops": setting.flops("test", "gflops"),
        "relative_flops": setting.flops("test"),
        "relative_flops_sd": deviation(run.flops("test") for run in setting.runs),
        "flops_reduction": 1 / setting.flops("test"),
        "other_scores": _other_scores(setting),
        "selection": first["settings"].get("selection"),
        "runs": [run.name for run in setting.runs],
    }
    if setting.method == "dense":
        return figures
    difference = _points(difference_interval(names, labels, predictions, truth[1]))
    pairs = zip(setting.runs, dense.runs, strict=True)
    return figures | {
        "difference": setting.score("test") - dense.score("test"),
        "difference_sd": deviation(run.score("test") - base.score("test") for run, base in pairs),
        "difference_low": difference.low,
        "difference_high": difference.high,
    }


def _resampled(metrics: Mapping[str, Any]) -> list[str]:
    """The metrics to resample: the primary one; for GLUE's ``mean``, those that it is the mean of."""
    primary = metrics["primary_metric"]
    if primary != "mean":
        return [primary]
    return [name for name in metrics["metrics"]["test"] if name in CLASSIFICATION + REGRESSION]


def _points(interval: Interval) -> Interval:
    return Interval(*(100 * value for value in interval))


def _other_scores(setting: Setting) -> str:
    """The other metrics of the test split, and the primary one of further splits (MNLI's mismatched), in points."""
    first = setting.runs[0].metrics
    shown = []
    for split, scores in sorted(first["metrics"].items()):
        for name in sorted(scores):
            wanted = (split == "test" and name != first["primary_metric"]) or (
                split not in ("train", "validation", "test") and name == first["primary_metric"]
            )
            values = [run.metrics["metrics"].get(split, {}).get(name) for run in setting.runs]
            if wanted and name != "loss" and None not in values:
                shown.append(f"{split}_{name}={100 * sum(values) / len(values):.2f}")
    return " ".join(shown)


SHORT_KEYS = {
    "temperature": "T",
    "lambda": "λ",
    "flops_target": "target",
    "learning_rate": "lr",
    "token_keep_rate": "keep",
    "final_token_threshold": "θ",
}


def short_label(label: str) -> str:
    """``temperature=0.001 lambda=0.1`` → ``T=0.001 λ=0.1``."""
    pairs = [part.partition("=") for part in label.split()]
    return " ".join(f"{SHORT_KEYS.get(key, key)}{equals}{value}" for key, equals, value in pairs)


def render_summary(rows: Sequence[Mapping[str, str]]) -> str:
    """The rows of summary.csv as text for a terminal, one block a task."""
    blocks = []
    for task, model in dict.fromkeys((row["task"], row["model"]) for row in rows):
        members = [row for row in rows if (row["task"], row["model"]) == (task, model)]
        examples = next((row["test_examples"] for row in members if row["test_examples"]), "0")
        seeds = next((row["seeds"] for row in members if row["seeds"]), "0")
        metric = METRIC_NAMES.get(members[0]["metric"], members[0]["metric"])
        title = f"{task} · {model} · {metric} on {int(examples):,} test examples · seeds: {seeds}"
        lines = [("method", "setting", "score", "95 % CI", "vs dense", "95 % CI", "GFLOPs", "FLOPs", "fewer")]
        lines += [_line(row) for row in members]
        widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
        table = [
            "  ".join(
                cell.ljust(w) if i < 2 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True))
            )
            for line in lines
        ]
        notes = [f"  {row['method']}: {row['note']}" for row in members if row["note"]]
        blocks.append("\n".join([title, "", *(line.rstrip() for line in table), *notes]))
    return "\n\n".join(blocks)


def _line(row: Mapping[str, str]) -> tuple[str, ...]:
    if not row["test_score"]:
        return (row["method"], "none", "–", "", "", "", "", "", "")

    def with_spread(key: str, sign: str = "") -> str:
        spread = row.get(f"{key}_sd")
        return f"{float(row[key]):{sign}.1f}" + (f" ± {float(spread):.1f}" if spread else "")

    compared = bool(row["difference"])
    return (
        row["method"],
        short_label(row["setting"]),
        with_spread("test_score"),
        f"{float(row['test_score_low']):.1f} to {float(row['test_score_high']):.1f}",
        with_spread("difference", "+") if compared else "",
        f"{float(row['difference_low']):+.1f} to {float(row['difference_high']):+.1f}" if compared else "",
        f"{float(row['gflops']):#.3g}",
        f"{100 * float(row['relative_flops']):.0f} %",
        f"{float(row['flops_reduction']):.2f} ×",
    )
