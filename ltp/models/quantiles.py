"""The rule that keeps given shares of a batch's tokens: thresholds that follow the scores.

It sets thresholds (ltp.models.calibration), and stands in for them while weights are trained for a FLOPs target: scores
move with the weights, and thresholds that are quantiles of each batch's scores move with them.

Shapes: T tokens in the batch, B sentences, L layers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from ltp.models.packing import PackedTokens, protected_rows
from ltp.models.pruning import Rule
from ltp.models.scores import importance
from ltp.settings.pruning import KEEP_ALL, KEEP_FIRST, PruningSettings

ABOVE_ALL = 1e6  # an importance that no token reaches: it is at most the sentence's length


class Quantiles(Rule):
    """Keeps given shares of the tokens, and notes the thresholds that do so in ``thresholds``.

    ``shares`` (L,) are of all tokens of the batch together, first tokens among them; sentences keep more or fewer. Each
    threshold lies halfway between the two scores that it separates, so that rounding moves no token across it.
    """

    pruning: PruningSettings
    heads: int
    shares: Sequence[float]
    thresholds: list[float]

    def __init__(self, pruning: PruningSettings, heads: int, shares: Sequence[float]) -> None:
        super().__init__("absolute_threshold", centred=pruning.is_relative)
        all_kept, first_kept = (KEEP_ALL, KEEP_FIRST) if pruning.is_relative else (0.0, ABOVE_ALL)
        thresholds = [all_kept if share >= 1.0 else first_kept for share in shares]
        for name, value in {"pruning": pruning, "heads": heads, "shares": shares, "thresholds": thresholds}.items():
            object.__setattr__(self, name, value)  # the rule's own fields are frozen

    def is_active(self, layer: int) -> bool:
        """Whether the layer is to drop tokens."""
        return self.shares[layer] < 1.0

    def keeps_first_only(self, layer: int) -> bool:
        """Whether the layer is to keep nothing but the first tokens."""
        return self.shares[layer] <= 0.0

    def keep_indices(
        self, layer: int, received: Tensor | None, tokens: PackedTokens, original_lengths: Tensor
    ) -> Tensor:
        """(K,) ascending rows (into T) of the tokens kept after the layer's attention."""
        first = protected_rows(tokens)
        count = round(self.shares[layer] * int(original_lengths.sum()))
        if received is None or count <= len(first):
            return first
        scores = self.scores(received.detach(), tokens)
        if not self.centred:
            scores = importance(scores, self.heads, self.pruning.score_length)
        ranked = scores.index_fill(0, first, math.inf).sort(descending=True).values
        if count < len(ranked):
            self.thresholds[layer] = ((ranked[count - 1] + ranked[count]) / 2).item()
        elif self.centred:
            self.thresholds[layer] = KEEP_ALL
        elif len(ranked) > len(first):
            self.thresholds[layer] = ranked[-1].item() / 2
        return (scores >= self.thresholds[layer]).index_fill(0, first, True).nonzero().squeeze(1)
