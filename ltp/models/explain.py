"""Which words of a sentence a model drops, and after which layer."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ltp.common.errors import LTPError
from ltp.common.io import first_line, shown
from ltp.models.spans import best_span
from ltp.results.checkpoint import positions, read_config, require_tokenizer
from ltp.results.examples import Sentence, Word
from ltp.results.manifest import MANIFESTS, METRICS
from ltp.results.run import read_metrics
from ltp.results.verify import verify_run
from ltp.settings.pruning import head_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from ltp.models.modeling import LTPPreTrainedModel


Text = str | tuple[str, str]
NO_ANSWER = "no answer"
BLANK = "␣"  # shown for a token of blanks only, which RoBERTa's tokenizer makes


def explain(
    model: LTPPreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[Text], max_length: int
) -> list[Sentence]:
    """Answer ``texts`` (each a text, or a pair of texts) and count the layers that each word goes through.

    The answer is a label; the labels of words; or, of a question and its passage, the answer found. ``tokenizer`` must
    be a fast one, which knows each token's characters. Texts are truncated at ``max_length`` tokens, as in training.
    Raises LTPError for a text without words, and where a question has no passage.
    """
    import torch

    answer_of = {"TokenClassification": _word_labels, "QuestionAnswering": _span}.get(head_of(model.config.to_dict()))
    questions = answer_of is _span
    for text in texts:
        if questions and len(_parts(text)) != 2:
            raise LTPError(f"text: {text!r} alone; expected two, a question and the passage to find its answer in")
        if answer_of is _word_labels and len(_parts(text)) != 1:
            raise LTPError(f"text: {len(_parts(text))} given; this model labels the words of one: put it in quotes")
        if not all(part.strip() for part in _parts(text)):
            raise LTPError(f"text: {text!r} is empty; expected words")
        if questions:
            _expect_room(tokenizer, _parts(text)[0], max_length)
    model.eval()
    sentences = []
    for text in texts:  # one by one: they are few, and need no padding
        encoded = tokenizer(
            *_parts(text), truncation="only_second" if questions else True, max_length=max_length,
            return_offsets_mapping=True, return_tensors="pt",
        )  # fmt: skip
        names = ["input_ids", "attention_mask"]
        if "token_type_ids" in encoded and getattr(model.config, "type_vocab_size", 1) > 1:
            names.append("token_type_ids")
        with torch.inference_mode():
            output = model(**{name: encoded[name].to(model.device) for name in names}, return_kept=True)
        words = _words(encoded, _parts(text), output.kept[0].tolist())
        logits = output.logits[0].float()
        answer, probability = answer_of(model, logits, encoded, text) if answer_of else _answer(model, logits)
        sentences.append(
            Sentence(
                texts=_parts(text), words=words, layers=model.config.num_hidden_layers, answer=answer,
                probability=probability, unread=_unread(encoded, _parts(text)),
            )
        )  # fmt: skip
    return sentences


def _expect_room(tokenizer: PreTrainedTokenizerBase, question: str, max_length: int) -> None:
    """Raise LTPError for a question that leaves no room for the passage."""
    pieces = len(tokenizer(question, add_special_tokens=False)["input_ids"])
    if pieces + tokenizer.num_special_tokens_to_add(pair=True) >= max_length:
        raise LTPError(
            f"text: the question has {pieces} word pieces, which leaves none of {max_length} for a passage; shorten it"
        )


def _parts(text: Text) -> tuple[str, ...]:
    return (text,) if isinstance(text, str) else tuple(text)


def _answer(model: LTPPreTrainedModel, logits: Any) -> tuple[str, float | None]:
    """The label and its probability; for a regression the value and None."""
    if model.num_labels == 1:
        return f"{logits[0].item():.2f}", None
    best = int(logits.argmax())
    return str(model.config.id2label[best]), logits.softmax(0)[best].item()


def _word_labels(model: LTPPreTrainedModel, logits: Any, encoded: Any, text: Text) -> tuple[str, None]:
    """The words that are labelled other than O, and with what: a word's label is that of its first token."""
    (text,), names = _parts(text), model.config.id2label
    starts = {match.start(): match.group() for match in re.finditer(r"\S+", text)}
    labels: dict[int, str] = {}
    for token, (start, end) in enumerate(encoded["offset_mapping"][0].tolist()):
        if end > start:
            word = max((place for place in starts if place < end), default=None)
            if word is not None:  # a token of the blanks before the first word
                labels.setdefault(word, str(names[int(logits[token].argmax())]))
    return labelled_words([starts[place] for place in labels], list(labels.values())), None


