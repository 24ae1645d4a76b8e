"""Which words of a sentence a trained model drops, and at which layer: in colour where there is a terminal."""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ltp.checkpoints import positions, read_config
from ltp.errors import LTPError
from ltp.frontier import FINAL_STAGES
from ltp.records import METRICS, RECORDS, shown
from ltp.runs import read_metrics, verify_run
from ltp.sentences import EXAMPLES, Sentence, Word, render, use_colour, write_examples
from ltp.summary import SUMMARY_COLUMNS
from ltp.tables import RUNS, RUNS_COLUMNS, SUMMARY, read_csv

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from ltp.model import LTPForSequenceClassification

Text = str | tuple[str, str]
EXAMPLE_COUNT = 6
BLANK = "␣"  # a token of nothing but blanks, as RoBERTa has them


def explain(
    model: LTPForSequenceClassification, tokenizer: PreTrainedTokenizerBase, texts: Sequence[Text], max_length: int
) -> list[Sentence]:
    """Classify ``texts``, each one text or a pair, and say how many layers each word goes through.

    ``tokenizer`` is a fast one; what lies beyond ``max_length`` tokens is not read, as in training.
    Raises LTPError for a text without words.
    """
    import torch

    for text in texts:
        if not all(part.strip() for part in _parts(text)):
            raise LTPError(f"text: {text!r} is empty; expected words")
    model.eval()
    found = []
    for text in texts:  # one by one: sentences are few, and padding would only have to be taken off again
        encoded = tokenizer(
            *_parts(text), truncation=True, max_length=max_length, return_offsets_mapping=True, return_tensors="pt"
        )
        names = ["input_ids", "attention_mask"]
        if "token_type_ids" in encoded and getattr(model.config, "type_vocab_size", 1) > 1:
            names.append("token_type_ids")
        with torch.inference_mode():
            output = model(**{name: encoded[name].to(model.device) for name in names}, return_kept=True)
        words = _words(encoded, _parts(text), output.kept[0].tolist())
        answer, probability = _answer(model, output.logits[0].float())
        found.append(
            Sentence(
                texts=_parts(text), words=words, layers=model.config.num_hidden_layers, answer=answer,
                probability=probability, unread=_unread(encoded, _parts(text)),
            )
        )  # fmt: skip
    return found


def _parts(text: Text) -> tuple[str, ...]:
    return (text,) if isinstance(text, str) else tuple(text)


def _answer(model: LTPForSequenceClassification, logits: Any) -> tuple[str, float | None]:
    if model.num_labels == 1:
        return f"{logits[0].item():.2f}", None
    best = int(logits.argmax())
    return str(model.config.id2label[best]), logits.softmax(0)[best].item()


def _words(encoded: Any, texts: Sequence[str], kept: Sequence[int]) -> tuple[Word, ...]:
    """Pieces merged into words, spelled as in the text rather than as in the vocabulary."""
    groups: dict[tuple, list[int]] = defaultdict(list)
    sequences, words = encoded.sequence_ids(0), encoded.word_ids(0)
    for token, (sequence, word) in enumerate(zip(sequences, words, strict=True)):
        groups[(None, token) if sequence is None else (sequence, word)].append(token)
    offsets, names = encoded["offset_mapping"][0].tolist(), encoded.tokens(0)
    found, end = [], 0
    for (sequence, _), tokens in groups.items():
        lives = [kept[token] for token in tokens]
        if sequence is None:
            pieces = tuple((names[token], kept[token]) for token in tokens)
            found.append(Word(names[tokens[0]], max(lives), pieces, special=True))
            end = 0
            continue
        text = texts[sequence]
        start, before = offsets[tokens[0]][0], end
        end = max(offsets[token][1] for token in tokens)
        pieces = tuple((text[slice(*offsets[token])], kept[token]) for token in tokens)
        spaced = start == 0 or text[before:start] != "" or text[start:end][:1].isspace()
        found.append(Word(text[start:end].strip() or BLANK, max(lives), pieces, space=spaced))
    return tuple(found)


def _unread(encoded: Any, texts: Sequence[str]) -> int:
    """Characters after the last token of each text."""
    ends = [0] * len(texts)
    for sequence, (_, end) in zip(encoded.sequence_ids(0), encoded["offset_mapping"][0].tolist(), strict=True):
        if sequence is not None:
            ends[sequence] = max(ends[sequence], end)
    return sum(len(text[end:].strip()) for text, end in zip(texts, ends, strict=True))


