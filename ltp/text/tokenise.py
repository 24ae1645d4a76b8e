"""From checked examples to token ids, and to the tokens that their labels stand at."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ltp.common.errors import LTPError
from ltp.settings.tasks import Task

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

_CHUNK = 10_000  # examples tokenised at a time, so that lists of Python integers stay small
IGNORED = -100  # the label of a token that begins no word: what torch's cross-entropy leaves out


def tokenise(frame: pd.DataFrame, tokenizer: Any, max_length: int, with_types: bool, name: str, task: Task) -> Any:
    """A pyarrow table of examples: input_ids (token_type_ids), labels, length, text (text_pair).

    ``frame`` is that of :func:`ltp.text.cleaning.clean`; without labels the table has none. ``name`` is for the
    progress bar.

    ``labels`` is one a row, but for these kinds. ``tokens``: one a token, that of the word whose first piece it is,
    else IGNORED; with ``word_ids`` (the number of that word, else -1) and ``word_labels`` (one a word, those beyond
    ``max_length`` too). ``spans``: the first and the last token of the first answer, twice 0 (the first token of all)
    where there is none or it lies beyond ``max_length``; with ``answers`` (texts) and ``char_starts`` and ``char_ends``
    (the characters of the passage that each token stands for, else -1). A passage is cut at its end, a question never.
    """
    import numpy as np
    import pyarrow as pa
    from tqdm.auto import tqdm

    columns = [frame[column].tolist() for column in ("text", "text_pair") if column in frame]
    names = ["input_ids", "token_type_ids"] if with_types else ["input_ids"]
    aligned = {"tokens": _align_words, "spans": _align_answers}.get(task.kind)
    chunks: dict[str, list[Any]] = {name: [] for name in names}
    lengths: list[int] = []
    extra: list[dict[str, Any]] = []
    quiet = len(frame) <= _CHUNK or not sys.stderr.isatty()
    for start in tqdm(range(0, len(frame), _CHUNK), desc=f"tokenising {name}", disable=quiet):
        encoded = tokenizer(
            *(column[start : start + _CHUNK] for column in columns),
            truncation="only_second" if task.kind == "spans" else True, max_length=max_length,
            return_token_type_ids=with_types, return_attention_mask=False, return_offsets_mapping=aligned is not None,
        )  # fmt: skip
        lengths += map(len, encoded["input_ids"])
        for name in names:
            chunks[name].append(np.concatenate([np.asarray(ids, dtype=np.int32) for ids in encoded[name]]))
        if aligned:
            part = frame.iloc[start : start + _CHUNK]
            extra += [aligned(encoded, row, example) for row, example in enumerate(part.to_dict("records"))]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    arrays = {name: pa.ListArray.from_arrays(offsets, np.concatenate(parts)) for name, parts in chunks.items()}
    if aligned:
        for name in extra[0]:
            kind = pa.string() if name == "answers" else pa.int32()
            arrays[name] = pa.array([example[name] for example in extra], type=pa.list_(kind))
    elif "label" in frame:
        arrays["labels"] = pa.array(frame["label"].to_numpy())
    arrays["length"] = pa.array(np.asarray(lengths, dtype=np.int32))
    for name, values in zip(("text", "text_pair"), columns, strict=False):
        arrays[name] = pa.array(values, type=pa.string())
    return pa.table(arrays)


def count_beyond(table: Any, task: Task) -> int:
    """The words, or first answers, of a tokenised split that lie beyond ``max_length`` and so cannot be found."""
    import numpy as np

    if task.kind == "tokens":
        read = sum(int((np.asarray(ids) >= 0).sum()) for ids in table["word_ids"].to_pylist())
        return sum(map(len, table["word_labels"].to_pylist())) - read
    if task.kind == "spans":
        answers, labels = table["answers"].to_pylist(), table["labels"].to_pylist()
        return sum(bool(found) and not any(places) for found, places in zip(answers, labels, strict=True))
    return 0


def _align_words(encoded: Any, row: int, example: Mapping[Any, Any]) -> dict[str, Any]:
    """The label of each word at its first piece, found by its characters, so that any tokenizer will do."""
    import numpy as np

    starts, ends = _characters(encoded, row, sequence=0)
    word_starts = np.cumsum([0, *(len(word) + 1 for word in example["words"])])[:-1]
    # By its last character: some tokenizers count the blank before a word among its own.
    of_token = np.where(ends > starts, np.searchsorted(word_starts, ends - 1, side="right") - 1, -1)
    found, places = np.unique(of_token, return_index=True)
    first = np.isin(np.arange(len(of_token)), places[found >= 0])
    labels = np.asarray(example["label"])
    return {
        "labels": np.where(first, labels[of_token], IGNORED),
        "word_ids": np.where(first, of_token, -1),
        "word_labels": labels,
    }


def _align_answers(encoded: Any, row: int, example: Mapping[Any, Any]) -> dict[str, Any]:
    """The first and the last token of the first answer, and the passage's characters of every token."""
    import numpy as np

    starts, ends = _characters(encoded, row, sequence=1)
    first = last = 0
    if example["label"]:
        begin, text = example["label"][0]
        inside = np.flatnonzero((ends > begin) & (starts < begin + len(text)))
        if len(inside) and ends.max() >= begin + len(text.rstrip()):
            first, last = int(inside[0]), int(inside[-1])
    return {
        "labels": [first, last],
        "answers": [text for _, text in example["label"]],
        "char_starts": starts,
        "char_ends": ends,
    }


def _characters(encoded: Any, row: int, sequence: int) -> tuple[np.ndarray, np.ndarray]:
    """(N,) first character of each token in one of the texts, and the one after its last; -1 for all other tokens."""
    import numpy as np

    offsets = np.asarray(encoded["offset_mapping"][row]).reshape(-1, 2)
    ours = np.array([number == sequence for number in encoded.sequence_ids(row)])
    starts, ends = (np.where(ours, offsets[:, side], -1) for side in (0, 1))
    return starts, ends


def expect_short_questions(questions: list[str], tokenizer: Any, max_length: int, split: str) -> None:
    """Raise LTPError for a question that leaves no room for the passage."""
    special = tokenizer.num_special_tokens_to_add(pair=True)
    for start in range(0, len(questions), _CHUNK):
        part = questions[start : start + _CHUNK]
        encoded = tokenizer(part, add_special_tokens=False, return_attention_mask=False)
        for question, ids in zip(part, encoded["input_ids"], strict=True):
            if len(ids) + special >= max_length:
                raise LTPError(
                    f"max_length: {max_length} leaves no room for a passage beside the {split} question "
                    f"{question!r:.60}, which has {len(ids)} word pieces; set it higher, or shorten the question"
                )