def labelled_words(words: Sequence[str], labels: Sequence[str]) -> str:
    """``Paris B-LOC, Texas I-LOC``: the words whose label is not O."""
    return ", ".join(f"{word} {label}" for word, label in zip(words, labels, strict=True) if label != "O") or "O"


def _span(model: LTPPreTrainedModel, logits: Any, encoded: Any, text: Text) -> tuple[str, None]:
    """The answer in the passage, as it is spelled there."""
    in_passage = np.array([sequence == 1 for sequence in encoded.sequence_ids(0)])
    span = best_span(logits[:, 0].numpy(), logits[:, 1].numpy(), in_passage)
    if span is None:
        return NO_ANSWER, None
    offsets = encoded["offset_mapping"][0].tolist()
    return _parts(text)[1][offsets[span[0]][0] : offsets[span[1]][1]], None


def _words(encoded: Any, texts: Sequence[str], kept: Sequence[int]) -> tuple[Word, ...]:
    """Word pieces merged into words, spelled as in the text; ``kept`` (N,) is the number of layers of each token."""
    groups: dict[tuple, list[int]] = defaultdict(list)
    sequences, words = encoded.sequence_ids(0), encoded.word_ids(0)
    for token, (sequence, word) in enumerate(zip(sequences, words, strict=True)):
        groups[(None, token) if sequence is None else (sequence, word)].append(token)
    offsets, names = encoded["offset_mapping"][0].tolist(), encoded.tokens(0)
    merged, end = [], 0
    for (sequence, _), tokens in groups.items():
        layers = max(kept[token] for token in tokens)
        if sequence is None:
            pieces = tuple((names[token], kept[token]) for token in tokens)
            merged.append(Word(names[tokens[0]], layers, pieces, special=True))
            end = 0
            continue
        text = texts[sequence]
        start, before = offsets[tokens[0]][0], end
        end = max(offsets[token][1] for token in tokens)
        pieces = tuple((text[slice(*offsets[token])], kept[token]) for token in tokens)
        spaced = start == 0 or text[before:start] != "" or text[start:end][:1].isspace()
        merged.append(Word(text[start:end].strip() or BLANK, layers, pieces, space=spaced))
    return tuple(merged)


def _unread(encoded: Any, texts: Sequence[str]) -> int:
    """Characters of the texts after their last tokens, which truncation left out."""
    ends = [0] * len(texts)
    for sequence, (_, end) in zip(encoded.sequence_ids(0), encoded["offset_mapping"][0].tolist(), strict=True):
        if sequence is not None:
            ends[sequence] = max(ends[sequence], end)
    return sum(len(text[end:].strip()) for text, end in zip(texts, ends, strict=True))


def load(run: str | Path) -> tuple[LTPPreTrainedModel, PreTrainedTokenizerBase, int]:
    """A run's model, tokenizer and maximal length in tokens: what `explain` takes.

    ``run`` is a finished or converted run. Raises LTPError for a run that drops no tokens or has no model.
    """
    run = Path(run)
    config = _pruning_config(run)
    from transformers import AutoTokenizer
    from transformers.utils import logging as transformers_logging

    from ltp.models.loading import load_pruned

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()  # loading takes a moment; a bar would stand between the lines
    model = load_pruned(run)
    require_tokenizer(run)
    try:
        tokenizer = AutoTokenizer.from_pretrained(run, local_files_only=True)
    except Exception as error:  # a broken tokenizer.json raises whatever its parser raises
        raise LTPError(f"{shown(run)}: tokenizer not readable ({first_line(error)}); save it there again") from None
    limits = [tokenizer.model_max_length, positions({**config, "model_type": config["base_model_type"]})]
    if (run / METRICS).is_file():
        limits.append(read_metrics(run)["settings"].get("max_length") or limits[0])
    return model, tokenizer, min(limits)


def _pruning_config(run: Path) -> dict[str, Any]:
    """The config of a run or conversion that drops tokens; LTPError says why another directory cannot be explained."""
    fix = "expected a finished run that prunes"
    if (run / METRICS).is_file():
        metrics = read_metrics(run)
        if metrics["status"] != "complete":
            raise LTPError(f"{shown(run)}: is {metrics['status']} ({metrics['reason']}) and has no model; {fix}")
        if metrics["method"] == "dense":
            raise LTPError(f"{shown(run)}: is a dense model, which drops no tokens; {fix}")
    if any((run / name).is_file() for name in MANIFESTS) and (problems := verify_run(run)):
        raise LTPError(problems[0])
    config = read_config(run)
    if config.get("model_type") != "ltp" or config.get("prune_mode") == "none":
        raise LTPError(f"{shown(run)}: is a model that drops no tokens; {fix}")
    return config
