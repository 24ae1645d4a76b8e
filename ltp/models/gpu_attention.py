"""Attention of packed sentences by torch's kernel for GPUs: no padding, no mask, no matrix of probabilities.

Shapes: T tokens in the batch, B sentences, N longest sentence, H hidden, A heads, D = H/A per head.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from ltp.models import gpu_kernels
from ltp.models.packing import cumulated_lengths

try:  # torch 2.10 and later
    from torch.nn.attention.varlen import AuxRequest, varlen_attn
except ImportError:
    # None stands for the function where torch has none.
    varlen_attn = None  # type: ignore[assignment]

KERNEL_CAPABILITY = (8, 0)  # compute capability
MAX_HEAD_SIZE = 256


def is_available(query: Tensor, heads: int, return_received: bool = False, differentiable: bool = False) -> bool:
    """Whether the kernels can run: in half precision on GPUs of compute capability 8.0 and up, heads of 8, 16, … 256.

    What tokens receive (``return_received``) comes from a kernel that needs Triton and gives no gradient, so not where
    that is to be ``differentiable``.
    """
    if varlen_attn is None or not query.is_cuda or query.dtype not in (torch.float16, torch.bfloat16):
        return False
    head_size = query.shape[-1] // heads
    if head_size % 8 or head_size > MAX_HEAD_SIZE:
        return False
    if return_received and (differentiable or not gpu_kernels.are_available()):
        return False
    return _capability(query.device) >= KERNEL_CAPABILITY


@cache
def _capability(device: torch.device) -> tuple[int, int]:
    return torch.cuda.get_device_capability(device)


def packed(
    query: Tensor, key: Tensor, value: Tensor, query_lengths: Tensor, lengths: Tensor, heads: int, width: int | None,
    return_received: bool,
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """Context (K, H) and, with ``return_received``, the attention that each token receives (T,), else None.

    ``query`` (K, H) is of ``query_lengths`` (B,) tokens of each sentence; those are ``lengths`` (B,), and K is T, where
    what is received is wanted. The other arguments are those of :func:`ltp.models.attention.packed_attention`.
    """
    queries, keys, values = _split(query, heads), _split(key, heads), _split(value, heads)
    cu_seqlens, longest = cumulated_lengths(lengths), _longest(lengths, width)
    if not return_received:
        asking = cumulated_lengths(query_lengths)
        return varlen_attn(queries, keys, values, asking, cu_seqlens, longest, longest).reshape(query.shape), None
    bounds = (cu_seqlens, cu_seqlens, longest, longest)
    context, lse = varlen_attn(queries, keys, values, *bounds, return_aux=AuxRequest(lse=True))  # lse: (A, T)
    received = gpu_kernels.received_attention(queries.detach(), keys.detach(), lse.detach(), cu_seqlens, longest)
    return context.reshape(query.shape), received


def _split(packed: Tensor, heads: int) -> Tensor:
    """(T, H) -> (T, A, D)."""
    return packed.reshape(packed.shape[0], heads, -1)


def _longest(lengths: Tensor, width: int | None) -> int:
    return int(lengths.max()) if width is None else width
