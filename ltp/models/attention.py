"""Attention within each packed sentence, and how much of it every token receives.

Shapes: T tokens in the batch, B sentences, N longest sentence, A heads, D = H/A per head.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from ltp.models.packing import offsets, pad_input

try:  # torch 2.10 and later; a kernel for packed sentences on GPUs
    from torch.nn.attention.varlen import varlen_attn
except ImportError:
    varlen_attn = None

# Attention probabilities of one block of sentences, in numbers. Larger blocks leave the processor's cache and
# cost more per token than the matrix products that they feed.
BLOCK_NUMBERS = 1 << 20
# The same for scores without gradients, for each thread, where one table is used again for block after block: what the
# cache of a core holds.
TABLE_NUMBERS = 1 << 18


def packed_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    seq_ids: Tensor,
    lengths: Tensor,
    heads: int,
    dropout: float = 0.0,
    received: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Softmax attention of every token over the tokens of its own sentence.

    ``query``, ``key`` and ``value`` are (T, H); ``seq_ids`` (T,) and ``lengths`` (B,) say which rows belong
    together. Returns the context (T, H) and, where ``received`` asks for it, the attention probability that each
    token receives, before dropout, summed over heads and queries (T,).
    """
    if not received and dropout == 0.0 and _has_kernel(query):
        return _varlen(query, key, value, lengths, heads), None
    if lengths.shape[0] == 1:
        return _attend(query, key, value, seq_ids, lengths, heads, dropout, received)
    blocks = _blocks(lengths.tolist(), heads)
    if len(blocks) == 1:
        return _attend(query, key, value, seq_ids, lengths, heads, dropout, received)
    contexts, sums = [], []
    row = 0
    for start, stop, tokens in blocks:
        rows = slice(row, row + tokens)
        context, total = _attend(
            query[rows], key[rows], value[rows], seq_ids[rows] - start, lengths[start:stop], heads, dropout, received
        )
        contexts.append(context)
        sums.append(total)
        row += tokens
    return torch.cat(contexts), torch.cat(sums) if received else None


def _has_kernel(query: Tensor) -> bool:
    """Whether torch attends to packed tokens as they are: in half precision on GPUs from compute capability 8.0 on."""
    if varlen_attn is None or not query.is_cuda or query.dtype not in (torch.float16, torch.bfloat16):
        return False
    return torch.cuda.get_device_capability(query.device) >= (8, 0)


