"""One training stage: a checkpoint and a data directory in, a run directory out."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from transformers.utils import logging as transformers_logging

from ltp.common.errors import LTPError
from ltp.common.io import write_json
from ltp.common.machine import cpu_threads, peak_memory_mb
from ltp.conversion.convert import CONVERSION
from ltp.models.configuration import LTPConfig
from ltp.models.modeling import LTPForSequenceClassification
from ltp.results.checkpoint import WEIGHTS
from ltp.results.dataset import TOKENIZER
from ltp.results.manifest import read_manifest
from ltp.results.run import METRICS, PREDICTIONS, read_metrics, write_predictions, write_run
from ltp.results.verify import verify_run
from ltp.settings.pruning import PruningSettings
from ltp.settings.training import TrainingSettings
from ltp.text.dataset import load
from ltp.text.encoder import resolve_model
from ltp.training import distributed
from ltp.training.callbacks import Diverged, last_checkpoint, tensorboard_logs
from ltp.training.environment import environment, require_precision
from ltp.training.evaluation import evaluate
from ltp.training.model_card import model_card
from ltp.training.trainer import THRESHOLDS, make_trainer

STATE = "checkpoint"  # the resumable state of a training, inside its run directory
STATE_SETTINGS = "settings.json"
TRAIN_LOGITS = "train_logits.safetensors"  # a dense run's outputs on the training split, for distillation
# Each stage shuffles in an order of its own: one that trains on a part of the split sees another part than its parent.
STAGE_SEEDS = {"base": 0, "soft": 1000, "hard": 2000}
TENSORBOARD = "tensorboard"  # its logs, inside the run directory
# What an earlier run may have left in the directory: it must not pass for this one's. The record goes first.
RESULTS = (METRICS, PREDICTIONS, WEIGHTS, TRAIN_LOGITS, "config.json", "README.md")
# What a hard run takes over from the soft run that learned its thresholds, and under which name.
INHERITED = {
    "temperature": "temperature",
    "lambda": "lambda",
    "lambda_warmup": "lambda_warmup",
    "threshold_learning_rate": "threshold_learning_rate",
    "learning_rate": "soft_learning_rate",
    "epochs": "soft_epochs",
}


def train(
    stage: str,
    method: str,
    checkpoint: str,
    data: str | Path,
    output: str | Path,
    settings: TrainingSettings,
    revision: str | None = None,
    teacher: str | Path | None = None,
    teach: bool = False,
) -> dict[str, Any]:
    """Train one stage and write its run directory; returns its metrics.

    ``stage`` is ``base`` (fine-tunes the plain encoder ``checkpoint``), ``soft`` (learns weights and thresholds
    under soft masks) or ``hard`` (fine-tunes the weights with tokens removed). An interrupted training goes on
    from its last checkpoint, if the same settings made it. ``teacher`` is the dense run that distillation learns
    from, itself trained with ``teach``. A loss that is no number ends the run with status "diverged". Raises LTPError
    for what the user can fix.

    Several processes (see ltp.processes) share the training where a launcher has started them: each takes its part of
    every batch, and the main one writes.
    """
    started = time.monotonic()
    require_precision(settings.precision)
    transformers_logging.set_verbosity_error()
    if threads := cpu_threads():
        torch.set_num_threads(threads)
    output = Path(output)
    splits, info = load(data)
    parent = _parent(stage, Path(checkpoint))
    described = _run_metadata(stage, method, settings, info, parent)
    distributed.join()
    if parent and parent["status"] != "complete":
        _clear_results(output)
        return _record_failure(output, described, f"parent {checkpoint}: {parent['reason']}", started)

    torch.manual_seed(settings.seed)  # the new classifier is drawn here
    model = _load_model(stage, checkpoint, revision, settings, info)
    described["settings"] |= asdict(model.config.pruning())
    described["teacher"], logits = _teacher(settings, teacher, len(splits["train"]))
    if distributed.is_main():  # all checks are behind: what an earlier run left may go
        _clear_results(output)
        _clear_foreign_state(output, described)
    distributed.wait()
    resume = last_checkpoint(output / STATE)
    trainer = make_trainer(model, splits["train"], info, output / STATE, settings, logits, STAGE_SEEDS[stage])
    if settings.tensorboard:
        trainer.add_callback(tensorboard_logs(output / TENSORBOARD))
    train_started = time.monotonic()
    try:
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)
        train_seconds = time.monotonic() - train_started
        # Soft runs are a step on the way: they are judged by the split that picks.
        names = ["validation"] if stage == "soft" else [name for name in splits if name != "train"]
        evaluated = evaluate(trainer, {name: splits[name] for name in names}, info)
        taught = trainer.predict(splits["train"]).predictions[0] if teach else None
    except Diverged as reason:
        return _record_failure(output, described, str(reason), started)

    tokens = round(settings.epochs * sum(splits["train"]["length"]))
    predictions = evaluated.pop("predictions")
    metrics = {
        **described,
        **evaluated,
        "timing": {
            "train_seconds": train_seconds,
            "train_tokens": tokens,
            "tokens_per_second": tokens / train_seconds,
            "evaluate_seconds": time.monotonic() - train_started - train_seconds,
            "total_seconds": time.monotonic() - started,
            "peak_memory_mb": peak_memory_mb(),
            "finished_at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "resumed": resume is not None,
        },
    }
    distributed.destroy_group()
    if not distributed.is_main():
        return metrics
    _save(model, stage, data, output)
    write_predictions(output, predictions)
    if taught is not None:
        save_file({"logits": torch.from_numpy(taught)}, output / TRAIN_LOGITS)
    (output / "README.md").write_text(model_card(metrics, info), encoding="utf-8")
    metrics = write_run(output, metrics)
    shutil.rmtree(output / STATE, ignore_errors=True)
    return metrics


def _teacher(
    settings: TrainingSettings, teacher: str | Path | None, examples: int
) -> tuple[dict[str, str] | None, torch.Tensor | None]:
    """Which dense run is learned from, and its outputs on the training split (examples, C); None where none is."""
    if not settings.distillation:
        return None, None
    if teacher is None:
        raise LTPError(f"distillation: {settings.distillation} needs --teacher, the dense run to learn from")
    if problems := verify_run(teacher):
        raise LTPError(problems[0])
    path = Path(teacher) / TRAIN_LOGITS
    if not path.is_file():
        raise LTPError(f"{path}: is not there; train the dense run with --teach")
    logits = load_file(path)["logits"]
    if len(logits) != examples:
        raise LTPError(f"{path}: has outputs for {len(logits)} examples, the training split has {examples}")
    return {"path": str(teacher), "fingerprint": read_metrics(teacher)["fingerprint"]}, logits


def _parent(stage: str, checkpoint: Path) -> dict[str, Any] | None:
    """The record of what this stage starts from, its weights checked; None for an encoder from outside."""
    for name, kind in ((METRICS, "run"), (CONVERSION, "conversion")):
        if (checkpoint / name).is_file():
            record = read_metrics(checkpoint) if kind == "run" else read_manifest(checkpoint / name, kind)
            if problems := verify_run(checkpoint):
                raise LTPError(problems[0])
            return {**record, "path": str(checkpoint)}
    if stage != "base":
        raise LTPError(
            f"{checkpoint}: neither {CONVERSION} nor {METRICS} is there; expected a finished conversion or run"
        )
    return None


def _run_metadata(
    stage: str, method: str, settings: TrainingSettings, info: Mapping[str, Any], parent: Mapping[str, Any] | None
) -> dict[str, Any]:
    """What is known of a run before it starts: the part of metrics.json that says what it is."""
    chosen = {name.rstrip("_"): value for name, value in asdict(settings).items()}
    for name in ("seed", "checkpoint_minutes", "tensorboard"):  # the first has its own key, the others shape nothing
        del chosen[name]
    if stage != "soft":
        for name in ("temperature", "lambda", "lambda_warmup", "threshold_learning_rate"):
            del chosen[name]
    if parent and parent.get("stage") == "soft":
        chosen |= {mine: parent["settings"][theirs] for theirs, mine in INHERITED.items()}
    return {
        "status": "complete",
        "reason": None,
        "task": info["task"],
        "model": info["model"],
        "method": method,
        "stage": stage,
        "seed": settings.seed,
        "settings": {
            **chosen,
            "masking": {"base": "none", "soft": "soft", "hard": "hard"}[stage],
            "max_length": info["max_length"],
            "selection": info["selection"],
        },
        "primary_metric": info["primary_metric"],
        "examples": info["examples"],
        "data_fingerprint": info["fingerprint"],
        "parent": {"path": parent["path"], "fingerprint": parent["fingerprint"]} if parent else None,
        "environment": environment(),
    }


def _load_model(
    stage: str, checkpoint: str, revision: str | None, settings: TrainingSettings, info: Mapping[str, Any]
) -> LTPForSequenceClassification:
    dropout = (
        {}
        if settings.dropout is None
        else {
            "hidden_dropout_prob": settings.dropout,
            "attention_probs_dropout_prob": settings.dropout,
        }
    )
    if stage == "base":
        names = info["label_names"] or [f"LABEL_{index}" for index in range(info["num_labels"])]
        base = AutoModelForSequenceClassification.from_pretrained(
            resolve_model(checkpoint, revision=revision),
            num_labels=info["num_labels"],
            id2label=dict(enumerate(names)),
            label2id={name: index for index, name in enumerate(names)},
            dtype=torch.float32,
            use_safetensors=True,
            **dropout,
        )
        return LTPForSequenceClassification.from_base(base, PruningSettings(prune_mode="none"))
    model = AutoModelForSequenceClassification.from_pretrained(
        checkpoint, dtype=torch.float32, use_safetensors=True, **dropout
    )
    if not isinstance(model.config, LTPConfig):
        found = model.config.model_type
        raise LTPError(f"{checkpoint}: model_type is {found!r}, expected 'ltp'; run `ltp convert` first")
    if model.num_labels != info["num_labels"]:
        raise LTPError(f"{checkpoint}: has {model.num_labels} labels, the data have {info['num_labels']}")
    if stage == "soft":
        if settings.temperature is None or settings.lambda_ is None:
            raise LTPError("stage soft: needs --temperature and --lambda")
        if not hasattr(model, THRESHOLDS):
            raise LTPError(f"{checkpoint}: prune_mode {model.config.prune_mode!r} has no thresholds to learn")
        model.use_soft_masks(settings.temperature)
    elif hasattr(model, THRESHOLDS):
        model.threshold_deltas.requires_grad_(False)
    return model


def _clear_results(output: Path) -> None:
    if distributed.is_main():
        output.mkdir(parents=True, exist_ok=True)
        for name in RESULTS:
            (output / name).unlink(missing_ok=True)


def _clear_foreign_state(output: Path, described: Mapping[str, Any]) -> None:
    """Leave only a checkpoint to go on from that the same settings, data and parent made; note them for the next."""
    state = output / STATE
    mark = state / STATE_SETTINGS
    wanted = json.loads(json.dumps(described))
    try:
        same = json.loads(mark.read_text(encoding="utf-8")) == wanted
    except (OSError, ValueError):
        same = False
    if same and last_checkpoint(state):
        return
    shutil.rmtree(output / TENSORBOARD, ignore_errors=True)
    shutil.rmtree(state, ignore_errors=True)
    state.mkdir(parents=True)
    write_json(mark, wanted)


def _record_failure(output: Path, described: Mapping[str, Any], reason: str, started: float) -> dict[str, Any]:
    """Record a run that came to nothing, so that the others go on and the tables can say why it is missing."""
    timing = {"total_seconds": time.monotonic() - started}
    empty = {"metrics": {}, "flops": {}, "layers": {}, "timing": timing}
    distributed.destroy_group()
    if not distributed.is_main():
        return {**described, **empty, "status": "diverged", "reason": reason}
    metrics = write_run(output, {**described, **empty, "status": "diverged", "reason": reason})
    shutil.rmtree(output / STATE, ignore_errors=True)
    return metrics


def _save(model: LTPForSequenceClassification, stage: str, data: str | Path, output: Path) -> None:
    """The checkpoint: a plain Hugging Face one after the base stage, one that prunes after the others."""
    model.use_soft_masks(None)
    (model.to_base() if stage == "base" else model).save_pretrained(output)
    AutoTokenizer.from_pretrained(Path(data) / TOKENIZER).save_pretrained(output)
