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
) -> Sentence:
    """Classify the tokens (N,) of one sentence; with a temperature, under soft masks."""
    config, layers, heads, count = model.config, model.layers, model.heads, len(ids)
    hidden = embed(model, ids, torch.zeros_like(ids) if types is None else types)
    alive = torch.ones(count, dtype=torch.bool)
    kept, masks = torch.zeros(count, dtype=torch.long), hidden.new_zeros(())
    attention_tokens, ffn_tokens = [], []
    states, inputs, soft_masks = hidden[0], [], []  # (N, H) each token's last state; what soft masks need for it
    for number, layer in enumerate(LAYERS[config.base_model_type](model), start=1):
        attention_tokens.append(int(alive.sum()))
        query, key, value, output = projected(model, layer, hidden)
        query, key, value = (part[0].view(count, heads, -1).transpose(0, 1) for part in (query, key, value))
        logits = attention_scores(model, layer, query, key)
        probabilities = logits.masked_fill(~alive, -math.inf).softmax(-1)  # (A, N, N)
        received = (probabilities * alive[:, None]).sum(1)  # (A, N) from living queries
        if config.scoring_mode == "contribution":
            received = received / alive.sum() + probabilities[:, 0]
            parts = output.weight.view(-1, heads, value.shape[-1])  # (H, A, D)
            received = received * torch.einsum("oad,and->ano", parts, value).norm(dim=-1)
        received = received.sum(0)
        if config.scoring_mode == "saliency":
            received = (
                hidden[0] @ model.saliency_probes[number - 1, :-1] + model.saliency_probes[number - 1, -1]
            ).exp()
        context = (probabilities @ value).transpose(0, 1).reshape(1, count, -1)
        inputs.append(states)
        hidden = finished(model, layer, context, hidden)
        if temperature is not None:
            scores = received / (heads * config.score_length)
            mask = torch.sigmoid((scores - threshold(model, number)) / temperature)
            states = hidden[0]
            soft_masks.append(mask)
            hidden, masks = hidden * mask[:, None], masks + mask.sum()
        elif config.prune_mode != "none":
            alive = alive & keep(model, number, received.detach(), alive, count)
        if temperature is None:
            states = torch.where(alive[:, None], hidden[0], states)
        ffn_tokens.append(int(alive.sum()))
        kept += alive
    assert len(ffn_tokens) == layers
    for mask, before in zip(soft_masks[::-1], inputs[::-1], strict=False):  # dropped with probability 1 − mask
        states = mask[:, None] * states + (1 - mask)[:, None] * before
    if config.base_model_type == "modernbert":
        hidden = model.model.final_norm(hidden)
        if config.classifier_pooling == "mean":
            hidden = hidden[:, alive].mean(1, keepdim=True)
    logits = classify_tokens(model, states) if model.every_token else classify(model, hidden)
    return Sentence(logits, kept, attention_tokens, ffn_tokens, masks)


def classify_tokens(model: LTPPreTrainedModel, states: Tensor) -> Tensor:
    """(N, C) logits from every token."""
    return model.qa_outputs(states) if hasattr(model, "qa_outputs") else model.classifier(model.dropout(states))


def threshold(model: LTPPreTrainedModel, number: int) -> Tensor:
    """The learned threshold of layer ``number``, from 1."""
    return torch.tensor(model.config.final_token_threshold * number / model.layers) + model.threshold_deltas[number - 1]


