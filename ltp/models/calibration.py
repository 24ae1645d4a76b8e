"""Thresholds set from a model's scores on given text, so that its sentences cost a given share of their FLOPs.

Shapes: B sentences, T tokens in the batch, L layers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from ltp.common.errors import LTPError
from ltp.models import flops
from ltp.models.modeling import LTPPreTrainedModel
from ltp.models.packing import PackedTokens, sequence_starts
from ltp.models.pruning import Rule, keep_above
from ltp.models.schedule import shares_for
from ltp.models.scores import centred_log, importance
from ltp.settings.pruning import KEEP_ALL, KEEP_FIRST

Batch = Mapping[str, Tensor]
ABOVE_ALL = 2.0  # a mean attention probability that no token reaches
TOLERANCE = 0.001  # of the share of the FLOPs
MAX_EVALUATIONS = 40
MAX_STEP = 25.0  # of a logarithm of scores, which range from 1e-9 to some hundreds


def calibrate(model: LTPPreTrainedModel, batches: Sequence[Batch], target: float) -> float:
    """Set a model's thresholds so that the batches' sentences cost ``target`` of their FLOPs; returns what they cost.

    The tokens that each layer keeps follow :func:`ltp.models.schedule.shares_for`. Raises LTPError for a model without
    thresholds to set and for a target that cannot be reached.
    """
    lengths = torch.cat([batch["attention_mask"].sum(1) for batch in batches]).cpu().numpy()
    config = model.config
    sizes = config.hidden_size, config.intermediate_size
    shares = shares_for(target, model.layers, lengths, sizes, model.first_only)
    keep_shares(model, batches[0], shares)
    # What costs the target at equal shares in every sentence costs a little else at equal thresholds.
    return shift_to_target(model, batches, target)[1]


@torch.no_grad()
def keep_shares(model: LTPPreTrainedModel, batch: Batch, shares: Sequence[float]) -> None:
    """Set the thresholds so that each layer leaves ``shares`` (L,) of the batch's tokens, first tokens among them.

    The shares are of all tokens of the batch together; sentences keep more or fewer. Each threshold lies halfway
    between the two scores that it separates, so that rounding moves no token across it. Raises LTPError for a model
    without thresholds to set.
    """
    _require_thresholds(model)
    with _evaluating(model):
        quantiles = _Quantiles(model, shares)
        # The instance's rule is replaced for one forward pass, and restored below.
        model.rule = lambda: quantiles  # type: ignore[method-assign]
        try:
            model(**batch)
        finally:
            del model.rule
    model.set_thresholds(quantiles.thresholds)


class _Quantiles(Rule):
    """Keeps given shares of the tokens, and notes the thresholds that do so in ``thresholds``."""

    model: LTPPreTrainedModel
    shares: Sequence[float]
    relative: bool
    thresholds: list[float]

    def __init__(self, model: LTPPreTrainedModel, shares: Sequence[float]) -> None:
        super().__init__("absolute_threshold")
        relative = model.config.pruning().is_relative
        all_kept, first_kept = (KEEP_ALL, KEEP_FIRST) if relative else (0.0, ABOVE_ALL)
        thresholds = [all_kept if share >= 1.0 else first_kept for share in shares]
        for name, value in {"model": model, "shares": shares, "relative": relative, "thresholds": thresholds}.items():
            object.__setattr__(self, name, value)  # the rule's own fields are frozen

    def is_active(self, layer: int) -> bool:
        return self.shares[layer] < 1.0

    def keeps_first_only(self, layer: int) -> bool:
        return self.shares[layer] <= 0.0

    def keep_indices(
        self, layer: int, received: Tensor | None, tokens: PackedTokens, original_lengths: Tensor
    ) -> Tensor:
        first = sequence_starts(tokens.lengths)
        count = round(self.shares[layer] * int(original_lengths.sum()))
        if received is None or count <= len(first):
            return first
        config = self.model.config
        if self.relative:
            scores = centred_log(received, tokens.seq_ids, tokens.lengths)
        else:
            scores = importance(received, self.model.heads, config.score_length)
        ranked = scores.index_fill(0, first, math.inf).sort(descending=True).values
        if count < len(ranked):
            self.thresholds[layer] = ((ranked[count - 1] + ranked[count]) / 2).item()
        elif self.relative:
            self.thresholds[layer] = KEEP_ALL
        elif len(ranked) > len(first):
            self.thresholds[layer] = ranked[-1].item() / 2
        return keep_above(scores, self.thresholds[layer], tokens.lengths).nonzero().squeeze(1)


@torch.no_grad()
def shift_to_target(model: LTPPreTrainedModel, batches: Sequence[Batch], target: float) -> tuple[float, float]:
    """Add one constant to all thresholds that depend on scores, so that the sentences cost ``target`` of their FLOPs.

    Returns the constant and the relative FLOPs that it gives, within TOLERANCE where scores lie densely enough. Raises
    LTPError, with the least or the most that is possible, for a target that no constant reaches.
    """
    _require_thresholds(model)
    start, rule = model.thresholds().tolist(), model.rule()
    movable = [rule.needs_scores(layer) for layer in range(model.layers)]
    unit = 1.0 if model.config.pruning().is_relative else max(start)
    ends: dict[bool, tuple[float, float]] = {}  # costs more than the target? -> the last such constant, and its cost

    def visit(shift: float) -> None:
        model.set_thresholds([value + shift if moves else value for value, moves in zip(start, movable, strict=True)])
        found = measure(model, batches)
        ends[found > target] = shift, found

    def nearest() -> tuple[float, float]:
        return min(ends.values(), key=lambda end: abs(end[1] - target))

    visit(0.0)
    step = 0.05 * unit
    for evaluation in range(MAX_EVALUATIONS):
        if abs(nearest()[1] - target) <= TOLERANCE:
            break
        if len(ends) < 2:  # farther out, until the constant lies between
            ((above, (shift, found)),) = ends.items()
            if step > MAX_STEP * unit or not any(movable):
                visit(0.0)
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
    visit(shift)
    return shift, found


def measure(model: LTPPreTrainedModel, batches: Sequence[Batch]) -> float:
    """Relative FLOPs of the batches' sentences with tokens removed (sum over sentences ÷ sum over sentences)."""
    counts: list[tuple[Tensor, Tensor, Tensor]] = []
    with _evaluating(model), torch.no_grad():
        for batch in batches:
            output = model(**batch)
            counts.append((output.attention_tokens, output.ffn_tokens, batch["attention_mask"].sum(1)))
    attention_tokens, ffn_tokens, lengths = (torch.cat(parts).cpu().numpy() for parts in zip(*counts, strict=True))
    config = model.config
    return flops.summarise(attention_tokens, ffn_tokens, lengths, config.hidden_size, config.intermediate_size)[
        "relative"
    ]


def _require_thresholds(model: LTPPreTrainedModel) -> None:
    if not hasattr(model, "threshold_deltas"):
        raise LTPError(f"flops: a model with prune_mode {model.config.prune_mode!r} has no thresholds to set")


@contextmanager
def _evaluating(model: LTPPreTrainedModel) -> Iterator[None]:
    """The model in evaluation mode for a while."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
