"""From the original to a model at a share of its FLOPs: thresholds by calibration, weights by distillation."""

from __future__ import annotations

import copy
import shutil
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm
from transformers import ProgressCallback

from ltp.benchmark.backends import unpruned
from ltp.common.errors import LTPError
from ltp.models.modeling import LTPForSequenceClassification
from ltp.oneshot.clock import BATCH, MAX_PROBE, Probe
from ltp.oneshot.original import Original
from ltp.oneshot.texts import Texts
from ltp.results.run import CHECKPOINT
from ltp.settings.pruning import THRESHOLDS, PruningSettings
from ltp.settings.training import TrainingSettings
from ltp.training.budget import Budget
from ltp.training.callbacks import Diverged
from ltp.training.collator import pad
from ltp.training.evaluation import compute_in_fp32
from ltp.training.precision import has_bf16
from ltp.training.resuming import last_checkpoint, prepare_state
from ltp.training.trainer import LTPTrainer, make_trainer

LEARNING_RATE = 5e-5
SCORE = PruningSettings(scoring_mode="contribution")  # docs/evidence.md has why


def answers(original: Original, rows: Any, name: str = "") -> tuple[Tensor, float]:
    """The original's outputs (N, C) on tokenised rows, and the seconds that it took; ``name`` labels a progress bar.

    Computed on packed tokens, none of them dropped: the same to 1e-5, and faster.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = unpruned(original.model).to(device).eval()
    order = np.argsort(np.asarray(rows["length"]), kind="stable")[::-1].tolist()  # the longest first: time left falls
    found: Tensor | None = None
    started = time.monotonic()
    with tqdm(total=len(order), desc=name, unit="text", disable=not name, leave=False) as bar, torch.inference_mode():
        for start in range(0, len(order), BATCH):
            picked = order[start : start + BATCH]
            batch = pad(token_columns(rows, picked), original.model.config.pad_token_id or 0)
            logits = model(**{key: value.to(device) for key, value in batch.items()}).logits.float().cpu()
            found = logits.new_zeros(len(order), logits.shape[1]) if found is None else found
            found[picked] = logits
            bar.update(len(picked))
    assert found is not None
    return found, time.monotonic() - started


def token_columns(rows: Any, picked: Any) -> list[dict[str, Any]]:
    """Some rows as examples with their token ids, and segments where there are some."""
    names = [name for name in ("input_ids", "token_type_ids") if name in rows.column_names]
    columns = rows.select(picked)
    return [dict(zip(names, values, strict=True)) for values in zip(*(columns[name] for name in names), strict=True)]


def pruning_model(original: Original, protect: str) -> LTPForSequenceClassification:
    """A copy of the original that can prune; it drops nothing yet."""
    model = LTPForSequenceClassification.from_base(copy.deepcopy(original.model).cpu(), SCORE)
    if protect != "none":
        model.config.protected_until = original.tokenizer.sep_token_id
    # Vocabularies are large and the texts see little of them: their gradients would cost more than they bring.
    model.encoder.get_input_embeddings().weight.requires_grad_(False)
    getattr(model, THRESHOLDS).requires_grad_(False)
    return model


class Distillation:
    """Trains copies of the original to give its answers at a share of the FLOPs.

    ``train`` are tokenised texts with ``labels`` and ``logits`` (N, C) the original's outputs on them. ``info`` is what
    the trainer must know of the task; ``look`` is the number of texts that thresholds are set on.
    """

    def __init__(
        self,
        original: Original,
        train: Texts,
        logits: Tensor,
        info: Mapping[str, Any],
        seed: int,
        protect: str,
        look: int,
    ) -> None:
        self.original, self.logits, self.info, self.protect = original, logits, info, protect
        self.rows = train.rows
        self.calibrated: dict[float | None, tuple[list[float], float | None]] = {}  # by target: thresholds, their cost
        self.sample = self.rows.select(range(look))
        self.settings = TrainingSettings(
            learning_rate=LEARNING_RATE, warmup=0.1, batch_size=min(BATCH, len(self.rows)), seed=seed, distillation=1.0,
            checkpoint_minutes=2.0, precision="bf16" if has_bf16() else "fp32",
        )  # fmt: skip

    def measure(self, target: float, folder: Path) -> tuple[float, float]:
        """Seconds of a training step at ``target``, and of setting the thresholds again."""
        model = self._model()
        budget = self._budget(model, replace(self.settings, flops_target=target))
        started = time.monotonic()
        budget.hold()
        recalibration = time.monotonic() - started
        probe = Probe()
        trainer = self._trainer(model, folder, self._lasting(MAX_PROBE, target))
        trainer.add_callback(probe)
        trainer.remove_callback(ProgressCallback)
        self._train(trainer)
        shutil.rmtree(folder, ignore_errors=True)
        return probe.seconds, recalibration

    def run(
        self, target: float, steps: int, folder: Path, about: Mapping[str, Any]
    ) -> tuple[LTPTrainer, dict[str, Any]]:
        """Train for so many steps; returns the trainer, whose model prunes, and what `Budget.meet` says.

        The training in ``folder`` goes on from its last checkpoint, if it is described by the same ``about``. Raises
        LTPError for a target that cannot be reached, and Diverged.
        """
        model = self._model()
        settings = self._lasting(steps, target)
        prepare_state(folder, {**about, "target": target, "steps": steps, "precision": settings.precision})
        budget = self._budget(model, settings)
        trainer = self._trainer(model, folder / CHECKPOINT, settings)
        trainer.add_callback(budget.callback())
        resume = last_checkpoint(folder / CHECKPOINT)
        self._train(trainer, resume)
        return trainer, budget.meet(trainer)

    def _model(self) -> LTPForSequenceClassification:
        torch.manual_seed(self.settings.seed)
        model = pruning_model(self.original, self.protect)
        for module in model.modules():  # the texts are read a few times at most, and the answers to learn are soft
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        return model.to("cuda" if torch.cuda.is_available() else "cpu")

    def _budget(self, model: LTPForSequenceClassification, settings: TrainingSettings) -> Budget:
        """The budget of a model, its thresholds set; those of one target are the same each time."""
        budget, target = Budget(model, self.sample, settings), settings.flops_target
        if target in self.calibrated:
            thresholds, budget.start = self.calibrated[target]
            model.set_thresholds(thresholds)
        else:
            budget.calibrate()
            self.calibrated[target] = model.thresholds().tolist(), budget.start
        return budget

    def _lasting(self, steps: int, target: float) -> TrainingSettings:
        epoch = -(-len(self.rows) // self.settings.batch_size)  # steps
        return replace(self.settings, epochs=(steps - 0.5) / epoch, flops_target=target)  # the trainer rounds up

    def _trainer(self, model: LTPForSequenceClassification, state: Path, settings: TrainingSettings) -> LTPTrainer:
        return make_trainer(model, self.rows, self.info, state, settings, self.logits)

    def _train(self, trainer: LTPTrainer, resume: Path | None = None) -> None:
        try:
            trainer.train(resume_from_checkpoint=str(resume) if resume else None)
        except Diverged as reason:
            raise LTPError(f"training: {reason}; the model does not bear this training, please report it") from None
        compute_in_fp32(trainer)
