"""Attention within each packed sentence, and the attention that each token receives.

The attention that a token *receives* is the softmax probability in its column of the attention matrix, summed over
heads and over the queries of its sentence, before dropout: what token importance is computed from. Where the norms of
the value vectors are given, what it *contributes* is returned in its place (see ltp.models.scores).

Shapes: T tokens in the batch, B sentences, N longest sentence, H hidden, A heads, D = H/A per head.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from ltp.models import gpu_attention
from ltp.models.packing import offsets, pad_input
from ltp.models.scores import contribution

# What a layout adds to the scaled scores: from queries (B, A, Q, D), keys (B, A, N, D) and the places of both in their
# sentences at first, (B, Q) and (B, N), to (B, A or 1, Q, N); None where it adds nothing. Padding's place is 0.
AttentionBias = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor | None]

# Elements of the padded attention matrices of one block of sentences. Larger ones do not fit the processor's cache and
# cost more per token than the matrix products around them.
MAX_BLOCK_ELEMENTS = 1 << 20
MAX_GPU_BLOCK_ELEMENTS = 1 << 27  # no cache to fit there, but memory
# Sentences up to this long are scored in 32 bits where the model has 16: on CPUs such small products are slower in 16.
MAX_WIDENED_LENGTH = 48
# Without gradients, elements per thread of the one buffer that holds block after block: what the cache of a core holds.
MAX_BUFFER_ELEMENTS = 1 << 18


def packed_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    seq_ids: Tensor,
    lengths: Tensor,
    heads: int,
    dropout: float = 0.0,
    return_received: bool = False,
    norms: Tensor | None = None,
    bias: AttentionBias | None = None,
    positions: Tensor | None = None,
    width: int | None = None,
    differentiable: bool = True,
    gates: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Softmax attention of every token over the tokens of its own sentence.

    ``query``, ``key`` and ``value`` are (T, H); ``seq_ids`` (T,) and ``lengths`` (B,) say which rows are one
    sentence. Returns the context (T, H) and, with ``return_received``, the attention that each token receives (T,), in
    at least 32 bits; with the ``norms`` (T, A) of scores.value_norms, what each token contributes.
    ``bias`` is added to the scores, from the tokens' ``positions`` (T,). ``width`` is at least N where N is not known
    without waiting for the GPU. ``differentiable``: whether what is received may get a gradient.
    ``gates`` (T,) are added to all scores of the tokens as keys.
    """
    differentiable = differentiable and torch.is_grad_enabled()
    plain = bias is None and norms is None and gates is None and dropout == 0.0
    if plain and gpu_attention.is_available(query, heads, return_received, differentiable):
        return gpu_attention.packed(query, key, value, lengths, heads, width, return_received)
    rowwise = (norms, positions, gates)
    largest = MAX_BLOCK_ELEMENTS if query.device.type == "cpu" else MAX_GPU_BLOCK_ELEMENTS
    blocks = [] if lengths.shape[0] == 1 else _blocks(lengths.tolist(), heads, largest)
    if len(blocks) <= 1:
        return _attend(query, key, value, *rowwise, seq_ids, lengths, heads, dropout, return_received, bias)
    contexts, sums = [], []
    row = 0
    for start, stop, tokens in blocks:
        rows = slice(row, row + tokens)
        norms, positions, gates = (None if part is None else part[rows] for part in rowwise)
        context, received = _attend(
            query[rows], key[rows], value[rows], norms, positions, gates, seq_ids[rows] - start,
            lengths[start:stop], heads, dropout, return_received, bias,
        )  # fmt: skip
        contexts.append(context)
        sums.append(received)
        row += tokens
    return torch.cat(contexts), torch.cat(sums) if return_received else None


def _blocks(lengths: list[int], heads: int, largest: int) -> list[tuple[int, int, int]]:
    """Consecutive sentences (start, stop, tokens) whose padded attention matrices have ``largest`` elements at most."""
    blocks: list[tuple[int, int, int]] = []
    start, longest, tokens = 0, 0, 0
    for index, length in enumerate(lengths):
        widest = max(longest, length)
        if index > start and (index - start + 1) * heads * widest * widest > largest:
            blocks.append((start, index, tokens))
            start, widest, tokens = index, length, 0
        longest, tokens = widest, tokens + length
    blocks.append((start, len(lengths), tokens))
    return blocks


