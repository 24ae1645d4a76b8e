"""Thresholds set from a model's scores on given text, so that its sentences cost a given share of their FLOPs.

Shapes: B sentences, T tokens in the batch, L layers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from ltp.common.errors import LTPError
from ltp.models import flops
from ltp.models.embedding import protected_lengths
from ltp.models.modeling import LTPPreTrainedModel
from ltp.models.quantiles import ABOVE_ALL, Quantiles
from ltp.models.saliency import require_saliency
from ltp.models.schedule import shares_for

Batch = Mapping[str, Tensor]
TOLERANCE = 0.001  # of the share of the FLOPs
NEARLY = 0.02  # likewise, where layers keep all their tokens or first ones only: the rounding of a batch
MAX_EVALUATIONS = 40
ROUNDING_STEPS = 8  # corrections of keep rates for the rounding to whole tokens
MAX_STEP = 25.0  # of a logarithm of scores, of which the least is 1e-9 and few exceed some hundreds


def calibrate(model: LTPPreTrainedModel, batches: Sequence[Batch], target: float) -> float:
    """Set a model's thresholds so that the batches' sentences cost ``target`` of their FLOPs; returns what they cost.

    The tokens that each layer keeps follow :func:`ltp.models.schedule.shares_for`; a top-k model gets these shares as
    its keep rates. Raises LTPError for a model that has neither or whose score has not been fitted, and for a target
    that cannot be reached.
    """
    require_saliency(model)
    lengths, protected = lengths_of(model, batches)
    if model.config.prune_mode == "topk":
        return _set_keep_rates(model, lengths, protected, target)
    shares = shares_for(target, model.layers, lengths, model.sizes, model.every_token, protected)
    keep_shares(model, batches[0], shares)
    # What costs the target at equal shares in every sentence costs a little else at equal thresholds.
    return shift_to_target(model, batches, target)[1]


def lengths_of(model: LTPPreTrainedModel, batches: Sequence[Batch]) -> tuple[np.ndarray, np.ndarray]:
    """(B,) tokens of each sentence of the batches, and (B,) how many of them are never dropped."""
    end = model.config.protected_until
    lengths = [batch["attention_mask"].sum(1) for batch in batches]
    protected = [torch.ones_like(each) for each in lengths]
    if end is not None:
        protected = [protected_lengths(batch["input_ids"], batch["attention_mask"], end) for batch in batches]
    return torch.cat(lengths).cpu().numpy(), torch.cat(protected).cpu().numpy()


def _set_keep_rates(model: LTPPreTrainedModel, lengths: np.ndarray, protected: np.ndarray, target: float) -> float:
    """Set a top-k model's keep rates for sentences of ``lengths`` (B,) to cost ``target``; returns what they cost."""

    def costs(aim: float) -> tuple[float, list[float]]:
        rates = shares_for(aim, model.layers, lengths, model.sizes, model.every_token, protected)
        # As keep_topk rounds, half to even: what is left of each sentence after each layer (B, L).
        left = np.minimum.accumulate(np.maximum(np.round(np.outer(lengths, rates)), protected[:, None]), 1)
        entered = np.concatenate([lengths[:, None], left[:, :-1]], 1)
        return flops.summarise(entered, left, lengths, model.sizes)["relative"], rates

    aim, (best, model.config.token_keep_rates) = target, costs(target)
    found = best
    for _ in range(ROUNDING_STEPS):
        if abs(best - target) <= TOLERANCE:
            break
        aim = min(aim + target - found, 1.0)
        try:
            found, rates = costs(aim)
        except LTPError:  # no schedule costs as little as would make up for the rounding
            break
        if abs(found - target) < abs(best - target):
            best, model.config.token_keep_rates = found, rates
    return best


@torch.no_grad()
def keep_shares(model: LTPPreTrainedModel, batch: Batch, shares: Sequence[float]) -> None:
    """Set the thresholds so that each layer leaves ``shares`` (L,) of the batch's tokens, first tokens among them.

    The shares are of all tokens of the batch together (see ltp.models.quantiles). Raises LTPError for a model without
    thresholds to set.
    """
    _require_thresholds(model)
    quantiles = Quantiles(model.config.pruning(), model.heads, shares)
    with model.evaluating(quantiles):
        model(**batch)
    model.set_thresholds(quantiles.thresholds)


@torch.no_grad()
def shift_to_target(model: LTPPreTrainedModel, batches: Sequence[Batch], target: float) -> tuple[float, float]:
    """Add one constant to all thresholds that depend on scores, so that the sentences cost ``target`` of their FLOPs.

    Returns the constant and the relative FLOPs that it gives, within TOLERANCE where scores lie densely enough, or
    NEARLY where no threshold depends on scores. Raises LTPError, with the least or the most that is possible, for a
    target that no constant reaches.
    """
    _require_thresholds(model)
    start, rule = model.thresholds().tolist(), model.rule()
    movable = [rule.needs_scores(layer) for layer in range(model.layers)]
    unit = 1.0 if model.config.pruning().is_relative else max([value for value in start if value < ABOVE_ALL] or [1.0])
    ends: dict[bool, tuple[float, float]] = {}  # costs more than the target? -> the last such constant, and its cost

    def move(shift: float) -> None:
        model.set_thresholds([value + shift if moves else value for value, moves in zip(start, movable, strict=True)])

    def visit(shift: float) -> None:
        move(shift)
        found = measure(model, batches)
        ends[found > target] = shift, found

    def nearest() -> tuple[float, float]:
        return min(ends.values(), key=lambda end: abs(end[1] - target))

    visit(0.0)
    step = 0.05 * unit
    for evaluation in range(MAX_EVALUATIONS):
        if abs(nearest()[1] - target) <= (TOLERANCE if any(movable) else NEARLY):
            break
        if len(ends) < 2:  # farther out, until the constant lies between
            ((above, (shift, found)),) = ends.items()
            if step > MAX_STEP * unit or not any(movable):
                move(0.0)
                raise LTPError(
                    f"flops: {target} cannot be reached by moving these thresholds: the {'least' if above else 'most'} "
                    f"possible on this text is {found:.3f} of the FLOPs; choose a target nearer to it"
                )
            visit(shift + (step if above else -step))
            step *= 2
            continue
        (low, costly), (high, cheap) = ends[True], ends[False]
        if high - low < 1e-6 * unit:  # no score lies between
            break
        share = (costly - target) / (costly - cheap)  # a secant, and now and then a bisection
        visit(low + (high - low) * (0.5 if evaluation % 3 == 2 else min(max(share, 0.05), 0.95)))
    shift, found = nearest()
    move(shift)
    return shift, found


def measure(model: LTPPreTrainedModel, batches: Sequence[Batch]) -> float:
    """Relative FLOPs of the batches' sentences with tokens removed (sum over sentences ÷ sum over sentences)."""
    counts: list[tuple[Tensor, Tensor, Tensor]] = []
    with model.evaluating(), torch.no_grad():
        for batch in batches:
            output = model(**batch)
            counts.append((output.attention_tokens, output.ffn_tokens, batch["attention_mask"].sum(1)))
    attention_tokens, ffn_tokens, lengths = (torch.cat(parts).cpu().numpy() for parts in zip(*counts, strict=True))
    return flops.summarise(attention_tokens, ffn_tokens, lengths, model.sizes)["relative"]


def _require_thresholds(model: LTPPreTrainedModel) -> None:
    if not hasattr(model, "threshold_deltas"):
        raise LTPError(f"flops: a model with prune_mode {model.config.prune_mode!r} has no thresholds to set")