def load(run: str | Path) -> tuple[LTPForSequenceClassification, PreTrainedTokenizerBase, int]:
    """A run's model, tokenizer and longest sequence; LTPError for a run that drops no tokens or has no model."""
    run = Path(run)
    config = _pruning_config(run)
    from transformers import AutoTokenizer
    from transformers.utils import logging as transformers_logging

    from ltp.evaluation import load_pruned

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()  # loading takes a moment; a bar would stand between the lines
    model = load_pruned(run)
    tokenizer = AutoTokenizer.from_pretrained(run, local_files_only=True)
    limits = [tokenizer.model_max_length, positions({**config, "model_type": config["base_model_type"]})]
    if (run / METRICS).is_file():
        limits.append(read_metrics(run)["settings"].get("max_length") or limits[0])
    return model, tokenizer, min(limits)


def _pruning_config(run: Path) -> dict[str, Any]:
    """The config of a run or conversion that drops tokens; LTPError says why another directory cannot be explained."""
    mend = "expected a finished run of ltp, topk or manual"
    if (run / METRICS).is_file():
        metrics = read_metrics(run)
        if metrics["status"] != "complete":
            raise LTPError(f"{shown(run)}: is {metrics['status']} ({metrics['reason']}) and has no model; {mend}")
        if metrics["method"] == "dense":
            raise LTPError(f"{shown(run)}: is a dense model, which drops no tokens; {mend}")
    if any((run / name).is_file() for name in RECORDS) and (problems := verify_run(run)):
        raise LTPError(problems[0])
    config = read_config(run)
    if config.get("model_type") != "ltp" or config.get("prune_mode") == "none":
        raise LTPError(f"{shown(run)}: is a model that drops no tokens; {mend}")
    return config


def explain_task(folder: str | Path, count: int = EXAMPLE_COUNT) -> Path:
    """Explain ``count`` test sentences of a task and write them to ``folder``/examples.json, for the page.

    ``folder`` is the task's, in the folder of the tables. The run is the summary's operating point of learned
    thresholds, or without one the run that is best on validation. The sentences are picked by length alone: evenly
    over the test split, which is sorted by length, so nobody chose them for looking good.
    """
    folder = Path(folder)
    results, path = folder.parent, folder / EXAMPLES
    row, why = _chosen(results, folder.name)
    if row is None:
        write_examples(path, [], run=None, reason=why)
        return path
    model, tokenizer, max_length = load(results / row["run"])
    from ltp.data import load as load_data

    splits, info = load_data(folder / "data")
    test = splits["test"]
    count = min(count, len(test))
    picked = [test[round((i + 0.5) * len(test) / count - 0.5)] for i in range(count)]
    columns = ("text", "text_pair") if "text_pair" in test.column_names else ("text",)
    texts = [tuple(example[column] for column in columns) for example in picked]
    names = info["label_names"]
    sentences = [
        Sentence(**{**vars(sentence), "expected": names[example["labels"]] if names else f"{example['labels']:.2f}"})
        for sentence, example in zip(explain(model, tokenizer, texts, max_length), picked, strict=True)
    ]
    facts = {"run": row["run"], "setting": row["setting"], "model": row["model"], "reason": why, "split": "test"}
    write_examples(path, sentences, **facts, test_examples=len(test))
    return path


def _chosen(results: Path, task: str) -> tuple[Mapping[str, str] | None, str]:
    """The row of runs.csv of the ltp run to explain, and why it is that one; None and why there is none."""
    runs = {row["run"]: row for row in read_csv(results / RUNS, RUNS_COLUMNS)}
    summary = read_csv(results / SUMMARY, SUMMARY_COLUMNS)
    for row in summary:
        if row["task"] == task and row["method"] == "ltp" and row["runs"]:
            return runs[row["runs"].split(";")[0]], "cheapest within 1 point of dense on validation"
    finished = [
        row for row in runs.values()
        if (row["task"], row["method"], row["status"]) == (task, "ltp", "complete") and row["stage"] in FINAL_STAGES
    ]  # fmt: skip
    if not finished:
        return None, f"no finished run of learned thresholds on {task}"
    return max(finished, key=lambda row: float(row["validation_score"])), "best on validation; none within 1 point"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``ltp explain``."""
    parser.add_argument("run", help="folder of a run of ltp, topk or manual; with --examples, of a task's results")
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
        given = f"{len(arguments.text)} texts" + (" and --examples" if arguments.examples else "")
        raise LTPError(f"text: {given} given; expected one text, two for a task of pairs, or --examples alone")
    model, tokenizer, max_length = load(arguments.run)
    text = arguments.text[0] if len(arguments.text) == 1 else tuple(arguments.text)
    (sentence,) = explain(model, tokenizer, [text], max_length)
    print(render(sentence, use_colour(sys.stdout)))
    return 0
