"""Models for timing: full-size shapes with random weights, and thresholds that cost a given share of the FLOPs."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from transformers import BertConfig, RobertaConfig

from ltp.common.errors import LTPError
from ltp.models import flops
from ltp.models import pruning as pruners
from ltp.models.modeling import BASE_MODELS, LTPForSequenceClassification
from ltp.models.packing import PackedTokens, sequence_starts
from ltp.models.scores import importance
from ltp.settings.pruning import PruningSettings

# The published encoders' sizes, with random weights: the time does not depend on their values.
SHAPES = {
    "bert-base": BertConfig(),
    "roberta-base": RobertaConfig(
        vocab_size=50265, max_position_embeddings=514, type_vocab_size=1, layer_norm_eps=1e-5, pad_token_id=1
    ),
}
THRESHOLDS = PruningSettings(final_token_threshold=1.0)  # until `calibrate` sets them


def random_model(shape: str, seed: int = 0) -> LTPForSequenceClassification:
    """A model of a published shape with random weights, its attention uneven enough for scores to differ."""
    config = SHAPES[shape]
    torch.manual_seed(seed)
    base = BASE_MODELS[config.model_type](config).eval()
    with torch.no_grad():
        for layer in base.base_model.encoder.layer:
            for module in (layer.attention.self.query, layer.attention.self.key):
                module.weight.mul_(3.0)
    return LTPForSequenceClassification.from_base(base, THRESHOLDS)


def keep_share(model: LTPForSequenceClassification, lengths: Tensor, relative: float) -> float:
    """The share of its tokens that every layer must keep for sentences of ``lengths`` to cost ``relative`` FLOPs."""
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if _cost(model, lengths, middle) > relative else (middle, high)
    if low < 1e-6:
        least = _cost(model, lengths, 0.0)
        raise LTPError(f"flops: {relative} cannot be reached: the first layer's attention alone is {least:.2f}")
    return low


def _cost(model: LTPForSequenceClassification, lengths: Tensor, share: float) -> float:
    shares = torch.tensor([1.0, *kept_after(model.layers, share)])
    tokens = lengths[:, None] * shares
    config = model.config
    cost = flops.summarise(
        tokens[:, :-1].numpy(), tokens[:, 1:].numpy(), lengths.numpy(), config.hidden_size, config.intermediate_size
    )
    return cost["relative"]


def kept_after(layers: int, share: float) -> list[float]:
    """Share of a sentence's tokens left after each layer, where each keeps ``share`` of what it gets."""
    return [share**layer for layer in range(1, layers + 1)]


@torch.no_grad()
def calibrate(model: LTPForSequenceClassification, batch: Mapping[str, Tensor], relative: float) -> float:
    """Set the thresholds so that the batch's sentences cost ``relative`` of their FLOPs.

    Every layer keeps the same share of the tokens that it gets, first tokens among them; each threshold lies halfway
    between the two scores that it separates, so that rounding moves no token across it. Returns that share. Raises
    LTPError where no share costs so little.
    """
    if not hasattr(model, "threshold_deltas"):
        raise LTPError(f"flops: a model with prune_mode {model.config.prune_mode!r} has no thresholds to set")
    share = keep_share(model, batch["attention_mask"].sum(1), relative)
    shares = kept_after(model.layers, share)
    start = torch.tensor(pruners.rising(model.config.final_token_threshold, model.layers))
    thresholds = torch.zeros(model.layers)

    class Quantiles(pruners.Rule):
        """Keeps the share, and stores the threshold that does so."""

        def is_active(self, layer: int) -> bool:
            return True

        def keep_indices(self, layer: int, received: Tensor, tokens: PackedTokens, original_lengths: Tensor) -> Tensor:
            scores = importance(received, model.heads, model.config.score_length)
            first = sequence_starts(tokens.lengths)
            count = max(len(first) + 1, round(shares[layer] * int(original_lengths.sum())))
            ranked = scores.index_fill(0, first, math.inf).sort(descending=True).values
            if count > len(ranked):  # only first tokens are left, which are kept at any threshold
                thresholds[layer] = 2.0
            else:
                thresholds[layer] = (ranked[count - 1] + (ranked[count] if count < len(ranked) else 0.0)) / 2
            return pruners.keep_above(scores, thresholds[layer].item(), tokens.lengths).nonzero().squeeze(1)

    model.rule = lambda: Quantiles("absolute_threshold")
    try:
        model(**batch)
    finally:
        del model.rule
    model.threshold_deltas.copy_(thresholds - start)
    return share
