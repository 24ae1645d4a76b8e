"""Loading a saved classifier, with or without pruning."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification

from ltp.common.errors import LTPError
from ltp.models.modeling import LTPForSequenceClassification
from ltp.results.checkpoint import read_config, weight_shapes
from ltp.results.manifest import MANIFESTS
from ltp.results.verify import verify_run
from ltp.settings.pruning import PruningSettings


def load_pruned(checkpoint: str | Path, info: Mapping[str, Any] | None = None) -> LTPForSequenceClassification:
    """A saved classifier in float32 and evaluation mode; a plain Hugging Face one is wrapped without pruning.

    ``checkpoint`` is a run or a model folder, ``info`` the task.json whose number of labels it must have. Raises
    LTPError for a damaged run, unreadable files or another number of labels.
    """
    read_config(Path(checkpoint))  # its errors name the file
    has_manifest = any((Path(checkpoint) / name).is_file() for name in MANIFESTS)
    if has_manifest and (problems := verify_run(checkpoint)):
        raise LTPError(problems[0])
    weight_shapes(Path(checkpoint))
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint, dtype=torch.float32, use_safetensors=True)
    if not isinstance(model, LTPForSequenceClassification):
        model = LTPForSequenceClassification.from_base(model, PruningSettings(prune_mode="none"))
    if info and model.num_labels != info["num_labels"]:
        raise LTPError(f"{checkpoint}: has {model.num_labels} labels, the data have {info['num_labels']}")
    return model.eval()