def relative(received: Tensor, alive: Tensor) -> Tensor:
    """(N,) log of the score over that of the living token in the middle."""
    scores = received.clamp(min=1e-9)
    living = sorted(scores[alive].tolist())
    return torch.log(scores) - math.log(living[(len(living) - 1) // 2])


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


LAYERS = {
    **{kind: lambda model: model.encoder.encoder.layer for kind in ("bert", "roberta", "electra", "deberta-v2")},
    "distilbert": lambda model: model.distilbert.transformer.layer,
    "modernbert": lambda model: model.model.layers,
}


def embed(model: LTPPreTrainedModel, ids: Tensor, types: Tensor) -> Tensor:
    """(1, N, H)"""
    kind, positions = model.config.base_model_type, torch.arange(len(ids))[None]
    if kind == "distilbert":
        return model.distilbert.embeddings(input_ids=ids[None], position_ids=positions)
    if kind == "modernbert":
        return model.model.embeddings(input_ids=ids[None])
    if kind == "roberta":
        positions = positions + model.config.pad_token_id + 1
    embedded = model.encoder.embeddings(input_ids=ids[None], token_type_ids=types[None], position_ids=positions)
    return model.electra.embeddings_project(embedded) if kind == "electra" else embedded


def projected(model: LTPPreTrainedModel, layer, hidden: Tensor):
    """Queries, keys, values (1, N, H) and the output projection of a layer."""
    if model.config.base_model_type == "distilbert":
        block = layer.attention
        return block.q_lin(hidden), block.k_lin(hidden), block.v_lin(hidden), block.out_lin
    if model.config.base_model_type == "modernbert":
        return *layer.attn.Wqkv(layer.attn_norm(hidden)).chunk(3, -1), layer.attn.Wo
    block = layer.attention.self
    if model.config.base_model_type == "deberta-v2":
        return block.query_proj(hidden), block.key_proj(hidden), block.value_proj(hidden), layer.attention.output.dense
    return block.query(hidden), block.key(hidden), block.value(hidden), layer.attention.output.dense


def attention_scores(model: LTPPreTrainedModel, layer, query: Tensor, key: Tensor) -> Tensor:
    """(A, N, N) what the softmax is taken of, from queries and keys (A, N, D)."""
    if model.config.base_model_type == "modernbert":
        places = torch.arange(query.shape[1])
        frequencies = getattr(model.model.rotary_emb, f"{layer.attention_type}_inv_freq")
        turns = places[:, None].float() * torch.cat([frequencies, frequencies]).float()
        query, key = (part * turns.cos() + turned(part) * turns.sin() for part in (query, key))
        scores = query @ key.transpose(1, 2) / math.sqrt(query.shape[-1])
        if layer.attention_type == "sliding_attention":
            scores = scores.masked_fill((places[:, None] - places).abs() > model.config.local_attention // 2, -1e30)
        return scores
    if model.config.base_model_type == "deberta-v2":
        block, encoder, heads = layer.attention.self, model.deberta.encoder, len(query)
        embedded = encoder.get_rel_embedding()
        keys, queries = (part(embedded).view(len(embedded), heads, -1) for part in (block.key_proj, block.query_proj))
        rows = (encoder.get_rel_pos(query)[0] + block.pos_ebd_size).clamp(0, len(embedded) - 1)  # (N, N)
        scores = query @ key.transpose(1, 2)
        scores = scores + torch.einsum("aid,ijad->aij", query, keys[rows])
        scores = scores + torch.einsum("ajd,ijad->aij", key, queries[rows])
        return scores / math.sqrt(3 * query.shape[-1])
    return query @ key.transpose(1, 2) / math.sqrt(query.shape[-1])


def turned(part: Tensor) -> Tensor:
    """Half a turn's other half: (x, y) -> (−y, x)."""
    first, second = part.chunk(2, -1)
    return torch.cat([-second, first], -1)


def finished(model: LTPPreTrainedModel, layer, context: Tensor, hidden: Tensor) -> Tensor:
    """(1, N, H) what a layer makes of its attention's context."""
    if model.config.base_model_type == "distilbert":
        attended = layer.sa_layer_norm(layer.attention.out_lin(context) + hidden)
        return layer.output_layer_norm(layer.ffn(attended) + attended)
    if model.config.base_model_type == "modernbert":
        attended = hidden + layer.attn.Wo(context)
        return attended + layer.mlp(layer.mlp_norm(attended))
    attended = layer.attention.output(context, hidden)
    return layer.output(layer.intermediate(attended), attended)


def classify(model: LTPPreTrainedModel, hidden: Tensor) -> Tensor:
    """(1, C) logits from the first token."""
    kind = model.config.base_model_type
    if kind == "bert":
        return model.classifier(model.dropout(model.bert.pooler(hidden)))
    if kind == "deberta-v2":
        return model.classifier(model.pooler(hidden))
    if kind == "distilbert":
        return model.classifier(model.dropout(model.pre_classifier(hidden[:, 0]).relu()))
    if kind == "modernbert":
        return model.classifier(model.head(hidden[:, 0]))
    return model.classifier(hidden)