def _varlen(query: Tensor, key: Tensor, value: Tensor, lengths: Tensor, heads: int) -> Tensor:
    """(T, H) context from the kernel for packed sentences: no padding, no mask."""
    width = query.shape[1]
    bounds = functional.pad(lengths.cumsum(0), (1, 0)).to(torch.int32)  # (B + 1,) where sentences begin and end
    longest = int(lengths.max())
    query, key, value = (packed.view(-1, heads, width // heads) for packed in (query, key, value))
    return varlen_attn(query, key, value, bounds, bounds, longest, longest).reshape(-1, width)


def _blocks(lengths: list[int], heads: int) -> list[tuple[int, int, int]]:
    """Runs of neighbouring sentences (start, stop, tokens) whose padded attention tables fit BLOCK_NUMBERS."""
    blocks: list[tuple[int, int, int]] = []
    start, longest, tokens = 0, 0, 0
    for index, length in enumerate(lengths):
        widest = max(longest, length)
        if index > start and (index - start + 1) * heads * widest * widest > BLOCK_NUMBERS:
            blocks.append((start, index, tokens))
            start, widest, tokens = index, length, 0
        longest, tokens = widest, tokens + length
    blocks.append((start, len(lengths), tokens))
    return blocks


def _attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    seq_ids: Tensor,
    lengths: Tensor,
    heads: int,
    dropout: float,
    received: bool,
) -> tuple[Tensor, Tensor | None]:
    sentences, (tokens, width) = lengths.shape[0], query.shape
    if sentences == 1:
        longest, even = tokens, True
    else:
        longest = int(lengths.max())
        even = sentences * longest == tokens

    if even:
        rows = valid = None
    else:
        rows = seq_ids * longest + offsets(seq_ids, lengths)  # (T,) into B·N
        valid = torch.arange(longest, device=lengths.device) < lengths[:, None]  # (B, N)

    def per_head(packed: Tensor) -> Tensor:  # (T, H) -> (B, A, N, D)
        padded = packed if rows is None else pad_input(packed, rows, sentences * longest)
        return padded.view(sentences, longest, heads, width // heads).transpose(1, 2)

    queries, keys, values = per_head(query), per_head(key), per_head(value)
    differentiable = torch.is_grad_enabled() and any(part.requires_grad for part in (query, key, value))
    mixed = torch.is_autocast_enabled(query.device.type)  # its tables would be in 16 bits
    if received and dropout == 0.0 and not differentiable and not mixed:
        context, totals = _scored(queries, keys, values, valid)
    elif received or (differentiable and mixed and query.device.type == "cpu"):
        # torch's fused kernel takes ten times as long for its backward pass in bfloat16 on a CPU as these products do.
        scores = torch.matmul(queries * (width // heads) ** -0.5, keys.transpose(2, 3))  # (B, A, N, N)
        if valid is not None:
            scores = scores.masked_fill(~valid[:, None, None, :], torch.finfo(scores.dtype).min)
        probabilities = scores.softmax(-1)
        totals = _received(probabilities, valid) if received else None
        context = torch.matmul(functional.dropout(probabilities, dropout, dropout > 0.0), values)
    else:
        totals = None
        mask = None if valid is None else valid[:, None, None, :]
        context = functional.scaled_dot_product_attention(queries, keys, values, mask, dropout)
    context = context.transpose(1, 2).reshape(sentences * longest, width)
    if rows is not None:
        context = context.index_select(0, rows)
        totals = None if totals is None else totals.index_select(0, rows)
    return context, totals


def _received(probabilities: Tensor, valid: Tensor | None) -> Tensor:
    """(B·N,) attention that each place of the padded table receives, from probabilities (B, A, N, N)."""
    sentences, _, longest, _ = probabilities.shape
    # Padding asks too, in the padded table; it counts as zero.
    query_mask = probabilities.new_ones(sentences, longest) if valid is None else valid
    # Thresholds differ by less than 16-bit sums can tell apart, so these are in 32 bits at any precision.
    with torch.autocast(probabilities.device.type, enabled=False):
        wide = probabilities.to(torch.promote_types(probabilities.dtype, torch.float32))
        totals = torch.matmul(query_mask.to(wide.dtype)[:, None, None, :], wide)  # (B, A, 1, N)
    return totals.sum((1, 2)).reshape(-1)


def first_token_attention(
    query: Tensor, key: Tensor, value: Tensor, seq_ids: Tensor, lengths: Tensor, heads: int, dropout: float = 0.0
) -> Tensor:
    """(B, H) context of each sentence's first token: all that a classifier reads of the last layer.

    ``query`` (B, H) is the first tokens'; ``key`` and ``value`` (T, H) are all tokens'; the rest is as in
    :func:`packed_attention`.
    """
    sentences, (tokens, width) = lengths.shape[0], key.shape
    longest = tokens if sentences == 1 else int(lengths.max())
    valid = None
    if sentences * longest > tokens:
        rows = seq_ids * longest + offsets(seq_ids, lengths)  # (T,) into B·N
        key, value = (pad_input(packed, rows, sentences * longest) for packed in (key, value))
        valid = (torch.arange(longest, device=lengths.device) < lengths[:, None])[:, None, None]  # (B, 1, 1, N)
    key, value = (part.view(sentences, longest, heads, width // heads).transpose(1, 2) for part in (key, value))
    query = query.view(sentences, 1, heads, width // heads).transpose(1, 2)  # (B, A, 1, D)
    scores = torch.matmul(query * (width // heads) ** -0.5, key.transpose(2, 3))  # (B, A, 1, N)
    if valid is not None:
        scores = scores.masked_fill(~valid, torch.finfo(scores.dtype).min)
    probabilities = functional.dropout(scores.softmax(-1), dropout, dropout > 0.0)
    return torch.matmul(probabilities, value).transpose(1, 2).reshape(sentences, width)


def _scored(queries: Tensor, keys: Tensor, values: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    """Context (B, A, N, D) and received attention (B·N,) without gradients: one small table, overwritten in place.

    All are (B, A, N, D) but ``valid`` (B, N), which is None where nothing is padding.
    """
    sentences, heads, longest, depth = queries.shape
    rows = sentences * heads  # a sentence's head is one product
    query, key, value = (part.reshape(rows, longest, depth) for part in (queries, keys, values))
    key = key.transpose(1, 2)
    mask = query_mask = None
    if valid is not None:
        mask = torch.zeros_like(valid, dtype=query.dtype).masked_fill_(~valid, torch.finfo(query.dtype).min)
        mask, query_mask = (part[:, None].repeat_interleave(heads, 0) for part in (mask, valid.to(query.dtype)))
    step = rows  # on a GPU, where no cache would hold a part
    if query.device.type == "cpu":
        step = min(rows, torch.get_num_threads() * max(1, TABLE_NUMBERS // longest**2))
    table = query.new_empty(step, longest, longest)
    # Not empty_like: that would lie in memory as the query does, and products into it would be made one by one.
    context = query.new_empty(rows, longest, depth)
    totals = query.new_empty(rows, longest)
    for start in range(0, rows, step):
        block = slice(start, start + step)
        scores = table[: rows - start]
        torch.baddbmm(scores, query[block], key[block], beta=0, alpha=depth**-0.5, out=scores)
        if mask is not None:
            scores.add_(mask[block])
        torch.softmax(scores, -1, out=scores)
        torch.bmm(scores, value[block], out=context[block])
        if query_mask is None:
            torch.sum(scores, 1, out=totals[block])
        else:  # padding asks too, in the padded table; it counts as zero
            torch.bmm(query_mask[block], scores, out=totals[block][:, None])
    shape = (sentences, heads, longest)
    return context.view(*shape, depth), totals.view(shape).sum(1).reshape(-1)
