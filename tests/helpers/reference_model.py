"""The method restated, slowly: one sentence at a time, tokens masked as the original does and never removed.

It shares no code with ltp.models.attention, packing and pruning, only the base encoder's own modules.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ltp.models.modeling import LTPPreTrainedModel


@dataclass
class Sentence:
    """What one sentence gives: logits (1, C), or (N, C) of heads that read all tokens; layers that each token lived
    through (N,); and the soft masks' sum.

    The counts of tokens are numbers; under straight-through masks they are tensors with gradients.
    """

    logits: Tensor
    kept: Tensor
    attention_tokens: list
    ffn_tokens: list
    masks: Tensor


def forward(
    model: LTPPreTrainedModel,
    ids: Tensor,
    types: Tensor | None = None,
    temperature: float | None = None,
    straight_through: bool = False,
) -> Sentence:
    """Classify the tokens (N,) of one sentence; with a temperature, under soft or straight-through masks."""
    config, layers, heads, count = model.config, model.layers, model.heads, len(ids)
    types = torch.zeros_like(ids) if types is None else types
    positions = torch.arange(count) + (config.pad_token_id + 1 if config.base_model_type == "roberta" else 0)
    hidden = model.encoder.embeddings(input_ids=ids[None], token_type_ids=types[None], position_ids=positions[None])
    alive = torch.ones(count, dtype=torch.bool)
    weights = torch.ones(count, dtype=hidden.dtype)  # straight-through masks, multiplied from layer to layer
    kept, masks = torch.zeros(count, dtype=torch.long), hidden.new_zeros(())
    attention_tokens, ffn_tokens = [], []
    states, inputs, soft_masks = hidden[0], [], []  # (N, H) each token's last state; what soft masks need for it
    for number, layer in enumerate(model.encoder.encoder.layer, start=1):
        attention_tokens.append(weights.sum() if straight_through else int(alive.sum()))
        attention = layer.attention.self
        query, key, value = (
            part(hidden)[0].view(count, heads, -1).transpose(0, 1)
            for part in (attention.query, attention.key, attention.value)
        )
        logits = query @ key.transpose(1, 2) / math.sqrt(query.shape[-1])
        if straight_through:  # every row stays to the end, alive or not
            shares = (logits - logits.detach().amax()).exp() * weights
            probabilities = shares / shares.sum(-1, keepdim=True)
        else:
            probabilities = logits.masked_fill(~alive, -math.inf).softmax(-1)  # (A, N, N)
        received = (probabilities * alive[:, None]).sum(1)  # (A, N) from living queries
        if config.scoring_mode == "contribution":
            received = received / alive.sum() + probabilities[:, 0]
            parts = layer.attention.output.dense.weight.view(-1, heads, value.shape[-1])  # (H, A, D)
            received = received * torch.einsum("oad,and->ano", parts, value).norm(dim=-1)
        received = received.sum(0)
        context = (probabilities @ value).transpose(0, 1).reshape(1, count, -1)
        attended = layer.attention.output(context, hidden)
        inputs.append(states)
        hidden = layer.output(layer.intermediate(attended), attended)
        if straight_through:
            scores = relative(received.detach(), alive)
            soft = torch.sigmoid((scores - model.threshold_deltas[number - 1]) / temperature)
            stay = scores >= model.threshold_deltas[number - 1]
            mask = stay.to(soft.dtype) + soft - soft.detach()
            weights = weights * torch.cat([torch.ones_like(mask[:1]), mask[1:]])
            alive = weights > 0.5
            if not model.first_only:
                states = weights[:, None] * hidden[0] + (1 - weights)[:, None] * states
                hidden = torch.where(alive[:, None], states, hidden[0])[None]
        elif temperature is not None:
            scores = received / (heads * config.score_length)
            mask = torch.sigmoid((scores - threshold(model, number)) / temperature)
            states = hidden[0]
            soft_masks.append(mask)
            hidden, masks = hidden * mask[:, None], masks + mask.sum()
        elif config.prune_mode != "none":
            alive = alive & keep(model, number, received.detach(), alive, count)
        if temperature is None:
            states = torch.where(alive[:, None], hidden[0], states)
        ffn_tokens.append(weights.sum() if straight_through else int(alive.sum()))
        kept += alive
    assert len(ffn_tokens) == layers
    for mask, before in zip(soft_masks[::-1], inputs[::-1], strict=False):  # dropped with probability 1 − mask
        states = mask[:, None] * states + (1 - mask)[:, None] * before
    logits = classify(model, hidden) if model.first_only else classify_tokens(model, states)
    return Sentence(logits, kept, attention_tokens, ffn_tokens, masks)


def classify_tokens(model: LTPPreTrainedModel, states: Tensor) -> Tensor:
    """(N, C) logits from every token."""
    return model.qa_outputs(states) if hasattr(model, "qa_outputs") else model.classifier(model.dropout(states))


def threshold(model: LTPPreTrainedModel, number: int) -> Tensor:
    """The learned threshold of layer ``number``, from 1."""
    return torch.tensor(model.config.final_token_threshold * number / model.layers) + model.threshold_deltas[number - 1]


def relative(received: Tensor, alive: Tensor) -> Tensor:
    """(N,) log of the score, less its mean over the living tokens."""
    logs = torch.log(received.clamp(min=1e-9))
    return logs - logs[alive].mean()


def keep(model: LTPPreTrainedModel, number: int, received: Tensor, alive: Tensor, count: int) -> Tensor:
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


def classify(model: LTPPreTrainedModel, hidden: Tensor) -> Tensor:
    """(1, C) logits from the first token."""
    if model.config.base_model_type == "bert":
        return model.classifier(model.dropout(model.bert.pooler(hidden)))
    return model.classifier(hidden)
