"""What a model scores and costs: predictions, metrics, FLOPs and tokens per layer on prepared data."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from transformers.utils import logging as transformers_logging

from ltp.common.errors import LTPError
from ltp.common.io import plain
from ltp.models import flops
from ltp.models.loading import load_pruned
from ltp.settings.training import TrainingSettings
from ltp.text.dataset import load
from ltp.text.tokenizer import check_tokenizer
from ltp.training.callbacks import Diverged
from ltp.training.metrics import compute_metrics
from ltp.training.outputs import mean_loss, read_outputs, read_predictions
from ltp.training.trainer import LTPTrainer, make_trainer


def evaluate(trainer: LTPTrainer, splits: Mapping[str, Any], info: Mapping[str, Any]) -> dict[str, Any]:
    """Scores, FLOPs, tokens per layer and predictions of the trainer's model on each split, tokens removed.

    The model computes in fp32, as it does when it is loaded again, whatever it was trained in. The keys are those of
    metrics.json, and ``predictions``. Raises Diverged where the model's outputs are not finite.
    """
    compute_in_fp32(trainer)
    kind = info["kind"]
    metrics: dict[str, Any] = {}
    costs: dict[str, Any] = {}
    predictions: dict[str, Any] = {}
    layers: dict[str, Any] = {}
    for name, split in splits.items():
        found = trainer.predict(split, ignore_keys=[], metric_key_prefix=name)
        logits, attention_tokens, ffn_tokens = read_outputs(found.predictions, split, kind)
        loss = mean_loss(kind, logits, found.label_ids)
        if not (math.isfinite(loss) and np.isfinite(logits).all()):
            raise Diverged(f"the outputs on the {name} split are not finite numbers")
        answers = read_predictions(kind, logits, found.label_ids, split, info)
        metrics[name] = {**compute_metrics(info, answers["predictions"], answers["labels"]), "loss": loss}
        costs[name] = flops.summarise(
            attention_tokens,
            ffn_tokens,
            split["length"],
            trainer.model.sizes,
            trainer.model.decides_by_attention(),
        )
        layers[name] = {"attention_tokens": attention_tokens.mean(0), "ffn_tokens": ffn_tokens.mean(0)}
        share = flops.shares(attention_tokens, ffn_tokens, split["length"], trainer.model.sizes)
        predictions[name] = {
            **plain(answers),
            "lengths": list(split["length"]),
            "relative_flops": share.round(5).tolist(),
        }
    thresholds = trainer.model.thresholds()
    reported = layers["test" if "test" in layers else "validation"]
    return {
        "metrics": metrics,
        "flops": costs,
        "layers": {
            "threshold": None if thresholds is None else thresholds.tolist(),
            **{name: mean.tolist() for name, mean in reported.items()},
        },
        "predictions": predictions,
    }


def compute_in_fp32(trainer: LTPTrainer) -> None:
    """Take off mixed precision, a wrapper that training has put round the model's forward method."""
    trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)


def evaluate_checkpoint(checkpoint: str | Path, data: str | Path) -> dict[str, Any]:
    """Scores, FLOPs and tokens per layer of a saved model on every split but the training's.

    ``checkpoint`` is a model that prunes, or a plain one with the head of the task. Raises LTPError where
    it does not fit the data, as where its tokenizer is another one, or its outputs are not finite.
    """
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()  # loading takes a moment
    splits, info = load(data)
    model = load_pruned(checkpoint, info)
    check_tokenizer(checkpoint, data, info)
    with tempfile.TemporaryDirectory() as state:
        trainer = make_trainer(model, None, info, Path(state), TrainingSettings(precision="fp32"))
        try:
            found = evaluate(trainer, {name: split for name, split in splits.items() if name != "train"}, info)
        except Diverged as reason:
            raise LTPError(f"{checkpoint}: {reason}; train it anew") from None
    del found["predictions"]
    return found
