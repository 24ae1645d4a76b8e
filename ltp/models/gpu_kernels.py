"""Two kernels for GPUs, in Triton: what each packed token receives, and the logarithm of it less the median's.

Attention kernels for packed sentences keep no probabilities, but they give the logarithm of each softmax's sum. With it
the probability of query i on key j is exp(q_i·k_j / √D − lse_i), so one more product of queries and keys, summed over
the queries as it is made, gives what each key receives.

Shapes: T tokens in the batch, B sentences, N longest sentence, A heads, D per head.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ltp.models.packing import cumulated_lengths

try:  # comes with torch's builds for CUDA
    import triton
    import triton.language as tl
except ImportError:
    triton = None

KEYS, QUERIES = 64, 64  # in one tile
WIDEST = 4096  # tokens of a sentence that one program sorts

if triton is not None:

    @triton.jit
    def _sum_over_queries(
        query, key, lse, cu_seqlens, received, token_stride, head_stride, tokens, scale,
        HEAD_SIZE: tl.constexpr, CHANNELS: tl.constexpr, KEYS: tl.constexpr, QUERIES: tl.constexpr,
    ):  # fmt: skip
        """One program: one head of one sentence, one tile of its keys. CHANNELS: HEAD_SIZE up to a power of two."""
        tile, head, sentence = tl.program_id(0), tl.program_id(1), tl.program_id(2)
        start, stop = tl.load(cu_seqlens + sentence), tl.load(cu_seqlens + sentence + 1)
        first_key = start + tile * KEYS
        if first_key >= stop:
            return
        channels = tl.arange(0, CHANNELS)
        keys = first_key + tl.arange(0, KEYS)
        of_head = head * head_stride + channels
        is_channel = channels < HEAD_SIZE
        k = tl.load(
            key + keys[:, None].to(tl.int64) * token_stride + of_head[None, :],
            mask=(keys < stop)[:, None] & is_channel[None, :], other=0.0,
        )  # fmt: skip
        total = tl.zeros([KEYS], dtype=tl.float32)
        for first_query in range(start, stop, QUERIES):
            queries = first_query + tl.arange(0, QUERIES)
            is_query = queries < stop
            q = tl.load(
                query + queries[:, None].to(tl.int64) * token_stride + of_head[None, :],
                mask=is_query[:, None] & is_channel[None, :], other=0.0,
            )  # fmt: skip
            log_sum = tl.load(lse + head * tokens + queries, mask=is_query, other=float("inf"))  # exp(-inf) is 0
            total += tl.sum(tl.exp(tl.dot(q, tl.trans(k)) * scale - log_sum[:, None]), 0)
        tl.store(received + head * tokens + keys, total, mask=keys < stop)

    @triton.jit
    def _log_less_median(received, cu_seqlens, centred, smallest, WIDTH: tl.constexpr):
        """One program: one sentence, of at most WIDTH tokens."""
        sentence = tl.program_id(0)
        start, stop = tl.load(cu_seqlens + sentence), tl.load(cu_seqlens + sentence + 1)
        places = tl.arange(0, WIDTH)
        is_token = start + places < stop
        values = tl.load(received + start + places, mask=is_token, other=float("inf"))  # which ranks last
        logs = tl.log(tl.maximum(values, smallest))
        median = tl.sum(tl.where(places == (stop - start - 1) // 2, tl.sort(logs), 0.0), 0)
        tl.store(centred + start + places, logs - median, mask=is_token)


def are_available() -> bool:
    """Whether the kernels can be compiled here."""
    return triton is not None


def received_attention(query: Tensor, key: Tensor, lse: Tensor, cu_seqlens: Tensor, longest: int) -> Tensor:
    """(T,) attention that each token receives, summed over heads and the queries of its sentence, in 32 bits.

    ``query`` and ``key`` (T, A, D) lie alike in memory, D contiguous; ``lse`` (A, T) are the logarithms of the
    softmaxes' sums; ``cu_seqlens`` (B + 1,) the sentences' starts and the end; ``longest`` at least N.
    """
    tokens, heads, head_size = query.shape
    assert query.stride() == key.stride() and query.stride(2) == 1 and lse.is_contiguous()
    received = torch.empty(heads, tokens, dtype=torch.float32, device=query.device)
    grid = (triton.cdiv(longest, KEYS), heads, len(cu_seqlens) - 1)
    channels = max(16, triton.next_power_of_2(head_size))
    _sum_over_queries[grid](
        query, key, lse, cu_seqlens, received, query.stride(0), query.stride(1), tokens, head_size**-0.5,
        HEAD_SIZE=head_size, CHANNELS=channels, KEYS=KEYS, QUERIES=QUERIES,
    )  # fmt: skip
    return received.sum(0)


def can_centre(received: Tensor, width: int | None) -> bool:
    """Whether `centred_log` can run: on a GPU, in 32 bits, sentences of at most WIDEST tokens."""
    return (
        received.is_cuda and received.dtype == torch.float32 and are_available() and 0 < (width or WIDEST + 1) <= WIDEST
    )


def centred_log(received: Tensor, lengths: Tensor, width: int, smallest: float) -> Tensor:
    """(T,) as :func:`ltp.models.scores.centred_log`; ``width`` is at least N, ``smallest`` the least score."""
    centred = torch.empty_like(received)
    _log_less_median[(len(lengths),)](
        received, cumulated_lengths(lengths), centred, smallest, WIDTH=triton.next_power_of_2(width)
    )
    return centred
