"""Loading a saved model, with or without pruning."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from ltp.common.errors import LTPError
from ltp.models.heads import LTPForQuestionAnswering, LTPForTokenClassification
from ltp.models.modeling import LTPForSequenceClassification, LTPPreTrainedModel
from ltp.models.saliency import lacks_saliency
from ltp.results.checkpoint import read_config, weight_shapes
from ltp.results.manifest import MANIFESTS
from ltp.results.verify import verify_run
from ltp.settings.pruning import HEADS, SALIENCY, PruningSettings, head_of

# Head → what loads a model with it, and the class of those that prune.
MODELS: dict[str, tuple[Any, type[LTPPreTrainedModel]]] = {
    "SequenceClassification": (AutoModelForSequenceClassification, LTPForSequenceClassification),
    "TokenClassification": (AutoModelForTokenClassification, LTPForTokenClassification),
    "QuestionAnswering": (AutoModelForQuestionAnswering, LTPForQuestionAnswering),
}


def load_pruned(checkpoint: str | Path, info: Mapping[str, Any] | None = None) -> LTPPreTrainedModel:
    """A saved model in float32 and evaluation mode; a plain Hugging Face one is wrapped without pruning.

    ``checkpoint`` is a run or a model folder, ``info`` the task.json whose kind and number of labels it must have.
    Raises LTPError for a damaged run, unreadable files, another kind of model, another number of labels, and a score
    whose probes have not been fitted.
    """
    head = head_of(read_config(Path(checkpoint)))  # its errors name the file
    has_manifest = any((Path(checkpoint) / name).is_file() for name in MANIFESTS)
    if has_manifest and (problems := verify_run(checkpoint)):
        raise LTPError(problems[0])
    weight_shapes(Path(checkpoint))
    loader, pruned = MODELS[head]
    model = load_complete(loader, Path(checkpoint), dtype=torch.float32, use_safetensors=True)
    if not isinstance(model, pruned):
        model = pruned.from_base(model, PruningSettings(prune_mode="none"))
    expect_kind(checkpoint, head, info)
    if info and model.num_labels != info["num_labels"]:
        raise LTPError(f"{checkpoint}: has {model.num_labels} labels, the data have {info['num_labels']}")
    model, rule = model.eval(), model.rule()
    if any(rule.needs_scores(layer) for layer in range(model.layers)) and lacks_saliency(model):
        raise LTPError(f"{checkpoint}: is not trained, its {SALIENCY} are all 0; run ltp train")
    return model


def load_complete(loader: Any, checkpoint: Path, **options: Any) -> Any:
    """`from_pretrained`. Raises LTPError where weights do not fit or are missing, which the library draws at random."""
    model, about = loader.from_pretrained(
        checkpoint, output_loading_info=True, **{**options, "ignore_mismatched_sizes": True}
    )
    if unfit := sorted(about["mismatched_keys"]):
        name, saved, wanted = unfit[0]
        raise LTPError(
            f"{checkpoint}: {name} has the shape {list(saved)}, config.json asks for {list(wanted)}; expected both "
            "of one model, saved by this version"
        )
    if missing := sorted(about["missing_keys"]):
        if missing == [SALIENCY]:
            raise LTPError(
                f"{checkpoint}: scoring_mode is 'saliency' in config.json, but the weights have no {SALIENCY}; "
                "expected what ltp convert writes and ltp train trains"
            )
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise LTPError(
            f"{checkpoint}: has no weights {missing[0]}{more}; expected a fine-tuned model, not an encoder alone"
        )
    return model


def expect_kind(checkpoint: str | Path, head: str, info: Mapping[str, Any] | None) -> None:
    """Raise LTPError where a model with this head is not for the kind of task that task.json names."""
    if info and info["kind"] not in HEADS[head]:
        raise LTPError(
            f"{checkpoint}: is a model for {head}, the data are of kind {info['kind']}; choose another of the two"
        )
