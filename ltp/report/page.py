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

from ltp.analysis.csv_files import number, read_rows
from ltp.analysis.frontier import TOLERANCE
from ltp.analysis.labels import short_label
from ltp.analysis.lengths import LengthRow, read_lengths
from ltp.analysis.matched import MATCHED, MatchedRow
from ltp.analysis.runs import read_runs
from ltp.analysis.study import Study, studies_of
from ltp.analysis.summary import SUMMARY, SummaryRow
from ltp.common.io import write_text
from ltp.common.names import LEARNED_SHORT, METHOD_NAMES, METHOD_PHRASES, METHODS, METRIC_NAMES
from ltp.report.by_length import accuracy_by_length, length_charts
from ltp.report.charts import frontier_chart, interval_chart, thresholds_chart, tokens_chart
from ltp.report.comparison import (
    at_equal_flops,
    how_sure_picks_are,
    learned_of,
    matched_table,
    methods_of,
    methods_tried,
    unequal_tries,
    what_intervals_hold,
)
from ltp.report.drawn import incomplete_label
from ltp.report.narrative import answer, facts_of, overview
from ltp.report.numbers import fixed, signed, significant, unbroken
from ltp.report.svg import outline
from ltp.results.examples import EXAMPLES, Sentence, read_examples
from ltp.settings.tasks import task_title

PAGE = "index.html"
TEMPLATES = Path(__file__).with_name("templates")


def write_page(results: str | os.PathLike[str], output: str | os.PathLike[str] | None = None) -> Path:
    """Write the page of the tables in ``results``, by default beside them; returns its path.

    Tasks whose examples.json is missing get a page that says so. Raises LTPError for tables or examples that are
    damaged, or tables that are missing.
    """
    import jinja2

    results = Path(results)
    output = Path(output) if output else results / PAGE
    runs = read_runs(results)
    summary, matched = read_rows(results / SUMMARY, SummaryRow), read_rows(results / MATCHED, MatchedRow)
    lengths = read_lengths(results)
    studies = studies_of(runs)
    ids = {run.name: f"run-{count}" for count, run in enumerate(runs)}  # of its row in the table of runs
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters |= {
        "fixed": fixed, "signed": signed, "significant": significant, "setting": short_label, "value": number
    }  # fmt: skip
    script = (TEMPLATES / "page.js").read_text(encoding="utf-8")
    page = environment.get_template("page.html").render(
        studies=[_section(results, study, summary, matched, lengths, ids) for study in studies],
        summary=[_summary_row(row, _span(summary)) for row in summary],
        several_models=len({row.model for row in summary}) > 1,
        overview=overview(summary, studies),
        intervals=unbroken(what_intervals_hold(studies)),
        facts=facts_of(runs, summary),
        method_names=METHOD_NAMES,
        method_phrases=METHOD_PHRASES,
        outlines={method: outline(method, 10, 8) for method in (*METHODS, "cross")},
        tolerance=f"{TOLERANCE:g}",
        style=(TEMPLATES / "page.css").read_text(encoding="utf-8"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    write_text(output, page)
    return output


def _section(
    results: Path,
    study: Study,
    summary: Sequence[SummaryRow],
    matched: Sequence[MatchedRow],
    lengths: Sequence[LengthRow],
    ids: Mapping[str, str],
) -> dict[str, Any]:
    """All that a task's section shows."""
    rows = [row for row in summary if (row.task, row.model) == (study.task, study.model)]
    equal = [row for row in matched if (row.task, row.model) == (study.task, study.model)]
    by_length = [row for row in lengths if (row.task, row.model) == (study.task, study.model)]
    compared = methods_of(equal)
    metric = METRIC_NAMES.get(study.metric, study.metric)
    best = {run for setting in study.settings if setting.on_frontier for run in setting.runs}
    return {
        "task": study.task,
        "title": task_title(study.task),
        "model": study.model,
        "metric": metric,
        "answer": answer(rows, metric),
        "equal_flops": unbroken(at_equal_flops(equal, methods_tried(study)) or ""),
        "equal": matched_table(equal),
        "equal_methods": compared,
        "rivals": compared[1:] if learned_of(equal) else [],
        "learned": LEARNED_SHORT.get(learned_of(equal) or "", ""),
        "remarks": [unbroken(text) for text in (unequal_tries(study), how_sure_picks_are(study, rows)) if text],
        "frontier": frontier_chart(study, metric, ids.__getitem__),
        "methods": [method for method in METHODS if study.of(method)],
        "incomplete": incomplete_label(study),
        "tokens": tokens_chart(study),
        "thresholds": thresholds_chart(study),
        "tried_lambda": any(run.method == "ltp" for run in study.runs),
        "layers": _layers(study),
        "by_length": length_charts(by_length),
        "accuracy_by_length": accuracy_by_length(by_length),
        "examples": _examples(results, study.task, study.model, ids),
        "runs": [{"id": ids[run.name], "run": run, "on_frontier": run in best} for run in study.runs],
        "unfinished": Counter(run.status for run in study.runs if run.status != "complete"),
    }


def _layers(study: Study) -> dict[str, Any] | None:
    """The numbers behind the two charts of layers, a row a layer, of a setting for each method."""
    settings = [setting for setting in study.representatives() if setting.layers("ffn_tokens")]
    if not settings:
        return None
    learned = next((setting.layers("threshold") for setting in settings if setting.method == "ltp"), [])
    columns = [(setting.method, setting.layers("ffn_tokens")) for setting in settings]
    count = max(len(values) for _, values in columns)
    rows = [
        {
            "layer": layer + 1,
            "threshold": learned[layer] if learned else None,
            "tokens": [values[layer] for _, values in columns],
        }
        for layer in range(count)
    ]
    whole = settings[0].layers("attention_tokens")[0]
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


def _span(summary: Sequence[SummaryRow]) -> tuple[float, float]:
    """What the whiskers of a table span: all intervals, the tolerance and zero."""
    ends = [end for row in summary for end in (row.difference_low, row.difference_high) if end is not None]
    return min([-1.2 * TOLERANCE, *ends]), max([0.4 * TOLERANCE, *ends])


def _summary_row(row: SummaryRow, span: tuple[float, float]) -> dict[str, Any]:
    values = [value for value in (row.difference, row.difference_low, row.difference_high) if value is not None]
    whisker = interval_chart(values[0], values[1], values[2], span) if values else None
    name = METRIC_NAMES.get(row.metric, row.metric)
    return {**vars(row), "whisker": whisker, "title": task_title(row.task), "metric_name": name}
