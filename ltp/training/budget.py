"""Training for a share of the FLOPs: tokens dropped at that share, and thresholds for it when the weights are done."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from ltp.models.calibration import calibrate, lengths_of
from ltp.models.modeling import LTPPreTrainedModel
from ltp.models.schedule import shares_for
from ltp.settings.training import TrainingSettings
from ltp.training.callbacks import Diverged
from ltp.training.evaluation import compute_in_fp32
from ltp.training.sample import batches, sample

if TYPE_CHECKING:
    from ltp.training.trainer import LTPTrainer

SENTENCES = 320  # of the training split, on which thresholds are set


class Budget:
    """The FLOPs that a model is trained for: one target, or for each step another at random from a range.

    In training each batch keeps the shares of its tokens that cost the target (ltp.models.quantiles), so thresholds
    need not follow the scores while these move with the weights; they are set afterwards. ``split`` is the training
    split, of which a sample of SENTENCES is used, the same whenever the seed is. Raises LTPError for a target that is
    below what is possible on this text.
    """

    def __init__(self, model: LTPPreTrainedModel, split: Any, settings: TrainingSettings) -> None:
        self.model, self.seed = model, settings.seed
        self.target = settings.flops_target or 1.0
        self.least = settings.least_flops_target or self.target
        self.examples = sample(split, SENTENCES, settings.seed)
        self.lengths, self.protected = lengths_of(model, batches(model, self.examples))
        self.shares(self.least)

    def shares(self, target: float) -> list[float]:
        """(L,) share of its tokens that each layer leaves, for the sample to cost ``target``."""
        model = self.model
        return shares_for(target, model.layers, self.lengths, model.sizes, model.every_token, self.protected)

    def draw(self, step: int) -> float:
        """The target of a step: evenly distributed on a logarithmic scale, the same whenever seed and step are."""
        position = random.Random(f"{self.seed} {step}").random()
        return math.exp(math.log(self.least) + position * (math.log(self.target) - math.log(self.least)))

    def meet(self, trainer: LTPTrainer) -> dict[str, Any]:
        """Set the thresholds for the target, in fp32, as the model is evaluated; what metrics.json records of it.

        ``reached`` are the sample's FLOPs. Raises Diverged where weights are no finite numbers.
        """
        self.model.train_on_shares(None)
        compute_in_fp32(trainer)
        if not all(parameter.isfinite().all() for parameter in self.model.parameters()):
            raise Diverged("the weights became no finite numbers")
        reached = calibrate(self.model, batches(self.model, self.examples), self.target)
        least = {} if self.least == self.target else {"least": self.least}
        return {"target": self.target, **least, "reached": reached}

    def callback(self) -> TrainerCallback:
        """What drops each step's tokens for its target."""
        return _DropForBudget(self)


class _DropForBudget(TrainerCallback):
    def __init__(self, budget: Budget) -> None:
        self.budget = budget

    def on_step_begin(self, args, state, control, **kwargs):
        """Let the step's batches keep the shares of its target."""
        self.budget.model.train_on_shares(self.budget.shares(self.budget.draw(state.global_step)))
