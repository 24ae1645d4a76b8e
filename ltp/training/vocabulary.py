"""Training of no more word embeddings than the training text has.

A vocabulary has 30,000 to 250,000 rows, of which a small text sees some thousands. The others have no gradient, so
AdamW without weight decay leaves them as they are; but its step, the clip and the zeroing of gradients go through all
of them every time. Here they are set aside for as long as the training lasts, which changes no weight's course.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from ltp.models.modeling import LTPPreTrainedModel
from ltp.settings.training import TrainingSettings


@contextmanager
def only_seen_words(model: LTPPreTrainedModel, split: Any, settings: TrainingSettings) -> Iterator[None]:
    """Let the word embeddings be only the rows (R, H) of the tokens in ``split``, and (V, H) again afterwards.

    Inside, the model takes no other tokens. With weight decay, which moves all rows, or frozen embeddings, which cost
    nothing, they stay whole.
    """
    words = model.layout.word_embeddings(model.encoder)
    if settings.weight_decay or settings.freeze_embeddings:
        yield
        return
    whole, padding = words.weight, words.padding_idx
    ids = sorted(set().union(*split["input_ids"]))
    seen = torch.tensor(ids, device=whole.device)
    words.weight = nn.Parameter(whole.detach()[seen])
    words.padding_idx = ids.index(padding) if padding in ids else None  # a text may name it; it has no gradient
    lookup = words.register_forward_pre_hook(lambda _, inputs: (torch.searchsorted(seen, inputs[0]),))
    try:
        yield
    finally:
        lookup.remove()
        with torch.no_grad():
            whole[seen] = words.weight.to(whole)
        words.weight, words.padding_idx = whole, padding
