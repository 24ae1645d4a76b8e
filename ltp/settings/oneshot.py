"""The settings of one call that prunes a fine-tuned model on text without labels."""

from __future__ import annotations

import numbers
from dataclasses import dataclass

from ltp.common.errors import LTPError
from ltp.settings.fields import check_limits, described

PROTECTED = ("none", "first")


@dataclass(frozen=True)
class PruneSettings:
    """What ``ltp prune`` and ``ltp.prune`` are asked for."""

    flops: tuple[float, ...] = described(
        (0.5,), "shares of the original's FLOPs to cost; several give a table and a picture"
    )
    minutes: float = described(8.0, "time for all of it, of which training gets what is left", minimum=0.1)
    text_columns: tuple[str, ...] | None = described(
        None, "column of the texts, or the two of a pair, a reranker's query first; unset: text, or the only one"
    )
    label_column: str | None = described(None, "column of labels, if there are some: the score is then reported too")
    protect: str = described(
        "none", "tokens that are never dropped; first: those of a pair's first text, such as a query", choices=PROTECTED
    )
    max_length: int | None = described(
        None, "word pieces at which a text, or a pair, is cut; unset: as many as the model takes", minimum=4
    )
    seed: int = described(0, "seed of the order of the texts", minimum=0, maximum=2**32 - 1)

    def __post_init__(self) -> None:
        for name in ("flops", "text_columns"):
            if isinstance(value := getattr(self, name), list):
                object.__setattr__(self, name, tuple(value))
        check_limits(self)
        if not self.flops:
            raise LTPError("flops: none given; expected shares of the original's FLOPs, such as 0.5")
        for share in self.flops:
            if not isinstance(share, numbers.Real):
                raise LTPError(f"flops: {share!r} is no number; expected shares of the original's FLOPs, such as 0.5")
            if not 0.0 < share < 1.0:
                raise LTPError(f"flops: {share:g} is not between 0 and 1; expected a share of the original's FLOPs")
        if len(set(self.flops)) != len(self.flops):
            raise LTPError(f"flops: {' '.join(f'{share:g}' for share in self.flops)} names a share twice")
        if self.protect != "none" and self.text_columns is not None and len(self.text_columns) != 2:
            raise LTPError("protect: first needs pairs; expected two text_columns")
