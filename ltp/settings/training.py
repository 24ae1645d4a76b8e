"""The settings of one training: type, default, limits and description of each, written once.

The command line makes one flag of each field (ltp.cli.flags) and the grid one key (ltp.grid.schema).
"""

from __future__ import annotations

from dataclasses import dataclass

from ltp.common.errors import LTPError
from ltp.settings.fields import check_limits, described


@dataclass(frozen=True)
class TrainingSettings:
    """How one stage trains. The defaults are the original's, where it has them."""

    learning_rate: float = described(2e-5, "peak learning rate of the weights", above=0.0, maximum=1.0)
    epochs: float = described(
        1.0, "passes over the training split; 0: nothing is trained", minimum=0.0, maximum=10_000.0
    )
    batch_size: int = described(64, "sentences in an optimiser step, over all devices", minimum=1)
    accumulation_steps: int = described(1, "parts in which a batch is computed, to save memory", minimum=1)
    weight_decay: float = described(0.0, "AdamW's weight decay (never applied to thresholds)", minimum=0.0)
    warmup: float = described(0.0, "share of the steps over which the learning rate rises", minimum=0.0, maximum=1.0)
    max_grad_norm: float = described(1.0, "gradient clip of the weights; thresholds are clipped apart", above=0.0)
    dropout: float | None = described(None, "dropout of the encoder; unset: as in the model", minimum=0.0, maximum=0.9)
    seed: int = described(0, "seed of the shuffling, the dropout and the new classifier", minimum=0, maximum=2**32 - 1)
    temperature: float | None = described(None, "width of the sigmoid round a threshold; soft stage only", above=0.0)
    lambda_: float | None = described(None, "weight of the mean mask in the loss; soft stage only", minimum=0.0)
    lambda_warmup: float = described(
        0.0, "share of the steps over which λ rises; soft stage only", minimum=0.0, maximum=1.0
    )
    threshold_learning_rate: float | None = described(
        None, "learning rate of the thresholds; unset: that of the weights; soft stage only", above=0.0
    )
    flops_target: float | None = described(
        None,
        "share of the dense FLOPs that the model is trained for and its thresholds are then set for, on training text",
        above=0.0,
        maximum=1.0,
    )
    least_flops_target: float | None = described(
        None,
        "beside a flops_target: each step draws its own target, from this one to that one, so that one training serves "
        "all of them",
        above=0.0,
        maximum=1.0,
    )
    distillation: float = described(
        0.0,
        "share of the loss that asks for the dense model's outputs instead of the labels; the base stage, which has no "
        "dense model to learn from, goes without",
        minimum=0.0,
        maximum=1.0,
    )
    precision: str = described(
        "auto",
        "number format of the matrix products; auto: bf16 where the processor or the GPU has it in hardware, else fp32",
        choices=("auto", "fp32", "bf16", "fp16"),
    )
    freeze_embeddings: bool = described(
        False, "leave the word embeddings as they are; the base stage of a grid trains them all the same"
    )
    checkpoint_minutes: float = described(5.0, "minutes between two resumable checkpoints", above=0.0)
    tensorboard: bool = described(False, "write TensorBoard logs below the run directory")

    def __post_init__(self) -> None:
        check_limits(self)
        if self.least_flops_target is not None and self.least_flops_target > (self.flops_target or 0.0):
            raise LTPError(
                f"least_flops_target: {self.least_flops_target} with flops_target: {self.flops_target}; expected a "
                "flops_target that is not below it"
            )
        if self.flops_target is not None and self.lambda_ is not None:
            raise LTPError(f"lambda: {self.lambda_} with flops_target: {self.flops_target}; expected one of them")
        if self.batch_size % self.accumulation_steps:
            raise LTPError(
                f"accumulation_steps: {self.accumulation_steps} does not divide batch_size {self.batch_size}; "
                "choose a divisor"
            )
