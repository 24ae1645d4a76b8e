"""What a forward pass of the pruning model returns."""

from __future__ import annotations

from dataclasses import dataclass

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
    logits: Tensor | None = None  # (B, C)
    attention_tokens: Tensor | None = None  # (B, L)
    ffn_tokens: Tensor | None = None  # (B, L)
    regulariser: Tensor | None = None  # ()
    kept: Tensor | None = None  # (B, N)
