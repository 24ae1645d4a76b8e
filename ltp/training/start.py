"""What a stage starts from: the checkpoint, checked and loaded as the stage needs it, and the teacher's outputs."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from ltp.common.errors import LTPError
from ltp.models.configuration import LTPConfig
from ltp.models.loading import MODELS, expect_kind, load_complete
from ltp.models.modeling import LTPPreTrainedModel
from ltp.results.checkpoint import CLASSIFIERS, read_config, weight_shapes
from ltp.results.encoders import ENCODERS, encoder_type
from ltp.results.manifest import CONVERSION, METRICS, read_manifest
from ltp.results.run import read_metrics
from ltp.results.verify import verify_run
from ltp.settings.pruning import THRESHOLDS, PruningSettings, head_for, head_of
from ltp.settings.training import TrainingSettings
from ltp.text.encoder import encoder_record, resolve_model
from ltp.text.tokenizer import check_tokenizer
from ltp.training.recording import TRAIN_LOGITS
from ltp.training.stage import Stage


def read_parent(stage: Stage) -> dict[str, Any] | None:
    """The manifest of what a stage starts from, its files checked; None for an encoder from outside the study."""
    checkpoint = Path(stage.checkpoint)
    for name, kind in ((METRICS, "run"), (CONVERSION, "conversion")):
        if (checkpoint / name).is_file():
            record = read_metrics(checkpoint) if kind == "run" else read_manifest(checkpoint / name, kind)
            if problems := verify_run(checkpoint):
                raise LTPError(problems[0])
            return {**record, "path": str(checkpoint)}
    if stage.name != "base":
        raise LTPError(
            f"{checkpoint}: neither {CONVERSION} nor {METRICS} is there; expected a finished conversion or run"
        )
    return None


def resolve_start(stage: Stage, info: Mapping[str, Any]) -> tuple[Path, str, dict[str, Any] | None]:
    """The folder that a stage starts from, the checksum of its tokenizer and, in the base stage, the encoder's record.

    Raises LTPError where its tokenizer is not the one that made the data.
    """
    if stage.name == "base":
        folder = resolve_model(stage.checkpoint, revision=stage.revision)
        encoder = encoder_record(stage.checkpoint, folder)
    else:
        folder, encoder = Path(stage.checkpoint), None
    return folder, check_tokenizer(folder, stage.data, info), encoder


def load_model(stage: Stage, folder: Path, info: Mapping[str, Any]) -> LTPPreTrainedModel:
    """The model in ``folder``, ready for the stage: with its masks, and only the parameters that are to be trained.

    A base encoder that has a classification head for another number of labels gets a new one.
    """
    settings = stage.settings
    loader, pruned = MODELS[head_for(info["kind"])]
    options: dict[str, Any] = {"dtype": torch.float32, "use_safetensors": True}
    if settings.dropout is not None:
        options |= dict.fromkeys(ENCODERS[encoder_type(read_config(folder))].dropout, settings.dropout)
    if stage.name == "base":
        if settings.flops_target is not None:
            raise LTPError("flops_target: the base stage drops no tokens; leave it out")
        names = info["label_names"] or [f"LABEL_{index}" for index in range(info["num_labels"])]
        if info["kind"] != "spans" and (labels := _labels_of_head(folder)) not in (None, len(names)):
            print(
                f"{stage.checkpoint}: has a classification head for {labels} labels, the data have {len(names)}; "
                "training starts with a new head",
                file=sys.stderr,
            )
            options["ignore_mismatched_sizes"] = True
        base = loader.from_pretrained(
            folder,
            num_labels=info["num_labels"],
            id2label=dict(enumerate(names)),
            label2id={name: index for index, name in enumerate(names)},
            **options,
        )
        model = pruned.from_base(base, PruningSettings(prune_mode="none"))
        return _freeze(model, settings)
    expect_kind(folder, head_of(read_config(folder)), info)
    model = load_complete(loader, folder, **options)
    if not isinstance(model.config, LTPConfig):
        found = model.config.model_type
        raise LTPError(f"{folder}: model_type is {found!r}, expected 'ltp'; run `ltp convert` first")
    if model.num_labels != info["num_labels"]:
        raise LTPError(f"{folder}: has {model.num_labels} labels, the data have {info['num_labels']}")
    if stage.name == "soft":
        if settings.flops_target is None and (settings.temperature is None or settings.lambda_ is None):
            raise LTPError("stage soft: needs --temperature and --lambda, or --flops-target")
        if settings.flops_target is None:
            if not hasattr(model, THRESHOLDS):
                raise LTPError(f"{folder}: prune_mode {model.config.prune_mode!r} has no thresholds to learn")
            model.use_soft_masks(settings.temperature)
    if settings.flops_target is not None and model.config.prune_mode not in ("absolute_threshold", "topk"):
        raise LTPError(f"{folder}: prune_mode {model.config.prune_mode!r} has nothing to set for a flops_target")
    if hasattr(model, THRESHOLDS):  # only soft masks give thresholds a gradient
        model.threshold_deltas.requires_grad_(model.soft_temperature is not None)
    return _freeze(model, settings)


def _freeze(model: LTPPreTrainedModel, settings: TrainingSettings) -> LTPPreTrainedModel:
    """The model, its word embeddings without gradients where the settings ask for it."""
    model.layout.word_embeddings(model.encoder).weight.requires_grad_(not settings.freeze_embeddings)
    return model


def _labels_of_head(folder: Path) -> int | None:
    """The number of labels of the classification head among a checkpoint's weights; None where there is none."""
    shapes = weight_shapes(folder)
    return next((shapes[name][0] for name in CLASSIFIERS if name in shapes), None)


def load_teacher(stage: Stage, info: Mapping[str, Any]) -> tuple[dict[str, str] | None, torch.Tensor | None]:
    """The dense run that is learned from, and its outputs on the training split (see predict_train); None without one.

    Raises LTPError where the teacher is missing, or was trained on other data than ``info`` describes.
    """
    distillation, teacher = stage.settings.distillation, stage.teacher
    if not distillation:
        return None, None
    if teacher is None:
        raise LTPError(f"distillation: {distillation} needs --teacher, the dense run to learn from")
    if problems := verify_run(teacher):
        raise LTPError(problems[0])
    path = teacher / TRAIN_LOGITS
    if not path.is_file():
        raise LTPError(f"{path}: is not there; train the dense run with --save-train-logits")
    metrics = read_metrics(teacher)
    if metrics["data_fingerprint"] != info["fingerprint"]:
        raise LTPError(
            f"{teacher}: was trained on other data (fingerprint {metrics['data_fingerprint'][:12]}…) than those in "
            f"{stage.data} ({info['fingerprint'][:12]}…); train the dense run on these data"
        )
    return {"path": str(teacher), "fingerprint": metrics["fingerprint"]}, load_file(path)["logits"]
