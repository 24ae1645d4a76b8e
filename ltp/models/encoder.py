"""The encoder's loop over packed tokens: attention, scores, decision, feed-forward, layer after layer.

Shapes: T tokens in the batch, B sentences, N longest sentence, H hidden, L layers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ltp.models.blocks import Wanted
from ltp.models.last_states import ExpectedStates, LastStates
from ltp.models.packing import PackedTokens, Queries, mean_of_tokens, sequence_starts
from ltp.models.pruning import soft_mask
from ltp.models.scores import importance, predicted_saliency
from ltp.settings.pruning import SALIENCY

if TYPE_CHECKING:
    from ltp.models.modeling import LTPPreTrainedModel


@dataclass
class Encoded:
    """What the last layer leaves, and what each layer processed.

    ``tokens`` are those left after the last layer's decision; with ``first_only`` their ``hidden`` is (B, H), of the
    first tokens; without, ``states`` are those of all tokens that came in, dropped ones too. The rest is as in
    :class:`ltp.models.output.LTPOutput`.
    """

    tokens: PackedTokens
    attention_tokens: Tensor  # (B, L)
    ffn_tokens: Tensor  # (B, L)
    kept: Tensor | None  # (B·N,) by each token's index in the padded input
    regulariser: Tensor | None
    states: Tensor | None = None  # (T, H)


def encode(model: LTPPreTrainedModel, tokens: PackedTokens, places: int | None = None) -> Encoded:
    """Run embedded tokens through a pruning model's layers, dropping tokens by its rule or weighing them by its masks.

    ``places``: B·N, where each token's number of layers is to be counted. Where the model's head reads the first tokens
    only, the last layer computes no others.
    """
    config, heads, layout, encoder = model.config, model.heads, model.layout, model.encoder
    first_only, every_token = model.first_only, model.every_token
    original_lengths = tokens.lengths
    soft = model.training and model.soft_temperature is not None
    thresholds, rule = model.thresholds(), None if soft else model.rule()
    probes = getattr(model, SALIENCY, None)
    linear = model.prepacked.linear_function(tokens.hidden)
    shared = layout.begin(encoder, tokens, model.prepacked)
    kept = None if places is None else tokens.seq_ids.new_zeros(places)
    regulariser = tokens.hidden.new_zeros(()) if soft else None
    last_states = LastStates(tokens.hidden) if every_token and not soft else None
    expected = ExpectedStates(tokens.hidden) if every_token and soft else None
    attention_tokens, ffn_tokens = [], []

    for index, layer in enumerate(layout.layers(encoder)):
        attention_tokens.append(tokens.lengths)
        scored, narrow = soft or rule.needs_scores(index), first_only and index == model.layers - 1
        predicted = None
        if scored and probes is not None:  # from what enters the layer: attention need not say
            predicted = predicted_saliency(tokens.hidden, probes[index])
        by_attention, gram = scored and predicted is None, None
        if by_attention and config.scoring_mode == "contribution":
            gram = model.prepacked.head_gram(layout.output_projection(layer), heads)
        gates = None if soft else rule.gate(index, tokens)
        wanted = Wanted(by_attention, gram, differentiable=soft, gates=gates)
        entered, active = tokens, not soft and rule.is_active(index)
        if active and not by_attention:  # what will be dropped is known, and has only its key and value to give
            rows = rule.keep_indices(index, predicted, tokens, original_lengths)
            tokens = tokens.select(rows)
            wanted.queries = Queries(rows, tokens)
        if narrow and not by_attention:
            first = sequence_starts(entered.lengths)
            wanted.queries = Queries(first, entered.select(first))
        context, received = layout.attend(linear, layer, entered, shared, wanted)
        row_mask = None
        if soft:
            scores = importance(received, heads, config.score_length)
            row_mask = soft_mask(scores, thresholds[index], model.soft_temperature)  # (T,)
            if expected is not None:
                expected.weigh(row_mask)
            regulariser = regulariser + row_mask.sum() / (original_lengths.shape[0] * config.score_length)
        elif active and by_attention:
            rows = rule.keep_indices(index, received, tokens, original_lengths)
            if len(rows) < context.shape[0]:  # else all are kept: nothing to copy
                tokens, context = tokens.select(rows), context.index_select(0, rows)
        if last_states is not None and tokens is not entered:
            last_states.drop(entered.hidden, rows)
        ffn_tokens.append(tokens.lengths)
        if kept is not None:
            kept[tokens.indices] += 1
        residual = tokens.hidden
        if narrow:  # (B, H)
            first = sequence_starts(tokens.lengths)
            residual = residual.index_select(0, first)
            context = context if context.shape[0] == len(first) else context.index_select(0, first)
            row_mask = None if row_mask is None else row_mask.index_select(0, first)
        hidden = layout.finish(linear, layer, context, residual)
        if expected is not None:
            expected.update(hidden)
        if every_token and gates is not None:  # a token that leaves keeps the state that it entered with
            hidden = residual + (1.0 + gates[:, None]) * (hidden - residual)
        tokens.hidden = hidden if row_mask is None else hidden * row_mask[:, None]

    tokens.hidden = layout.end(encoder, tokens.hidden)
    gates = rule.gate(model.layers, tokens) if layout.reads_all and not soft else None
    if gates is not None:  # the mean is attention of equal scores, to which they are added
        middle = mean_of_tokens(tokens).index_select(0, tokens.seq_ids)
        tokens.hidden = tokens.hidden + gates[:, None] * (tokens.hidden - middle)
    states = None if expected is None else expected.all()
    if last_states is not None:
        states = last_states.all(tokens.hidden)
    return Encoded(tokens, torch.stack(attention_tokens, 1), torch.stack(ffn_tokens, 1), kept, regulariser, states)