def _attend(
    query: Tensor, key: Tensor, value: Tensor, norms: Tensor | None, positions: Tensor | None, gates: Tensor | None,
    seq_ids: Tensor, lengths: Tensor, heads: int, dropout: float, return_received: bool, bias: AttentionBias | None,
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """`packed_attention` for one block of sentences, padded to its longest."""
    sentences, (tokens, hidden_size) = lengths.shape[0], query.shape
    longest = tokens if sentences == 1 else int(lengths.max())
    autocast = torch.is_autocast_enabled(query.device.type)
    dtype = query.dtype
    if return_received and longest <= MAX_WIDENED_LENGTH and query.device.type == "cpu" and not autocast:
        query, key, value = (part.to(_sum_dtype(part)) for part in (query, key, value))
    indices = valid = None
    if sentences * longest > tokens:  # else all are of one length, and nothing is padding
        indices = seq_ids * longest + offsets(seq_ids, lengths)  # (T,) into B·N
        valid = torch.arange(longest, device=lengths.device) < lengths[:, None]  # (B, N)

    def padded(packed: Tensor) -> Tensor:  # (T, …) -> (B, N, …)
        filled = packed if indices is None else pad_input(packed, indices, sentences * longest)
        return filled.view(sentences, longest, *packed.shape[1:])

    def split_heads(packed: Tensor) -> Tensor:  # (T, H) -> (B, A, N, D)
        return padded(packed).view(sentences, longest, heads, hidden_size // heads).transpose(1, 2)

    queries, keys, values = split_heads(query), split_heads(key), split_heads(value)
    norms = None if norms is None else padded(norms).transpose(1, 2)  # (B, A, N)
    differentiable = torch.is_grad_enabled() and any(part.requires_grad for part in (query, key, value))
    received = added = None
    if bias is not None:
        places = padded(positions)  # (B, N)
        added = bias(queries, keys, places, places)
    if gates is not None:
        gates = padded(gates)[:, None, None]  # (B, 1, 1, N)
        added = gates if added is None else added + gates
    if return_received and added is None and dropout == 0.0 and not differentiable and not autocast:
        context, received = _attend_in_place(queries, keys, values, valid, lengths, norms)
    elif return_received or (differentiable and autocast and query.device.type == "cpu"):
        # The fused kernel's backward pass takes ten times as long in bfloat16 on a CPU as these products do.
        scores = _scores(queries, keys, added)  # (B, A, N, N)
        if valid is not None:
            scores = scores.masked_fill(~valid[:, None, None, :], torch.finfo(scores.dtype).min)
        probabilities = scores.softmax(-1)
        if return_received:  # what tokens contribute is only compared with thresholds: it has no gradient
            received = _received(probabilities if norms is None else probabilities.detach(), valid, lengths, norms)
        context = torch.matmul(functional.dropout(probabilities, dropout, dropout > 0.0), values)
    else:
        mask = None if valid is None else valid[:, None, None, :]
        if added is not None:
            added = added.to(queries.dtype)
            mask = added if mask is None else added.masked_fill(~mask, torch.finfo(added.dtype).min)
        context = functional.scaled_dot_product_attention(queries, keys, values, mask, dropout)
    context = context.transpose(1, 2).reshape(sentences * longest, hidden_size).to(dtype)
    if indices is not None:
        context = context.index_select(0, indices)
        received = None if received is None else received.index_select(0, indices)
    return context, received


def _scores(queries: Tensor, keys: Tensor, added: Tensor | None) -> Tensor:
    """(B, A, Q, N) scaled products of queries (B, A, Q, D) and keys (B, A, N, D), with what a layout adds."""
    scores = torch.matmul(queries * queries.shape[-1] ** -0.5, keys.transpose(2, 3))
    return scores if added is None else scores + added


def _sum_dtype(probabilities: Tensor) -> torch.dtype:
    """In what received attention is summed: thresholds of neighbouring layers differ by less than 16 bits resolve."""
    return torch.promote_types(probabilities.dtype, torch.float32)


def _received(probabilities: Tensor, valid: Tensor | None, lengths: Tensor, norms: Tensor | None) -> Tensor:
    """(B·N,) attention that each place of the padded table receives, from probabilities (B, A, N, N).

    With ``norms`` (B, A, N), what it contributes. ``lengths`` (B,) are the tokens that count in each sentence.
    """
    sentences, _, longest, _ = probabilities.shape
    # Padding asks too, in the padded table; it counts as zero.
    query_mask = probabilities.new_ones(sentences, longest) if valid is None else valid
    with torch.autocast(probabilities.device.type, enabled=False):
        wide = probabilities.to(_sum_dtype(probabilities))
        totals = torch.matmul(query_mask.to(wide.dtype)[:, None, None, :], wide)  # (B, A, 1, N)
        if norms is not None:
            return contribution(totals.squeeze(2), wide[:, :, 0], lengths, norms).reshape(-1)
    return totals.sum((1, 2)).reshape(-1)


def first_token_attention(
    query: Tensor, key: Tensor, value: Tensor, seq_ids: Tensor, lengths: Tensor, heads: int, dropout: float = 0.0,
    bias: AttentionBias | None = None, positions: Tensor | None = None, width: int | None = None,
) -> Tensor:  # fmt: skip
    """(B, H) context of each sentence's first token: all that a classifier reads of the last layer.

    ``query`` (B, H) is the first tokens'; ``key`` and ``value`` (T, H) are all tokens'; the rest is as in
    :func:`packed_attention`.
    """
    if bias is None and dropout == 0.0 and gpu_attention.is_available(query, heads):
        return gpu_attention.first_tokens(query, key, value, lengths, heads, width)
    sentences, (tokens, hidden_size) = lengths.shape[0], key.shape
    longest = tokens if sentences == 1 else int(lengths.max())
    valid = None
    if sentences * longest > tokens:
        indices = seq_ids * longest + offsets(seq_ids, lengths)  # (T,) into B·N
        key, value = (pad_input(packed, indices, sentences * longest) for packed in (key, value))
        positions = None if positions is None else pad_input(positions, indices, sentences * longest)
        valid = (torch.arange(longest, device=lengths.device) < lengths[:, None])[:, None, None]  # (B, 1, 1, N)
    key, value = (part.view(sentences, longest, heads, hidden_size // heads).transpose(1, 2) for part in (key, value))
    query = query.view(sentences, 1, heads, hidden_size // heads).transpose(1, 2)  # (B, A, 1, D)
    added = None
    if bias is not None:
        positions = positions.view(sentences, longest)
        added = bias(query, key, positions[:, :1], positions)
    scores = _scores(query, key, added)  # (B, A, 1, N)
    if valid is not None:
        scores = scores.masked_fill(~valid, torch.finfo(scores.dtype).min)
    probabilities = functional.dropout(scores.softmax(-1), dropout, dropout > 0.0)
    return torch.matmul(probabilities, value).transpose(1, 2).reshape(sentences, hidden_size)


def _attend_in_place(
    queries: Tensor, keys: Tensor, values: Tensor, valid: Tensor | None, lengths: Tensor, norms: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Context (B, A, N, D) and received attention (B·N,) without gradients: one small buffer, overwritten in place.

    ``queries``, ``keys`` and ``values`` are (B, A, N, D), ``valid`` (B, N) is None where nothing is padding;
    ``lengths`` and ``norms`` as in `_received`.
    """
    sentences, heads, longest, head_size = queries.shape
    rows = sentences * heads  # one matrix product for each head of each sentence
    query, key, value = (part.reshape(rows, longest, head_size) for part in (queries, keys, values))
    key, scale = key.transpose(1, 2), head_size**-0.5
    if query.dtype != _sum_dtype(query):  # 16 bits: rounded where `_attend` rounds, so both drop the same tokens
        query, scale = query * scale, 1.0
    key_mask = query_mask = None
    if valid is not None:
        key_mask = torch.zeros_like(valid, dtype=query.dtype).masked_fill_(~valid, torch.finfo(query.dtype).min)
        query_mask = valid.to(_sum_dtype(query))
        key_mask, query_mask = (mask[:, None].repeat_interleave(heads, 0) for mask in (key_mask, query_mask))
    step = rows  # on a GPU, whose caches are too small to hold a part
    if query.device.type == "cpu":
        step = min(rows, torch.get_num_threads() * max(1, MAX_BUFFER_ELEMENTS // longest**2))
    buffer = query.new_empty(step, longest, longest)
    # Not empty_like: it would take over the query's strides, and bmm into such an output runs one product at a time.
    context = query.new_empty(rows, longest, head_size)
    received = query.new_empty(rows, longest, dtype=_sum_dtype(query))
    from_first = None if norms is None else torch.empty_like(received)
    for start in range(0, rows, step):
        block = slice(start, start + step)
        scores = buffer[: rows - start]
        torch.baddbmm(scores, query[block], key[block], beta=0, alpha=scale, out=scores)
        if key_mask is not None:
            scores.add_(key_mask[block])
        probabilities = torch.softmax(scores, -1, out=scores)
        torch.bmm(probabilities, value[block], out=context[block])
        if from_first is not None:
            from_first[block] = probabilities[:, 0]
        if query_mask is None:
            torch.sum(probabilities, 1, dtype=received.dtype, out=received[block])
        else:  # rows of padding count as zero
            torch.bmm(query_mask[block], probabilities.to(received.dtype), out=received[block][:, None])
    shape = (sentences, heads, longest)
    context, received = context.view(*shape, head_size), received.view(shape)
    if from_first is not None:
        return context, contribution(received, from_first.view(shape), lengths, norms).reshape(-1)
    return context, received.sum(1).reshape(-1)
