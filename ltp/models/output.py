"""What a forward pass of the pruning model returns."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers.utils import ModelOutput


@dataclass
class LTPOutput(ModelOutput):
    """What one forward pass returns.

    ``attention_tokens`` and ``ffn_tokens`` count the tokens that entered each layer's attention and feed-forward;
    ``regulariser`` is Σ over layers of the mean soft mask (soft masking only); ``kept``, with
    ``return_kept``, is the number of layers that each input token went through.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None  # (B, C); with a label for each token (B, N, C), 0 at padding
    attention_tokens: Tensor | None = None  # (B, L)
    ffn_tokens: Tensor | None = None  # (B, L)
    regulariser: Tensor | None = None  # ()
    kept: Tensor | None = None  # (B, N)


@dataclass
class LTPSpanOutput(ModelOutput):
    """What one forward pass of the model for question answering returns; the counts are those of :class:`LTPOutput`."""

    loss: Tensor | None = None
    start_logits: Tensor | None = None  # (B, N); so low at padding that its probability is 0
    end_logits: Tensor | None = None  # (B, N)
    attention_tokens: Tensor | None = None  # (B, L)
    ffn_tokens: Tensor | None = None  # (B, L)
    regulariser: Tensor | None = None  # ()
    kept: Tensor | None = None  # (B, N)

    @property
    def logits(self) -> Tensor:
        """(B, N, 2) both."""
        return torch.stack((self.start_logits, self.end_logits), -1)
