"""Show which words of a sentence a pruned model drops, and at which layer."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ltp.analysis.frontier import TOLERANCE
from ltp.analysis.runs import read_studies
from ltp.analysis.study import Run
from ltp.common.errors import LTPError
from ltp.common.names import LEARNED_METHODS
from ltp.report.sentences import render, use_colour
from ltp.results.examples import EXAMPLES, Sentence, write_examples

EXAMPLE = """
ltp explain results/imdb/seed~0/ltp/temperature~0.001/lambda~0.03/hard/lr~5e-05 "a film that is never dull"
ltp explain --examples results/imdb
"""

EXAMPLE_COUNT = 6


def explain_task(folder: str | Path, count: int = EXAMPLE_COUNT) -> Path:
    """Explain ``count`` test sentences of a task and write them to ``folder``/examples.json, for the page.

    ``folder`` is the task's, in the folder of the tables. The run is the summary's operating point of learned
    thresholds, or without one the run that is best on validation. The sentences are picked by length alone: evenly
    over the test split, which is sorted by length, so nobody chose them for looking good.
    """
    folder = Path(folder)
    results, path = folder.parent, folder / EXAMPLES
    chosen, why = _chosen(results, folder.name)
    if chosen is None:
        write_examples(path, [], run=None, reason=why)
        return path
    from ltp.models.explain import explain, load
    from ltp.text.dataset import load as load_data
    from ltp.text.tokenizer import check_tokenizer

    model, tokenizer, _ = load(chosen.directory)
    splits, info = load_data(folder / "data")
    check_tokenizer(chosen.directory, folder / "data", info)
    test = splits["test"]
    count = min(count, len(test))
    picked = [test[round((i + 0.5) * len(test) / count - 0.5)] for i in range(count)]
    columns = ("text", "text_pair") if "text_pair" in test.column_names else ("text",)
    texts = [tuple(example[column] for column in columns) for example in picked]
    sentences = [
        Sentence(**{**vars(sentence), "expected": _expected(example, info)})
        for text, example in zip(texts, picked, strict=True)
        for sentence in explain(model, tokenizer, [text], example["length"])  # cut where the data cut it
    ]
    facts = {"run": chosen.name, "setting": chosen.label, "model": chosen.model, "reason": why, "split": "test"}
    write_examples(path, sentences, **facts, test_examples=len(test))
    return path


def _expected(example: Mapping[str, Any], info: Mapping[str, Any]) -> str:
    """The label of an example, as `explain` words answers."""
    from ltp.models.explain import NO_ANSWER, labelled_words

    names = info["label_names"]
    if info["kind"] == "tokens":
        return labelled_words(example["text"].split(" "), [names[number] for number in example["word_labels"]])
    if info["kind"] == "spans":
        return next(iter(example["answers"]), NO_ANSWER)
    return str(names[example["labels"]]) if names else f"{example['labels']:.2f}"


def _chosen(results: Path, task: str) -> tuple[Run | None, str]:
    """The run of a learning method to explain, and why it is that one; None and why there is none."""
    studies = [study for study in read_studies(results) if study.task == task]
    for method in LEARNED_METHODS:
        for study in studies:
            if point := study.operating_point(method):
                return point.runs[0], f"cheapest within {TOLERANCE:g} point of dense on validation"
    finished = [run for study in studies for run in study.runs if run.method in LEARNED_METHODS and run.is_final]
    if not finished:
        return None, f"no finished run of learned thresholds on {task}"
    return max(
        finished, key=lambda run: run.scores["validation"]
    ), f"best on validation; none within {TOLERANCE:g} point"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``ltp explain``."""
    parser.add_argument("run", help="folder of a run that prunes; with --examples, of a task's results")
    parser.add_argument("text", nargs="*", help="a text; for a task of pairs, two")
    parser.add_argument(
        "--examples", action="store_true", help=f"explain {EXAMPLE_COUNT} test sentences; write RUN/{EXAMPLES}"
    )


def run(arguments: argparse.Namespace) -> int:
    """``ltp explain``: show a sentence's words and the layers at which they go, or write examples for the page."""
    if arguments.examples and not arguments.text:
        print(explain_task(arguments.run))
        return 0
    if arguments.examples or not 1 <= len(arguments.text) <= 2:
        found = f"{len(arguments.text)} texts" + (" and --examples" if arguments.examples else "")
        raise LTPError(f"text: {found} given; expected one text, two for a task of pairs, or --examples alone")
    from ltp.models.explain import explain, load
    from ltp.text.cleaning import expect_characters

    model, tokenizer, max_length = load(arguments.run)
    for part in arguments.text:
        expect_characters(part, "text:")
    text = arguments.text[0] if len(arguments.text) == 1 else tuple(arguments.text)
    (sentence,) = explain(model, tokenizer, [text], max_length)
    print(render(sentence, use_colour(sys.stdout)))
    return 0
