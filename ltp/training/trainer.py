"""The Trainer subclass: λ term, thresholds' own learning rate and gradient clip, distillation.

Everything else is the library's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import SequentialSampler
from transformers import PreTrainedModel, PrinterCallback, Trainer, TrainingArguments

from ltp.common.errors import LTPError
from ltp.models.heads import IGNORED
from ltp.settings.pruning import THRESHOLDS
from ltp.settings.training import TrainingSettings
from ltp.training import distributed
from ltp.training.callbacks import CheckpointByTime, StopOnDivergence
from ltp.training.collator import Collator

EVALUATION_BATCH = 32  # sentences; larger batches leave the processor's cache
LOG_STEPS = 10


class LTPTrainer(Trainer):
    """Trains one stage.

    Modifications: the loss adds λ · regulariser (soft masking) and the distillation term; ``threshold_deltas`` has its
    own learning rate, no weight decay and its own gradient clip, since its gradient can dwarf the weights' or vanish
    beside them; evaluation keeps the order of the data; a loss that is not finite raises Diverged.
    """

    # The loss below is a mean over sentences, so accumulation must divide it (also for RoBERTa, whose signature
    # makes the library believe otherwise).
    loss_is_scaled_for_ga = False

    def __init__(self, settings: TrainingSettings, **kwargs: Any):
        self.settings = settings
        super().__init__(**kwargs)
        self.model_accepts_loss_kwargs = False

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """Task loss + λ · Σ over layers of the mean soft mask (paper, eq. 9), λ rising over its warm-up."""
        teacher_logits = inputs.pop("teacher_logits", None)
        outputs = model(**inputs)
        loss = outputs.loss
        if teacher_logits is not None:
            share = self.settings.distillation
            loss = (1 - share) * loss + share * distillation_loss(outputs.logits, teacher_logits, inputs.get("labels"))
        if outputs.regulariser is not None:
            loss = loss + self.lambda_now() * outputs.regulariser
        return (loss, outputs) if return_outputs else loss

    def lambda_now(self) -> float:
        """λ at this step: it rises linearly over the first ``lambda_warmup`` share of the steps."""
        rising = self.settings.lambda_warmup * self.state.max_steps
        return self.settings.lambda_ * min(1.0, (self.state.global_step + 1) / rising if rising else 1.0)

    def create_optimizer(self, model=None):
        """AdamW with one more parameter group: the thresholds."""
        if self.optimizer is not None:
            return self.optimizer
        named = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        decayed = set(self.get_decay_parameter_names(self.model)) - {THRESHOLDS}
        groups = [
            {"params": [p for name, p in named.items() if name in decayed], "weight_decay": self.args.weight_decay},
            {
                "params": [p for name, p in named.items() if name not in decayed and name != THRESHOLDS],
                "weight_decay": 0.0,
            },
        ]
        if THRESHOLDS in named:
            rate = self.settings.threshold_learning_rate or self.settings.learning_rate
            groups.append({"params": [named[THRESHOLDS]], "weight_decay": 0.0, "lr": rate})
        optimizer, options = self.get_optimizer_cls_and_kwargs(self.args, self.model)
        self.optimizer = optimizer(groups, **options)
        return self.optimizer

    def _clip_grad_norm(self, model) -> Tensor:
        """Clip weights and thresholds apart; returns the weights' norm before the clip."""
        weights: list[Tensor] = []
        thresholds: list[Tensor] = []
        for name, parameter in model.named_parameters():
            (thresholds if name.endswith(THRESHOLDS) else weights).append(parameter)
        norm = self.accelerator.clip_grad_norm_(weights, self.args.max_grad_norm)
        if thresholds:
            torch.nn.utils.clip_grad_norm_(thresholds, self.args.max_grad_norm)
        return norm

    def floating_point_ops(self, inputs) -> int:
        """None are counted: nobody reads the library's estimate, which walks through all parameters at each step."""
        return 0

    def _get_eval_sampler(self, eval_dataset):
        return SequentialSampler(eval_dataset) if self.args.world_size <= 1 else None


