"""The fine-tuned model that is to be pruned: loaded and checked before any work."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from ltp.common.errors import LTPError
from ltp.models.layouts.registry import layout_class
from ltp.models.loading import load_complete
from ltp.results.checkpoint import CLASSIFIERS, WEIGHTS, positions, read_config, weight_shapes
from ltp.text.encoder import resolve_model
from ltp.text.tokenizer import load_tokenizer

CLASSIFIER = "ForSequenceClassification"
# Vocabularies are padded to a round number of embeddings, which adds less than a hundredth.
LEAST_SHARE_OF_EMBEDDINGS = 0.98


@dataclass(frozen=True)
class Original:
    """A classifier in evaluation mode and float32, its fast tokenizer, and how many tokens it takes.

    ``folder`` is where it was loaded from; None for one from memory.
    """

    model: PreTrainedModel
    tokenizer: Any
    name: str
    limit: int
    folder: Path | None = None

    @property
    def labels(self) -> tuple[str, ...] | None:
        """The names of its classes; None where it gives one number."""
        config = self.model.config
        return None if config.num_labels == 1 else tuple(str(config.id2label[i]) for i in range(config.num_labels))


def load_original(model: str | Path | PreTrainedModel, tokenizer: Any = None) -> Original:
    """The model, from a folder, the Hub or memory; what comes from memory is copied and stays as it is.

    Raises LTPError, in one line, for an architecture that is not supported, a model without a classifier or some of its
    weights, one with several answers for a text, and a tokenizer of another model.
    """
    folder = None
    if isinstance(model, (str, Path)):
        folder = resolve_model(str(model))
        _check_head(folder)
        tokenizer = load_tokenizer(folder) if tokenizer is None else copy.deepcopy(tokenizer)
        loaded = load_complete(AutoModelForSequenceClassification, folder, dtype=torch.float32, use_safetensors=True)
        name = folder.resolve().name if Path(model).exists() else str(model)
    else:
        tokenizer = copy.deepcopy(tokenizer)
        if not isinstance(model, PreTrainedModel):
            raise LTPError(
                f"model: {type(model).__name__} is none of transformers' own models; expected one (of PEFT: what "
                "merge_and_unload() returns)"
            )
        if not type(model).__name__.endswith(CLASSIFIER):
            raise LTPError(f"model: {type(model).__name__} has no classifier; expected a …{CLASSIFIER}")
        loaded, name = copy.deepcopy(model).float(), Path(model.config.name_or_path).name or type(model).__name__
    layout_class(loaded.config.model_type)  # raises for an architecture that has none
    several = loaded.config.problem_type == "regression" and loaded.config.num_labels > 1
    if several or loaded.config.problem_type == "multi_label_classification":
        what = "numbers" if several else "labels"
        raise LTPError(f"model: {name} gives several {what} for a text; expected one that gives one class or number")
    if missing := sorted(set(range(loaded.config.num_labels)) - set(loaded.config.id2label)):
        raise LTPError(f"model: {name} has no name for class {missing[0]} in id2label; expected one for each, from 0")
    if not getattr(tokenizer, "is_fast", False):
        raise LTPError(f"tokenizer: {type(tokenizer).__name__} is no fast tokenizer; expected the model's own fast one")
    _check_tokenizer(loaded.config, tokenizer, name)
    limit = min(positions(loaded.config.to_dict()), tokenizer.model_max_length)
    return Original(loaded.eval(), tokenizer, name, int(limit), folder)


def _check_head(folder: Path) -> None:
    stated = [str(name) for name in read_config(folder).get("architectures") or []]
    if stated and not any(name.endswith(CLASSIFIER) for name in stated):
        raise LTPError(
            f"{folder / 'config.json'}: architecture {stated[0]} has no classifier; expected a …{CLASSIFIER}"
        )
    if not set(CLASSIFIERS) & set(weight_shapes(folder)):
        raise LTPError(
            f"{folder}: no classifier in {WEIGHTS} ({' or '.join(CLASSIFIERS)}); expected a model that was fine-tuned "
            "to classify, not an encoder alone"
        )


def _check_tokenizer(config: Any, tokenizer: Any, name: str) -> None:
    """Raise LTPError where the tokenizer's vocabulary or padding is not the model's."""
    size, rows = len(tokenizer), config.vocab_size
    if not LEAST_SHARE_OF_EMBEDDINGS * rows <= size <= rows:
        raise LTPError(f"tokenizer: has {size} word pieces, {name} embeds {rows}; expected the model's own tokenizer")
    if config.pad_token_id is not None and tokenizer.pad_token_id != config.pad_token_id:
        raise LTPError(
            f"tokenizer: pads with {tokenizer.pad_token_id}, {name} with {config.pad_token_id}; expected the model's "
            "own tokenizer"
        )
