"""The method restated, slowly: one sentence at a time, tokens masked as the original does and never removed.

It shares no code with ltp.models.attention, packing and pruning, only the base encoder's own modules.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ltp.models.modeling import LTPForSequenceClassification


@dataclass
class Sentence:
    """What one sentence gives: logits (1, C), layers that each token lived through (N,), and the soft masks' sum."""

    logits: Tensor
    kept: Tensor
    attention_tokens: list
    ffn_tokens: list
    masks: Tensor


def forward(
    model: LTPForSequenceClassification,
    ids: Tensor,
    types: Tensor | None = None,
    temperature: float | None = None,
) -> Sentence:
    """Classify the tokens (N,) of one sentence; with a temperature, under soft masks."""
    config, layers, heads, count = model.config, model.layers, model.heads, len(ids)
    types = torch.zeros_like(ids) if types is None else types
    positions = torch.arange(count) + (config.pad_token_id + 1 if config.base_model_type == "roberta" else 0)
    hidden = model.encoder.embeddings(input_ids=ids[None], token_type_ids=types[None], position_ids=positions[None])
    alive = torch.ones(count, dtype=torch.bool)
    kept, masks = torch.zeros(count, dtype=torch.long), hidden.new_zeros(())
    attention_tokens, ffn_tokens = [], []
    for number, layer in enumerate(model.encoder.encoder.layer, start=1):
        attention_tokens.append(int(alive.sum()))
        attention = layer.attention.self
        query, key, value = (
            part(hidden)[0].view(count, heads, -1).transpose(0, 1)
            for part in (attention.query, attention.key, attention.value)
        )
        logits = query @ key.transpose(1, 2) / math.sqrt(query.shape[-1])
        probabilities = logits.masked_fill(~alive, -math.inf).softmax(-1)  # (A, N, N)
        received = (probabilities * alive[:, None]).sum(1)  # (A, N) from living queries
        if config.scoring_mode == "contribution":
            received = received / alive.sum() + probabilities[:, 0]
            parts = layer.attention.output.dense.weight.view(-1, heads, value.shape[-1])  # (H, A, D)
            received = received * torch.einsum("oad,and->ano", parts, value).norm(dim=-1)
        received = received.sum(0)
        context = (probabilities @ value).transpose(0, 1).reshape(1, count, -1)
        attended = layer.attention.output(context, hidden)
        hidden = layer.output(layer.intermediate(attended), attended)
        if temperature is not None:
            scores = received / (heads * config.score_length)
            mask = torch.sigmoid((scores - threshold(model, number)) / temperature)
            hidden, masks = hidden * mask[:, None], masks + mask.sum()
        elif config.prune_mode != "none":
            alive = alive & keep(model, number, received.detach(), alive, count)
        ffn_tokens.append(int(alive.sum()))
        kept += alive
    assert len(ffn_tokens) == layers
    return Sentence(classify(model, hidden), kept, attention_tokens, ffn_tokens, masks)


def threshold(model: LTPForSequenceClassification, number: int) -> Tensor:
    """The learned threshold of layer ``number``, from 1."""
    return torch.tensor(model.config.final_token_threshold * number / model.layers) + model.threshold_deltas[number - 1]


def relative(received: Tensor, alive: Tensor) -> Tensor:
    """(N,) log of the score over that of the living token in the middle."""
    scores = received.clamp(min=1e-9)
    living = sorted(scores[alive].tolist())
    return torch.log(scores) - math.log(living[(len(living) - 1) // 2])


def keep(model: LTPForSequenceClassification, number: int, received: Tensor, alive: Tensor, count: int) -> Tensor:
    """(N,) bool: the tokens that layer ``number`` leaves alive."""
    config, layers = model.config, model.layers
    if config.prune_mode == "topk":
        spared = max(3, math.ceil(0.15 * layers))
        if number <= spared:
            return alive
        rate = max(0.0, 1 - (1 - config.token_keep_rate) * (number - spared) / (layers - spared))
        order = sorted(torch.nonzero(alive).flatten().tolist(), key=lambda token: (token != 0, -float(received[token])))
        stay = torch.zeros_like(alive)
        stay[order[: max(1, round(count * rate))]] = True
        return stay
    if config.prune_mode == "absolute_threshold" and config.scoring_mode != "mean":
        stay = relative(received, alive) >= model.threshold_deltas[number - 1]
    elif config.prune_mode == "absolute_threshold":
        wanted = threshold(model, number).item()
        stay = received / (model.heads * config.score_length) >= max(1e-5, wanted) if wanted > 0 else alive.clone()
    else:
        rising = number / layers if config.prune_mode == "rising_threshold" else 1.0
        stay = received / received[alive].max() >= config.final_token_threshold * rising
    stay[0] = True
    return stay


def classify(model: LTPForSequenceClassification, hidden: Tensor) -> Tensor:
    """(1, C) logits from the first token."""
    if model.config.base_model_type == "bert":
        return model.classifier(model.dropout(model.bert.pooler(hidden)))
    return model.classifier(hidden)
