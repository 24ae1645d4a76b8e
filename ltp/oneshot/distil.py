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
from ltp.settings.oneshot import PruneSettings
from ltp.settings.pruning import THRESHOLDS, PruningSettings
from ltp.settings.training import TrainingSettings
from ltp.training.budget import Budget
from ltp.training.callbacks import Diverged
from ltp.training.collator import pad
from ltp.training.evaluation import compute_in_fp32
from ltp.training.precision import has_bf16
from ltp.training.resuming import last_checkpoint, prepare_state
from ltp.training.sample import learn_saliency
from ltp.training.trainer import LTPTrainer, make_trainer

LEARNING_RATE = 5e-5
SAME = 1e-3  # of the largest output: up to here two ways to compute it differ by rounding
SCORE = PruningSettings(scoring_mode="saliency")  # docs/evidence.md has why


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


@torch.inference_mode()
def require_same_answers(original: Original, rows: Any) -> None:
    """Raise LTPError where the model's own class gives other outputs than `answers`: it computes something else."""
    ours, _ = answers(original, rows)
    model = original.model
    batch = pad(token_columns(rows, range(len(rows))), model.config.pad_token_id or 0)
    theirs = model(**{key: value.to(model.device) for key, value in batch.items()}).logits.float().cpu()
    apart = float((ours - theirs).abs().max())
    if apart > SAME * max(1.0, float(theirs.abs().max())):
        raise LTPError(
            f"model: the outputs of this {type(model).__name__} differ by {apart:.2g} from those of transformers' "
            f"classifier of {model.config.model_type} with its weights; expected that class, configured as an encoder"
        )


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
    # A short training on text that may lack what is served: the words keep the places that the original gave them.
    model.encoder.get_input_embeddings().weight.requires_grad_(False)
    getattr(model, THRESHOLDS).requires_grad_(False)
    return model


class _Bar(ProgressCallback):
    """The library's progress bar, without the logged losses."""

    def on_log(self, args, state, control, logs=None, **kwargs):
        """Print nothing."""


class Distillation:
    """Trains copies of the original to give its answers at shares of the FLOPs: one training for all ``targets``.

    ``train`` are tokenised texts with ``labels`` and ``logits`` (N, C) the original's outputs on them. ``info`` is what
    the trainer must know of the task; ``look`` is the number of texts that thresholds are set on.
    """

    def __init__(
        self, original: Original, train: Texts, logits: Tensor, info: Mapping[str, Any], asked: PruneSettings, look: int
    ) -> None:
        self.original, self.logits, self.info, self.protect = original, logits, info, asked.protect
        self.rows, self.sample = train.rows, train.rows.select(range(look))
        self.probes: Tensor | None = None  # (L, H) fitted once, on the sample
        most, least = max(asked.flops), min(asked.flops)
        self.settings = TrainingSettings(
            learning_rate=LEARNING_RATE, warmup=0.1, batch_size=min(BATCH, len(self.rows)), seed=asked.seed,
            distillation=1.0, checkpoint_minutes=2.0, precision="bf16" if has_bf16() else "fp32",
            flops_target=most, least_flops_target=None if least == most else least,
        )  # fmt: skip

    def measure(self, folder: Path) -> tuple[float, float]:
        """Seconds of a training step, and of setting the thresholds for one target."""
        probe = Probe()
        trainer = self._trainer(folder, MAX_PROBE)
        trainer.add_callback(probe)
        trainer.remove_callback(_Bar)
        self._train(trainer)
        shutil.rmtree(folder, ignore_errors=True)
        started = time.monotonic()
        self.set_thresholds(trainer, self.settings.flops_target or 1.0)
        return probe.seconds, time.monotonic() - started

    def run(self, steps: int, folder: Path, about: Mapping[str, Any]) -> LTPTrainer:
        """Train for so many steps; returns the trainer, whose model has no thresholds yet.

        The training in ``folder`` goes on from its last checkpoint, if it is described by the same ``about``. Raises
        LTPError where the loss is no finite number.
        """
        prepare_state(folder, {**about, "steps": steps, "precision": self.settings.precision})
        trainer = self._trainer(folder / CHECKPOINT, steps)
        self._train(trainer, last_checkpoint(folder / CHECKPOINT))
        return trainer

    def set_thresholds(self, trainer: LTPTrainer, target: float) -> dict[str, Any]:
        """Set the thresholds of a trained model for a target; returns what `Budget.meet` says.

        Raises LTPError for a target that cannot be reached.
        """
        settings = replace(self.settings, flops_target=target, least_flops_target=None)
        try:
            return Budget(trainer.model, self.sample, settings).meet(trainer)
        except Diverged as reason:
            raise LTPError(f"training: {reason}; try another --seed, or more text") from None

    def variant(self, model: LTPForSequenceClassification) -> LTPForSequenceClassification:
        """A model of the same weights, shared, with thresholds of its own."""
        other = LTPForSequenceClassification.from_base(model.to_base(), SCORE)
        other.saliency_probes.copy_(model.saliency_probes)
        other.set_thresholds(model.thresholds().tolist())
        other.config.protected_until = model.config.protected_until
        return other.eval()

    def _trainer(self, state: Path, steps: int) -> LTPTrainer:
        torch.manual_seed(self.settings.seed)
        model = pruning_model(self.original, self.protect).to("cuda" if torch.cuda.is_available() else "cpu")
        epoch = -(-len(self.rows) // self.settings.batch_size)  # steps
        settings = replace(self.settings, epochs=(steps - 0.5) / epoch)  # the trainer rounds up
        trainer = make_trainer(model, self.rows, self.info, state, settings, self.logits)
        if self.probes is None:
            learn_saliency(model, self.sample, self.settings.seed)
            self.probes = model.saliency_probes.clone()
        model.saliency_probes.copy_(self.probes)
        trainer.remove_callback(
            ProgressCallback
        )  # it prints losses to standard output, between the lines of the report
        trainer.add_callback(_Bar())
        trainer.add_callback(Budget(model, self.sample, settings).callback())
        return trainer

    def _train(self, trainer: LTPTrainer, resume: Path | None = None) -> None:
        # Without dropout: the texts are read a few times at most, and the answers to learn are no hard labels.
        shares = {module: module.p for module in trainer.model.modules() if isinstance(module, nn.Dropout)}
        for module in shares:
            module.p = 0.0
        try:
            trainer.train(resume_from_checkpoint=str(resume) if resume else None)
        except Diverged as reason:
            raise LTPError(f"training: {reason}; try another --seed, or more text") from None
        finally:
            for module, share in shares.items():
                module.p = share
        compute_in_fp32(trainer)
