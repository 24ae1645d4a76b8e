"""Thresholds that cost a given share of the FLOPs: set on training text before, while and after the weights change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import TrainerCallback

from ltp.models.calibration import calibrate, measure, shift_to_target
from ltp.models.modeling import LTPPreTrainedModel
from ltp.settings.training import TrainingSettings
from ltp.training.collator import pad
from ltp.training.evaluation import compute_in_fp32

if TYPE_CHECKING:
    from ltp.training.trainer import LTPTrainer

SENTENCES = 320  # of the training split, on which thresholds are set
BATCH_TOKENS = 1 << 14  # in one forward pass, padding included
RECALIBRATION_STEPS = 50  # steps of the hard stage after which thresholds are set again: scores move with the weights


class Budget:
    """The thresholds of a model whose sentences are to cost a share of the FLOPs.

    ``split`` is the training split, of which a sample of SENTENCES is used, the same whenever the seed is.
    """

    def __init__(self, model: LTPPreTrainedModel, split: Any, settings: TrainingSettings) -> None:
        self.model, self.target = model, settings.flops_target or 1.0
        generator = torch.Generator().manual_seed(settings.seed)
        rows = torch.randperm(len(split), generator=generator)[:SENTENCES].tolist()
        self.examples = [{name: split[row][name] for name in split.column_names if name != "length"} for row in rows]
        self.start: float | None = None

    def batches(self) -> list[dict[str, Tensor]]:
        """The sample as padded batches on the model's device, in random order, so that each is like the whole."""
        longest = max(len(example["input_ids"]) for example in self.examples)
        size = max(1, BATCH_TOKENS // longest)
        parts = [self.examples[start : start + size] for start in range(0, len(self.examples), size)]
        padding, device = self.model.config.pad_token_id, self.model.device
        return [{name: values.to(device) for name, values in pad(part, padding).items()} for part in parts]

    def calibrate(self) -> None:
        """Set all thresholds from the scores. Raises LTPError for a target that cannot be reached."""
        self.start = calibrate(self.model, self.batches(), self.target)

    def hold(self) -> tuple[float, float]:
        """Move the thresholds by one constant so that the sample costs the target; the constant and the cost."""
        return shift_to_target(self.model, self.batches(), self.target)

    def meet(self, trainer: LTPTrainer) -> dict[str, Any]:
        """`hold` after the training, in fp32, as the model is evaluated; what metrics.json records of the budget.

        ``trained`` are the FLOPs before: under straight-through masks as in evaluation, since both drop the same
        tokens. All are of the sample of training text.
        """
        compute_in_fp32(trainer)
        trained = measure(self.model, self.batches())
        shift, reached = self.hold()
        return {"target": self.target, "start": self.start, "trained": trained, "shift": shift, "reached": reached}

    def callback(self) -> TrainerCallback:
        """What holds the budget while the weights change."""
        return _HoldBudget(self)


class _HoldBudget(TrainerCallback):
    def __init__(self, budget: Budget) -> None:
        self.budget = budget

    def on_step_end(self, args, state, control, **kwargs):
        """Set the thresholds again every RECALIBRATION_STEPS steps; the end of the training sets them anyway."""
        if state.global_step % RECALIBRATION_STEPS == 0 and state.global_step < state.max_steps:
            self.budget.hold()
