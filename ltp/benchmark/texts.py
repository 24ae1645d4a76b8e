"""Text for timing: sentences of a data directory, whole and cut to given lengths, in batches."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from transformers import PreTrainedConfig

from ltp.results.checkpoint import positions
from ltp.results.dataset import longest
from ltp.text.dataset import load
from ltp.training.collator import pad

PADDED_LENGTH = 128  # tokens to which the original pads, or to the data's max_length where that is more
MAX_CUT_SENTENCES = 16  # sentences of one length take the same time, so few are enough


@dataclass(frozen=True)
class Text:
    """Sentences to classify: ``rows`` are examples with ``input_ids`` (and ``token_type_ids``)."""

    name: str
    max_length: int
    rows: Sequence[dict[str, Any]]
    cut: bool = False  # cut and joined to sentences of exactly ``max_length`` tokens, for time against length

    def for_batches_of(self, size: int) -> Text:
        """What is timed in batches of ``size``: of sentences of one length no more than are needed."""
        return replace(self, rows=self.rows[: max(MAX_CUT_SENTENCES, size)]) if self.cut else self


def read_texts(folder: Path, sentences: int, lengths: Sequence[int], batch: int = 1) -> Iterator[Text]:
    """The test (or validation) sentences in a fixed random order, and the same text cut to each of the lengths.

    Of one length there are at least a ``batch`` where there is as much text.
    """
    splits, info = load(folder)
    split = next(splits[name] for name in ("test", "validation", "train") if name in splits)
    columns = [name for name in ("input_ids", "token_type_ids") if name in split.column_names]
    picked = np.linspace(0, len(split) - 1, min(sentences, len(split))).astype(int)
    rows = [{name: split[int(index)][name] for name in columns} for index in picked]
    random.Random(0).shuffle(rows)
    yield Text(info["task"], longest(info), rows)
    first, last = rows[0]["input_ids"][0], rows[0]["input_ids"][-1]  # [CLS] and [SEP], or <s> and </s>
    tokens = [token for row in rows for token in row["input_ids"][1:-1]]
    for length in lengths:
        rotated = [tokens[start:] + tokens[:start] for start in range(0, len(tokens), max(1, len(tokens) // len(rows)))]
        count = max(1, min(len(rows), len(tokens) // length, max(MAX_CUT_SENTENCES, batch)))
        cut = [{"input_ids": [first, *(stream * length)[: length - 2], last]} for stream in rotated[:count]]
        yield Text(info["task"], length, cut, cut=True)


def batches(
    text: Text, kind: str, size: int, config: PreTrainedConfig
) -> Iterator[tuple[list[int], Mapping[str, Tensor]]]:
    """Row numbers in the text and padded tensors (B, N) of every batch.

    ``kind`` is that of `ltp.benchmark.backends.Backend.batches`: ``padded``, ``dynamic`` or ``sorted``.
    """
    order = list(range(len(text.rows)))
    if kind == "sorted":
        order.sort(key=lambda index: len(text.rows[index]["input_ids"]))
    for start in range(0, len(order), size):
        row_numbers = order[start : start + size]
        length = 0
        if kind == "padded":
            length = min(max(PADDED_LENGTH, text.max_length), positions(config.to_dict()))
        yield row_numbers, pad([text.rows[number] for number in row_numbers], config.pad_token_id, length)
