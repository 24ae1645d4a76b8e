"""Tables and example sentences → index.html: one self-contained page to look at before reading.

It asks for nothing from elsewhere, and its content security policy lets no script run but its own. Everything that
comes from data is escaped. The same tables give the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ltp.analysis.csv_files import read_csv
from ltp.analysis.frontier import TOLERANCE
from ltp.analysis.points import Point, chosen_points, setting_points
from ltp.analysis.summary import SUMMARY_COLUMNS, short_label
from ltp.analysis.tables import LAYERS, RUNS, RUNS_COLUMNS, SUMMARY
from ltp.common.io import write_text
from ltp.common.names import METHODS, METRIC_NAMES
from ltp.report import svg as charts
from ltp.report.figures import NAMES
from ltp.report.narrative import Row, answer, facts_of, fixed, overview, signed, significant, task_title
from ltp.results.examples import EXAMPLES, Sentence, read_examples

PAGE = "index.html"
TEMPLATES = Path(__file__).with_name("templates")


def write_page(results: str | os.PathLike, output: str | os.PathLike | None = None) -> Path:
    """Write the page of the tables in ``results``, by default beside them; returns its path.

    Tasks whose examples.json is missing get a page that says so. Raises LTPError for tables or examples that are
    damaged, or tables that are missing.
    """
    import jinja2

    results = Path(results)
    output = Path(output) if output else results / PAGE
    runs = read_csv(results / RUNS, (*RUNS_COLUMNS, *LAYERS))
    summary = read_csv(results / SUMMARY, SUMMARY_COLUMNS)
    for number, row in enumerate(runs):
        row["id"] = f"run-{number}"
    studies = [_study(results, task, model, runs, summary) for task, model in _studies(runs)]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters |= {"fixed": fixed, "signed": signed, "significant": significant, "setting": short_label}
    script = (TEMPLATES / "page.js").read_text(encoding="utf-8")
    page = environment.get_template("page.html").render(
        studies=studies,
        summary=[_summary_row(row, _span(summary)) for row in summary],
        several_models=len({row["model"] for row in summary}) > 1,
        overview=overview(summary),
        facts=facts_of(runs, summary),
        method_names=NAMES,
        outlines={method: charts.outline(method, 10, 8) for method in METHODS},
        tolerance=f"{TOLERANCE:g}",
        style=(TEMPLATES / "page.css").read_text(encoding="utf-8"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    write_text(output, page)
    return output


def _studies(runs: Sequence[Row]) -> list[tuple[str, str]]:
    """(task, model) of every study; runs without a model (never finished) belong to their task's first study."""
    found = sorted({(row["task"], row["model"]) for row in runs if row["task"] and row["model"]})
    tasks = {task for task, _ in found}
    return sorted(found + [(task, "") for task in {row["task"] for row in runs} - tasks - {""}])


def _study(results: Path, task: str, model: str, runs: Sequence[Row], summary: Sequence[Row]) -> dict[str, Any]:
    """All that a task's section shows."""
    own = [row for row in runs if row["task"] == task and row["model"] in (model, "")]
    rows = [row for row in summary if (row["task"], row["model"]) == (task, model)]
    points = setting_points(own)
    picked = {row["runs"] for row in rows}
    stressed = chosen_points(points, picked)
    metric = next((METRIC_NAMES.get(row["metric"], row["metric"]) for row in own if row["metric"]), "score")
    ids = {row["run"]: row["id"] for row in own}
    return {
        "task": task,
        "title": task_title(task),
        "model": model,
        "metric": metric,
        "answer": answer(rows, metric),
        "frontier": charts.frontier_chart(points, picked, metric, ids.__getitem__),
        "methods": [method for method in METHODS if any(point.method == method for point in points)],
        "tokens": charts.tokens_chart(stressed),
        "thresholds": charts.thresholds_chart(points, picked),
        "layers": _layers(stressed),
        "examples": _examples(results, task, model, ids),
        "runs": own,
        "unfinished": Counter(row["status"] for row in own if row["status"] != "complete"),
    }


def _layers(stressed: Sequence[Point]) -> dict[str, Any] | None:
    """The numbers behind the two charts of layers, a row a layer, at the operating points."""
    points = [point for point in stressed if point.layers("layer_ffn_tokens")]
    if not points:
        return None
    learned = next((point.layers("layer_threshold") for point in points if point.method == "ltp"), [])
    columns = [(point.method, point.layers("layer_ffn_tokens")) for point in points]
    count = max(len(values) for _, values in columns)
    rows = [
        {
            "layer": layer + 1,
            "threshold": learned[layer] if learned else None,
            "tokens": [values[layer] for _, values in columns],
        }
        for layer in range(count)
    ]
    whole = points[0].layers("layer_attention_tokens")[0]
    return {"methods": [method for method, _ in columns], "rows": rows, "whole": whole, "learned": bool(learned)}


def _examples(results: Path, task: str, model: str, ids: Mapping[str, str]) -> dict[str, Any]:
    """Sentences with their words shaded, or ``missing``: why there are none."""
    path = results / task / EXAMPLES
    if Path(task).name != task or not path.is_file():
        return {"missing": "No example sentences yet.", "make": f"ltp explain --examples {shlex.quote(task)}"}
    sentences, facts = read_examples(path)
    if not sentences:
        return {"missing": f"No example sentences: {facts.get('reason')}.", "make": None}
    if facts.get("model") != model or facts.get("run") not in ids:
        why = f"The example sentences are of a run that is not in the tables, {facts.get('run')}."
        return {"missing": why, "make": f"ltp explain --examples {shlex.quote(task)}"}
    return {"missing": None, "facts": facts, "id": ids[facts["run"]], "sentences": [_shown(s) for s in sentences],
            "layers": sentences[0].layers}  # fmt: skip


def _shown(sentence: Sentence) -> dict[str, Any]:
    words = []
    for word in sentence.words:
        when = "kept to the end" if word.layers == sentence.layers else f"dropped at layer {word.layers + 1}"
        tooltip = f"{word.text}: {when}"
        if len({life for _, life in word.pieces}) > 1:
            tooltip += " (" + ", ".join(f"{text} {life}" for text, life in word.pieces) + " layers)"
        words.append({"word": word, "tooltip": tooltip, "deep": word.layers / sentence.layers > 0.6})
    after = sentence.left_after()
    right = None if sentence.probability is None else sentence.answer == sentence.expected
    return {"sentence": sentence, "words": words, "after": after, "right": right}


def _span(summary: Sequence[Row]) -> tuple[float, float]:
    """What the whiskers of a table span: all intervals, the tolerance and zero."""
    ends = [float(row[key]) for row in summary for key in ("difference_low", "difference_high") if row[key]]
    return min([-1.2 * TOLERANCE, *ends]), max([0.4 * TOLERANCE, *ends])


def _summary_row(row: Row, span: tuple[float, float]) -> dict[str, Any]:
    whisker = None
    if row["difference"]:
        values = (float(row[key]) for key in ("difference", "difference_low", "difference_high"))
        whisker = charts.interval_chart(*values, span)
    name = METRIC_NAMES.get(row["metric"], row["metric"])
    return {**row, "whisker": whisker, "title": task_title(row["task"]), "metric_name": name}
