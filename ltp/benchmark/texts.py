"""Text for timing: sentences of a data directory, as they are and cut to one length, in batches."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedConfig

from ltp.results.checkpoint import positions
from ltp.text.dataset import load

PADDED = 128  # tokens to which the original pads, at least
MOST_CUT = 16  # sentences of one length: they are alike, so few are enough


@dataclass(frozen=True)
class Text:
    """Sentences to classify: ``rows`` are examples with ``input_ids`` (and ``token_type_ids``)."""

    name: str
    max_length: int
    rows: Sequence[dict[str, Any]]
    cut: bool = False  # all of one length, for time against length


def read_texts(folder: Path, sentences: int, lengths: Sequence[int]) -> Iterator[Text]:
    """The test sentences in a fixed random order, and the same text cut to each of the lengths."""
    splits, info = load(folder)
    split = splits.get("test", splits["train"])
    columns = [name for name in ("input_ids", "token_type_ids") if name in split.column_names]
    picked = np.linspace(0, len(split) - 1, min(sentences, len(split))).astype(int)
    rows = [{name: split[int(index)][name] for name in columns} for index in picked]
    random.Random(0).shuffle(rows)
    yield Text(info["task"], info["max_length"], rows)
    first, last = rows[0]["input_ids"][0], rows[0]["input_ids"][-1]  # [CLS] and [SEP], or their like
    words = [token for row in rows for token in row["input_ids"][1:-1]]
    for length in lengths:
        turned = [words[start:] + words[:start] for start in range(0, len(words), max(1, len(words) // len(rows)))]
        count = max(1, min(len(rows), len(words) // length, MOST_CUT))
        cut = [{"input_ids": [first, *(turn * length)[: length - 2], last]} for turn in turned[:count]]
        yield Text(info["task"], length, cut, cut=True)


def batches(
    text: Text, kind: str, size: int, config: PreTrainedConfig
) -> Iterator[tuple[list[int], Mapping[str, Tensor]]]:
    """Places in the text and padded tensors (B, N) of every batch, in the order that ``kind`` asks for."""
    order = list(range(len(text.rows)))
    if kind == "sorted":
        order.sort(key=lambda index: len(text.rows[index]["input_ids"]))
    for start in range(0, len(order), size):
        places = order[start : start + size]
        rows = [text.rows[place] for place in places]
        width = max(len(row["input_ids"]) for row in rows)
        if kind == "padded":
            width = max(width, min(max(PADDED, text.max_length), positions(config.to_dict())))
        batch = {
            "input_ids": _pad([row["input_ids"] for row in rows], width, config.pad_token_id),
            "attention_mask": _pad([[1] * len(row["input_ids"]) for row in rows], width, 0),
        }
        if "token_type_ids" in rows[0]:
            batch["token_type_ids"] = _pad([row["token_type_ids"] for row in rows], width, 0)
        yield places, batch


def _pad(rows: Sequence[Sequence[int]], width: int, value: int) -> Tensor:
    return torch.tensor([[*row, *[value] * (width - len(row))] for row in rows])
