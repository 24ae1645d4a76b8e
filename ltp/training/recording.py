"""What a training leaves in its run directory: the model, its predictions, its metrics; or why there is no model."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import AutoTokenizer

from ltp.models.modeling import LTPPreTrainedModel
from ltp.results.checkpoint import WEIGHTS
from ltp.results.dataset import TOKENIZER
from ltp.results.manifest import METRICS
from ltp.results.run import CHECKPOINT, PREDICTIONS, write_predictions, write_run
from ltp.training import distributed
from ltp.training.environment import environment
from ltp.training.model_card import model_card
from ltp.training.stage import Stage

TRAIN_LOGITS = "train_logits.safetensors"  # a dense run's outputs on the training split, for distillation
TENSORBOARD = "tensorboard"  # its logs, inside the run directory
# What an earlier run may have left in the directory and must not pass for this one's. metrics.json goes first.
RESULTS = (METRICS, PREDICTIONS, WEIGHTS, TRAIN_LOGITS, "config.json", "README.md")
# Settings of a soft run that the hard run made from it repeats, and under which name.
INHERITED = {
    "temperature": "temperature",
    "lambda": "lambda",
    "lambda_warmup": "lambda_warmup",
    "threshold_learning_rate": "threshold_learning_rate",
    "learning_rate": "soft_learning_rate",
    "epochs": "soft_epochs",
}


def run_metadata(stage: Stage, info: Mapping[str, Any], parent: Mapping[str, Any] | None) -> dict[str, Any]:
    """What is known of a run before it starts: the part of metrics.json that says what it is."""
    chosen = {name.rstrip("_"): value for name, value in asdict(stage.settings).items()}
    for name in ("seed", "checkpoint_minutes", "tensorboard"):  # the first has its own key, the others change no result
        del chosen[name]
    if not chosen["freeze_embeddings"]:  # as the versions wrote it that had no such setting: seeds can be averaged
        del chosen["freeze_embeddings"]
    for name in ("flops_target", "least_flops_target"):
        if chosen[name] is None:
            del chosen[name]
    budget = "flops_target" in chosen
    if budget or stage.name != "soft":
        for name in ("temperature", "lambda", "lambda_warmup", "threshold_learning_rate"):
            chosen.pop(name, None)
    if parent and parent.get("stage") == "soft":
        learned = parent["settings"]
        chosen |= {name: learned[of_soft] for of_soft, name in INHERITED.items() if of_soft in learned}
    return {
        "status": "complete",
        "reason": None,
        "task": info["task"],
        "model": info["model"],
        "method": stage.method,
        "stage": stage.name,
        "seed": stage.settings.seed,
        "settings": {
            **chosen,
            "masking": "hard" if budget else {"base": "none", "soft": "soft", "hard": "hard"}[stage.name],
            **{key: info[key] for key in ("max_length", "test_max_lengths") if key in info},
            "selection": info["selection"],
        },
        "primary_metric": info["primary_metric"],
        "examples": info["examples"],
        "data_fingerprint": info["fingerprint"],
        "parent": {"path": parent["path"], "fingerprint": parent["fingerprint"]} if parent else None,
        "environment": environment(stage.settings.precision),
    }


def remove_results(output: Path) -> None:
    """Make the run directory, without what an earlier run left in it."""
    if distributed.is_main():
        output.mkdir(parents=True, exist_ok=True)
        for name in RESULTS:
            (output / name).unlink(missing_ok=True)


def record_failure(
    output: Path, metadata: Mapping[str, Any], reason: str, started: float, earlier: float = 0.0
) -> dict[str, Any]:
    """Record a run without a model, so that the others go on and the tables can say why it is missing.

    ``started`` is when this process began, by time.monotonic; ``earlier`` the seconds of training before it.
    """
    timing = {"total_seconds": earlier + time.monotonic() - started}
    empty = {"metrics": {}, "flops": {}, "layers": {}, "timing": timing}
    metrics = {**metadata, **empty, "status": "diverged", "reason": reason}
    distributed.destroy_group()
    if not distributed.is_main():
        return metrics
    written = write_run(output, metrics)
    shutil.rmtree(output / CHECKPOINT, ignore_errors=True)
    return dict(written)


def record_run(
    stage: Stage,
    model: LTPPreTrainedModel,
    info: Mapping[str, Any],
    metrics: Mapping[str, Any],
    predictions: Mapping[str, Any],
    train_logits: np.ndarray | None,
) -> dict[str, Any]:
    """Write the checkpoint, the predictions and, last, metrics.json; returns what that holds.

    The checkpoint is a plain Hugging Face one after the base stage, one that prunes after the others.
    ``train_logits`` are those of ltp.training.outputs.predict_train.
    """
    output = stage.output
    model.use_soft_masks(None)
    (model.to_base() if stage.name == "base" else model).save_pretrained(output)
    AutoTokenizer.from_pretrained(stage.data / TOKENIZER).save_pretrained(output)
    write_predictions(output, predictions)
    if train_logits is not None:
        save_file({"logits": torch.from_numpy(train_logits)}, output / TRAIN_LOGITS)
    (output / "README.md").write_text(model_card(metrics, info), encoding="utf-8")
    written = write_run(output, metrics)
    shutil.rmtree(output / CHECKPOINT, ignore_errors=True)
    return dict(written)
