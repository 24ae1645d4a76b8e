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
from ltp.models.packing import PackedTokens, offsets, pad_input
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
    queries: PackedTokens | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Softmax attention of every token over the tokens of its own sentence.

    ``query``, ``key`` and ``value`` are (T, H); ``seq_ids`` (T,) and ``lengths`` (B,) say which rows are one
    sentence. Returns the context (T, H) and, with ``return_received``, the attention that each token receives (T,), in
    at least 32 bits; with the ``norms`` (T, A) of scores.value_norms, what each token contributes.
    ``bias`` is added to the scores, from the tokens' ``positions`` (T,). ``width`` is at least N where N is not known
    without waiting for the GPU. ``differentiable``: whether what is received may get a gradient.
    ``gates`` (T,) are added to all scores of the tokens as keys. ``queries``: of which K tokens ``query`` (K, H) and
    the context (K, H) are, if not of all; at least one of each sentence, and not with ``return_received``.
    """
    differentiable = differentiable and torch.is_grad_enabled()
    plain = bias is None and norms is None and gates is None and dropout == 0.0
    if plain and gpu_attention.is_available(query, heads, return_received, differentiable):
        query_lengths = lengths if queries is None else queries.lengths
        return gpu_attention.packed(query, key, value, query_lengths, lengths, heads, width, return_received)
    largest = MAX_BLOCK_ELEMENTS if query.device.type == "cpu" else MAX_GPU_BLOCK_ELEMENTS
    blocks = [] if lengths.shape[0] == 1 else _blocks(lengths.tolist(), heads, largest)
    if len(blocks) <= 1:
        keys = _Table(seq_ids, lengths, positions)
        asking = keys if queries is None else _Table(queries.seq_ids, queries.lengths, queries.positions)
        return _attend(query, key, value, norms, gates, asking, keys, heads, dropout, return_received, bias)
    ends = lengths.cumsum(0).tolist()
    query_ends = ends if queries is None else queries.lengths.cumsum(0).tolist()
    contexts, sums = [], []
    for start, stop in blocks:
        rows, query_rows = (
            slice(all_ends[start - 1] if start else 0, all_ends[stop - 1]) for all_ends in (ends, query_ends)
        )
        keys = asking = _Table.of_block(seq_ids, lengths, positions, rows, start, stop)
        if queries is not None:
            asking = _Table.of_block(queries.seq_ids, queries.lengths, queries.positions, query_rows, start, stop)
        some_norms, some_gates = (None if part is None else part[rows] for part in (norms, gates))
        context, received = _attend(
            query[query_rows], key[rows], value[rows], some_norms, some_gates, asking, keys, heads, dropout,
            return_received, bias,
        )  # fmt: skip
        contexts.append(context)
        sums.append(received)
    return torch.cat(contexts), torch.cat(sums) if return_received else None


def _blocks(lengths: list[int], heads: int, largest: int) -> list[tuple[int, int]]:
    """Consecutive sentences (start, stop) whose padded attention matrices have ``largest`` elements at most."""
    blocks: list[tuple[int, int]] = []
    start, longest = 0, 0
    for index, length in enumerate(lengths):
        widest = max(longest, length)
        if index > start and (index - start + 1) * heads * widest * widest > largest:
            blocks.append((start, index))
            start, widest = index, length
        longest = widest
    blocks.append((start, len(lengths)))
    return blocks


class _Table:
    """Packed rows (T, …) of some sentences as a table (B, N, …), padded to the longest.

    ``valid`` (B, N) says which places are tokens; None: all are of one length, and nothing is padding.
    """

    def __init__(self, seq_ids: Tensor, lengths: Tensor, positions: Tensor | None) -> None:
        self.lengths, self.positions = lengths, positions
        self.sentences, tokens = lengths.shape[0], seq_ids.shape[0]
        self.longest = tokens if self.sentences == 1 else int(lengths.max())
        self.valid: Tensor | None = None
        if self.sentences * self.longest > tokens:
            self.indices = seq_ids * self.longest + offsets(seq_ids, lengths)  # (T,) into B·N
            self.valid = torch.arange(self.longest, device=lengths.device) < lengths[:, None]

    @classmethod
    def of_block(
        cls, seq_ids: Tensor, lengths: Tensor, positions: Tensor | None, rows: slice, start: int, stop: int
    ) -> _Table:
        """Of the sentences ``start`` to ``stop``, whose tokens are ``rows``."""
        positions = None if positions is None else positions[rows]
        return cls(seq_ids[rows] - start, lengths[start:stop], positions)

    def padded(self, packed: Tensor) -> Tensor:
        """(T, …) -> (B, N, …)."""
        filled = packed
        if self.valid is not None:
            filled = pad_input(packed, self.indices, self.sentences * self.longest)
        return filled.view(self.sentences, self.longest, *packed.shape[1:])

    def packed(self, padded: Tensor) -> Tensor:
        """(B·N, …) -> (T, …)."""
        return padded if self.valid is None else padded.index_select(0, self.indices)

    def split_heads(self, packed: Tensor, heads: int) -> Tensor:
        """(T, H) -> (B, A, N, D)."""
        return self.padded(packed).view(self.sentences, self.longest, heads, -1).transpose(1, 2)


def _attend(
    query: Tensor, key: Tensor, value: Tensor, norms: Tensor | None, gates: Tensor | None,
    asking: _Table, keys_of: _Table, heads: int, dropout: float, return_received: bool, bias: AttentionBias | None,
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """`packed_attention` for one block of sentences: of the tokens ``asking``, over those of ``keys_of``."""
    autocast = torch.is_autocast_enabled(query.device.type)
    dtype, hidden_size, valid, lengths = query.dtype, query.shape[1], keys_of.valid, keys_of.lengths
    if return_received and keys_of.longest <= MAX_WIDENED_LENGTH and query.device.type == "cpu" and not autocast:
        query, key, value = (part.to(_sum_dtype(part)) for part in (query, key, value))
    queries = asking.split_heads(query, heads)
    keys, values = keys_of.split_heads(key, heads), keys_of.split_heads(value, heads)
    norms = None if norms is None else keys_of.padded(norms).transpose(1, 2)  # (B, A, N)
    differentiable = torch.is_grad_enabled() and any(part.requires_grad for part in (query, key, value))
    received = added = None
    if bias is not None:
        places = keys_of.padded(keys_of.positions)  # (B, N)
        added = bias(queries, keys, places if asking is keys_of else asking.padded(asking.positions), places)
    if gates is not None:
        gates = keys_of.padded(gates)[:, None, None]  # (B, 1, 1, N)
        added = gates if added is None else added + gates
    if return_received and added is None and dropout == 0.0 and not differentiable and not autocast:
        context, received = _attend_in_place(queries, keys, values, valid, lengths, norms)
    elif return_received or (differentiable and autocast and query.device.type == "cpu"):
        # The fused kernel's backward pass takes ten times as long in bfloat16 on a CPU as these products do.
        scores = _scores(queries, keys, added)  # (B, A, Q, N)
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
    context = asking.packed(context.transpose(1, 2).reshape(-1, hidden_size).to(dtype))
    return context, None if received is None else keys_of.packed(received)


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
