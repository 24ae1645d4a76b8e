"""What one training is given."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ltp.settings.training import TrainingSettings


@dataclass(frozen=True)
class Stage:
    """What one training is given.

    ``name`` is ``base`` (fine-tunes the plain encoder ``checkpoint``), ``soft`` (learns weights and thresholds under
    soft masks) or ``hard`` (fine-tunes the weights with tokens removed). ``revision`` is the commit of an encoder from
    the Hub. ``teacher`` is the dense run that distillation learns from, itself trained with ``save_train_logits``.
    """

    name: str
    method: str
    checkpoint: str
    data: Path
    output: Path
    settings: TrainingSettings
    revision: str | None = None
    teacher: Path | None = None
    save_train_logits: bool = False