def distillation_loss(logits: Tensor, teacher_logits: Tensor, labels: Tensor | None = None) -> Tensor:
    """Cross-entropy of the outputs (B, C) against the dense model's probabilities; squared error for C = 1.

    Outputs (B, N, C) of all tokens are compared where ``labels`` (B, N) has a label; without labels, as for the first
    and the last token of an answer, over the N tokens.
    """
    if logits.ndim == 3 and labels is not None:
        labelled = labels != IGNORED
        logits, teacher_logits = logits[labelled], teacher_logits[labelled]
    elif logits.ndim == 3:
        logits, teacher_logits = (side.transpose(1, 2).flatten(0, 1) for side in (logits, teacher_logits))
    if logits.shape[-1] == 1:
        return functional.mse_loss(logits, teacher_logits)
    return functional.cross_entropy(logits, teacher_logits.softmax(-1))


def training_arguments(settings: TrainingSettings, state_dir: Path, data_seed: int) -> TrainingArguments:
    """The library's arguments for our settings; ``state_dir`` holds the resumable state, ``data_seed`` shuffles.

    Raises LTPError for a batch that the processes of a shared training cannot divide.
    """
    parts = settings.accumulation_steps * distributed.count()
    if settings.batch_size % parts:
        raise LTPError(
            f"batch_size: {settings.batch_size} sentences cannot be divided among {distributed.count()} processes with "
            f"{settings.accumulation_steps} accumulation steps; choose a multiple of {parts}"
        )
    arguments = TrainingArguments(
        output_dir=str(state_dir),
        learning_rate=settings.learning_rate,
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.batch_size // parts,
        per_device_eval_batch_size=EVALUATION_BATCH,
        gradient_accumulation_steps=settings.accumulation_steps,
        weight_decay=settings.weight_decay,
        warmup_steps=min(settings.warmup, math.nextafter(1.0, 0.0)),  # a share; the library takes 1.0 for one step
        max_grad_norm=settings.max_grad_norm,
        seed=settings.seed,
        data_seed=data_seed,
        bf16=settings.precision == "bf16",
        fp16=settings.precision == "fp16",
        optim="adamw_torch_fused",
        use_cpu=not torch.cuda.is_available(),
        logging_steps=LOG_STEPS,
        logging_nan_inf_filter=False,
        save_strategy="no",  # CheckpointByTime decides; any other also saves after the last step, for nothing
        save_total_limit=2,
        # The collator picks the columns; ``length`` and ``row`` must reach it.
        remove_unused_columns=False,
        dataloader_pin_memory=torch.cuda.is_available(),
        ddp_find_unused_parameters=False,  # every parameter that is trained takes part in every step
        report_to=[],
        disable_tqdm=False,
    )
    # A process takes one GPU. Where it sees more, the library would split its batches by nn.DataParallel.
    arguments._n_gpu = min(1, arguments.n_gpu)
    return arguments


def make_trainer(
    model: PreTrainedModel,
    train_split: Any,
    info: Mapping[str, Any],
    state: Path,
    settings: TrainingSettings,
    teacher_logits: torch.Tensor | None = None,
    data_seed: int = 0,
) -> LTPTrainer:
    """A trainer for a model that prunes, on a split of prepared data (none: it only evaluates).

    ``info`` is what the data's task.json says; ``teacher_logits`` are what distillation learns from, in the split's
    order: (examples, C), or (tokens of all examples, C) where each token has outputs; ``data_seed`` is added to the
    settings' seed for shuffling.
    """
    if train_split is not None:
        train_split = train_split.add_column("row", np.arange(len(train_split)))
    teacher: Any = teacher_logits
    if teacher_logits is not None and info["kind"] in ("tokens", "spans"):
        teacher = teacher_logits.split(list(train_split["length"]))
    trainer = LTPTrainer(
        settings,
        model=model,
        args=training_arguments(settings, state, settings.seed + data_seed),
        train_dataset=train_split,
        data_collator=Collator(model.config.pad_token_id, info["kind"], teacher),
        callbacks=[StopOnDivergence(), CheckpointByTime(settings.checkpoint_minutes)],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer
