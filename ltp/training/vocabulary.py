"""Training of no more word embeddings than the training text has.

A vocabulary has 30,000 to 250,000 rows, of which a small text sees some thousands. The others have no gradient, so
AdamW without weight decay leaves them as they are; but its step, the clip and the zeroing of gradients go through all
of them every time. Here they are set aside for as long as the training lasts, which changes no weight's course.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager

import datasets
import pyarrow.compute
import torch
from torch import nn

from ltp.models.modeling import LTPPreTrainedModel

ROWS = 1000  # of a split, read at a time


def seen_ids(split: datasets.Dataset) -> set[int]:
    """The ids of all tokens in a split."""
    seen: set[int] = set()
    for part in split.select_columns("input_ids").with_format("arrow").iter(ROWS):
        seen.update(pyarrow.compute.unique(pyarrow.compute.list_flatten(part["input_ids"])).to_pylist())
    return seen


@contextmanager
def only_seen_words(model: LTPPreTrainedModel, seen: Collection[int], weight_decay: float) -> Iterator[None]:
    """Let the word embeddings be only the rows (R, H) of the ids ``seen``, and (V, H) again afterwards.

    Inside, the model takes no other tokens. With weight decay, which moves all rows, or frozen embeddings, which cost
    nothing, they stay whole.
    """
    words = model.layout.word_embeddings(model.encoder)
    whole, padding = words.weight, words.padding_idx
    if weight_decay or not whole.requires_grad:
        yield
        return
    ids = sorted(seen)
    rows = torch.tensor(ids, device=whole.device)
    words.weight = nn.Parameter(whole.detach()[rows])
    words.padding_idx = ids.index(padding) if padding in ids else None  # a text may name it; it has no gradient
    lookup = words.register_forward_pre_hook(lambda _, inputs: (torch.searchsorted(rows, inputs[0]),))
    try:
        yield
    finally:
        lookup.remove()
        with torch.no_grad():
            whole[rows] = words.weight.to(whole)
        words.weight, words.padding_idx = whole, padding
