"""What later layers look at, word by word: the part of the score ``lexical`` that is known before a text is read.

In the first layers a token has seen little of its sentence, and how much attention it receives there says little about
what will be wanted of it. Yet much of that depends on the word alone, and the unpruned model shows it on any text.

Shapes: V tokens in the vocabulary, T tokens in the batch, B sentences, L layers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ltp.models.modeling import LTPPreTrainedModel
from ltp.models.packing import PackedTokens
from ltp.models.pruning import Rule
from ltp.models.scores import centred_log
from ltp.settings.pruning import WORD_SCORES

UNSEEN = 2.0  # occurrences of score 0 that are added to each word's: one that is rare is judged by its attention


def lacks_words(model: LTPPreTrainedModel) -> bool:
    """Whether the model's score needs words and none have been measured."""
    scores = getattr(model, WORD_SCORES, None)
    return scores is not None and not scores.any()


@torch.no_grad()
def measure_words(model: LTPPreTrainedModel, batches: Sequence[Mapping[str, Tensor]]) -> None:
    """Set the model's ``word_scores`` (V,) from what it looks at, unpruned, in padded sentences (B, N).

    A word's score is the mean over its occurrences, and over the last two thirds of the layers, of the logarithm of the
    attention that it receives over that of its sentence's median token, less the mean over all words' occurrences; and
    UNSEEN occurrences of 0 are added to its own.
    """
    model.word_scores.zero_()
    listener = _Listener(model)
    with model.evaluating(listener):
        for batch in batches:
            listener.listen_to(batch["input_ids"])
            model(**batch, return_kept=True)
    sums, counts = listener.sums / listener.layers, listener.counts / listener.layers
    model.word_scores.copy_((sums - counts * (sums.sum() / counts.sum())) / (counts + UNSEEN))


class _Listener(Rule):
    """Keeps every token and adds up its scores, by its id."""

    start: int
    layers: int
    sums: Tensor  # (V,) over occurrences and layers
    counts: Tensor  # (V,) occurrences × layers
    ids: Tensor  # (B·N,) of the batch that is read

    def __init__(self, model: LTPPreTrainedModel) -> None:
        super().__init__("absolute_threshold", centred=True)
        start = model.layers // 3
        zeros = torch.zeros_like(model.word_scores)
        fields = {"start": start, "layers": model.layers - start, "sums": zeros, "counts": zeros.clone()}
        for name, value in fields.items():
            object.__setattr__(self, name, value)  # the rule's own fields are frozen

    def listen_to(self, input_ids: Tensor) -> None:
        """Know the ids (B, N) of the next forward pass."""
        object.__setattr__(self, "ids", input_ids.reshape(-1))

    def is_active(self, layer: int) -> bool:
        """Whether the layer is listened to."""
        return layer >= self.start

    def keeps_first_only(self, layer: int) -> bool:
        """Never."""
        return False

    def keep_indices(
        self, layer: int, received: Tensor | None, tokens: PackedTokens, original_lengths: Tensor
    ) -> Tensor:
        """All rows."""
        ids = self.ids.index_select(0, tokens.indices)
        scores = centred_log(received, tokens.seq_ids, tokens.lengths, tokens.width).to(self.sums)
        self.sums.index_add_(0, ids, scores)
        self.counts.index_add_(0, ids, torch.ones_like(scores))
        return torch.arange(len(ids), device=ids.device)
