"""From examples of different lengths to one padded batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ltp.models.heads import IGNORED, PADDING_LOGIT


class Collator:
    """Pads a batch and sorts it by length: packed attention wastes least where neighbours are about as long."""

    def __init__(self, pad_token_id: int, kind: str, teacher: Tensor | Sequence[Tensor] | None = None):
        """``kind`` is the task's; ``teacher`` the dense model's outputs: (rows, C), or (tokens, C) for each row."""
        self.pad_token_id, self.kind, self.teacher = pad_token_id, kind, teacher

    def __call__(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """Examples with ``input_ids``, ``labels`` and perhaps ``token_type_ids`` and ``row`` -> (B, N) tensors."""
        # Only training examples have a row, and only their order is free. Evaluation splits are stored sorted.
        if "row" in examples[0]:
            examples = sorted(examples, key=lambda example: len(example["input_ids"]))
        labels = [example["labels"] for example in examples]
        batch = pad(examples, self.pad_token_id)
        if self.kind == "tokens":
            batch["labels"] = pad_token_labels(examples)
        elif self.kind == "spans":
            batch["start_positions"], batch["end_positions"] = torch.tensor(labels).unbind(1)
        else:
            batch["labels"] = torch.tensor(labels, dtype=torch.float if self.kind == "regression" else torch.long)
        if self.teacher is not None and "row" in examples[0]:
            rows = [example["row"] for example in examples]
            if isinstance(self.teacher, Tensor):
                batch["teacher_logits"] = self.teacher[rows]
            else:
                batch["teacher_logits"] = pad_rows([self.teacher[row] for row in rows], PADDING_LOGIT)
        return batch


def pad_token_labels(examples: Sequence[Mapping[str, Any]]) -> Tensor:
    """(B, N) the labels of each example's tokens, and IGNORED after its end."""
    return pad_rows([torch.tensor(example["labels"]) for example in examples], IGNORED)


def pad_rows(rows: Sequence[Tensor], value: float) -> Tensor:
    """(B, N, …) of rows (n, …), with ``value`` after each row's end."""
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=value)


def pad(examples: Sequence[Mapping[str, Any]], pad_token_id: int, length: int = 0) -> dict[str, Tensor]:
    """``input_ids``, ``attention_mask`` and, where there are some, ``token_type_ids`` (B, N) of the examples.

    N is the longest sentence, or ``length`` where that is more.
    """
    length = max(length, *(len(example["input_ids"]) for example in examples))

    def padded(key: str, value: int) -> Tensor:
        rows = [torch.as_tensor(example[key], dtype=torch.long) for example in examples]
        return torch.stack([functional.pad(row, (0, length - len(row)), value=value) for row in rows])

    batch = {"input_ids": padded("input_ids", pad_token_id)}
    lengths = torch.tensor([len(example["input_ids"]) for example in examples])
    batch["attention_mask"] = (torch.arange(length) < lengths[:, None]).long()
    if "token_type_ids" in examples[0]:
        batch["token_type_ids"] = padded("token_type_ids", 0)
    return batch
