"""From examples of different lengths to one padded batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


class Collator:
    """Pads a batch and sorts it by length: packed attention wastes least where neighbours are about as long."""

    def __init__(self, pad_token_id: int, regression: bool, teacher: Tensor | None = None):
        self.pad_token_id, self.regression, self.teacher = pad_token_id, regression, teacher

    def __call__(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """Examples with ``input_ids``, ``labels`` and perhaps ``token_type_ids`` and ``row`` -> (B, N) tensors."""
        # Only training examples have a row, and only their order is free. Evaluation splits are stored sorted.
        if "row" in examples[0]:
            examples = sorted(examples, key=lambda example: len(example["input_ids"]))
        ids = [torch.as_tensor(example["input_ids"], dtype=torch.long) for example in examples]
        batch = {
            "input_ids": _pad(ids, self.pad_token_id),
            "attention_mask": _pad([torch.ones_like(row) for row in ids], 0),
            "labels": torch.tensor(
                [example["labels"] for example in examples], dtype=torch.float if self.regression else torch.long
            ),
        }
        if "token_type_ids" in examples[0]:
            types = [torch.as_tensor(example["token_type_ids"], dtype=torch.long) for example in examples]
            batch["token_type_ids"] = _pad(types, 0)
        if self.teacher is not None and "row" in examples[0]:
            batch["teacher_logits"] = self.teacher[[example["row"] for example in examples]]
        return batch


def _pad(rows: Sequence[Tensor], value: int) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=value)
