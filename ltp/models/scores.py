"""How important a token is: four scores, three of them from the attention that the token receives in one layer.

``mean``: the paper's, the mean attention probability over heads and query positions (Kim et al., 2022, eq. 4). Its
scale changes from sentence to sentence: where one token draws most of the attention, all others score low.
``relative``: the logarithm of the same, less that of the sentence's median token: how often a token is looked at,
compared with the others of its sentence. A median, unlike a mean, does not move with the few tokens that draw most of
the attention. ``contribution``: the same of what a token adds to the others, not only how much it is looked at:
attention times the norm of the value vector that it weighs, after the output projection (Kobayashi et al., 2020,
"Attention is not only a weight", https://aclanthology.org/2020.emnlp-main.574). ``saliency``: the same of how
much the answer depends on attention to the token, predicted from its state by probes that ltp.models.saliency fits.

Shapes: T tokens in the batch, B sentences, N longest sentence, H hidden, A heads, D = H/A per head.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ltp.models import gpu_kernels
from ltp.models.packing import offsets

# The least attention or contribution whose logarithm is taken; that of a token that nothing looks at is 0.
SMALLEST_SCORE = 1e-9
LARGEST_LOG = 20.0  # of a predicted saliency: its inverse is not below the least score
SMALLEST_SQUARE = 1e-12  # of a norm: the square root has no finite slope at 0


def importance(received: Tensor, heads: int, score_length: int) -> Tensor:
    """(T,) score ``mean``: mean attention probability over heads and query positions (paper, eq. 4).

    The mean divides by a constant, ``score_length``, where the original divides by the padded length, so a score
    does not depend on padding and thresholds carry over (the original pads to 128).
    """
    return received / (heads * score_length)


def relative_to_largest(received: Tensor, seq_ids: Tensor, sentences: int) -> Tensor:
    """(T,) each score divided by the largest of its sentence."""
    largest = received.new_zeros(sentences).scatter_reduce(0, seq_ids, received, "amax")
    return received / largest.index_select(0, seq_ids)


def centred_log(received: Tensor, seq_ids: Tensor, lengths: Tensor, width: int | None = None) -> Tensor:
    """(T,) z: log of each score less the log of its sentence's median score, so that a constant factor cancels.

    ``lengths`` (B,) are the sentences' tokens; of an even number the median is the lower of the two in the middle. The
    scores ``relative``, ``contribution`` and ``saliency``: of the attention that a token receives, of what it
    contributes, and of its predicted saliency.
    ``width`` is at least N; None: N.
    """
    if gpu_kernels.can_centre(received, width):
        return gpu_kernels.centred_log(received, lengths, width, SMALLEST_SCORE)
    logs = received.clamp_min(SMALLEST_SCORE).log()
    sentences = lengths.shape[0]
    if sentences == 1:
        return logs - logs.median()
    longest = int(lengths.max()) if width is None else width
    indices = seq_ids * longest + offsets(seq_ids, lengths)  # (T,) into B·N
    padded = logs.new_full((sentences * longest,), math.inf).index_copy(0, indices, logs).view(sentences, longest)
    medians = padded.sort(1).values.gather(1, ((lengths - 1) // 2)[:, None]).squeeze(1)  # (B,)
    return logs - medians.index_select(0, seq_ids)


def predicted_saliency(hidden: Tensor, probe: Tensor) -> Tensor:
    """(T,) how much the answer depends on tokens, by their states (T, H) and the layer's probe, in its precision.

    The ``probe`` (H + 1,), weights and an intercept, predicts the logarithm, which is limited to ±LARGEST_LOG.
    """
    with torch.autocast(hidden.device.type, enabled=False):
        logs = torch.addmv(probe[-1:], hidden.detach().to(probe.dtype), probe[:-1])
        return logs.clamp(-LARGEST_LOG, LARGEST_LOG).exp()


def head_gram(output_weight: Tensor, heads: int) -> Tensor:
    """(A, D, D) Gram matrices W_hᵀ W_h of the output projection's part of each head, W_h (H, D); weight (H, H).

    With them ‖W_h v‖² = vᵀ (W_hᵀ W_h) v, at D² multiplications a token and head in the place of H·D.
    """
    with torch.autocast(output_weight.device.type, enabled=False):
        weight = output_weight.to(torch.promote_types(output_weight.dtype, torch.float32))
        parts = weight.view(weight.shape[0], heads, -1).transpose(0, 1)  # (A, H, D)
        return parts.transpose(1, 2) @ parts


def value_norms(value: Tensor, gram: Tensor) -> Tensor:
    """(T, A) length of each head's value vector after the output projection, ‖W_h v‖; ``value`` is (T, H)."""
    with torch.autocast(value.device.type, enabled=False):
        values = value.to(gram.dtype).view(value.shape[0], gram.shape[0], -1).transpose(0, 1)  # (A, T, D)
        squares = ((values @ gram) * values).sum(-1)
        return squares.clamp_min(SMALLEST_SQUARE).sqrt().T


def contribution(received: Tensor, from_first: Tensor, lengths: Tensor, norms: Tensor) -> Tensor:
    """(B, N) Σ over heads of (s/n + c)·‖f‖: what a token adds to the sentence's mean token and to its first.

    ``received`` s and ``from_first`` c (B, A, N) are the attention that a token receives in each head from all n
    queries of its sentence, and from the first one, which the classifier reads; ``lengths`` n (B,); ``norms`` ‖f‖
    (B, A, N) from :func:`value_norms`.
    """
    return ((received / lengths[:, None, None] + from_first) * norms).sum(1)
