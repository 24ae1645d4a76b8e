"""What a model's outputs on a split say, by the kind of the task: logits, loss, and predictions beside the labels.

Shapes: S examples, N tokens of the longest, C labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from transformers import Trainer

from ltp.models.heads import IGNORED, PADDING_LOGIT
from ltp.models.spans import best_span


def read_outputs(outputs: Any, split: Any, kind: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits, and the tokens that entered each layer's attention and feed-forward (S, L), of the Trainer's outputs.

    Logits are (S, C); of kinds with an output for each token (S, N, C), where spans have PADDING_LOGIT beyond an
    example's own tokens.
    """
    *logits, attention_tokens, ffn_tokens = outputs
    if kind != "spans":
        return logits[0], attention_tokens, ffn_tokens
    stacked = np.stack(logits, -1)
    own = np.arange(stacked.shape[1]) < np.asarray(split["length"])[:, None]
    return np.where(own[..., None], stacked, PADDING_LOGIT).astype(stacked.dtype), attention_tokens, ffn_tokens


def mean_loss(kind: str, logits: np.ndarray, labels: Any) -> float:
    """The exact mean over examples, or over labelled tokens; the library's weights the last, smaller batch too much."""
    outputs = torch.from_numpy(logits)
    if kind == "spans":
        sides = zip(outputs.unbind(-1), labels, strict=True)
        return float(
            np.mean([functional.cross_entropy(side, torch.from_numpy(wanted)).item() for side, wanted in sides])
        )
    wanted = torch.from_numpy(labels)
    if kind == "regression":
        return functional.mse_loss(outputs[:, 0], wanted).item()
    if kind == "tokens":
        return functional.cross_entropy(outputs.flatten(0, 1), wanted.flatten(), ignore_index=IGNORED).item()
    return functional.cross_entropy(outputs, wanted).item()


def read_predictions(kind: str, logits: np.ndarray, labels: Any, split: Any, info: Mapping[str, Any]) -> dict[str, Any]:
    """``labels`` and ``predictions``, one each an example: classes or scores as numpy arrays, else lists.

    Of kind tokens they are the names of all words' labels; words beyond ``max_length`` are predicted as O. Of kind
    spans, the right answers, and the answer found, empty for none.
    """
    if kind == "tokens":
        return _word_labels(logits, split, info["label_names"])
    if kind == "spans":
        found = [_answer(row, example) for row, example in zip(logits, split, strict=True)]
        return {"labels": list(split["answers"]), "predictions": found}
    return {"labels": labels, "predictions": as_predictions(logits, kind == "regression")}


def as_predictions(logits: np.ndarray, regression: bool) -> np.ndarray:
    """(S,) classes, or values for a regression, from logits (S, C)."""
    return logits[:, 0] if regression else logits.argmax(-1)


def _word_labels(logits: np.ndarray, split: Any, names: list[str]) -> dict[str, Any]:
    labels, predictions = [], []
    for row, example in zip(logits.argmax(-1), split, strict=True):
        found = ["O"] * len(example["word_labels"])
        for token, word in enumerate(example["word_ids"]):
            if word >= 0:
                found[word] = names[row[token]]
        labels.append([names[number] for number in example["word_labels"]])
        predictions.append(found)
    return {"labels": labels, "predictions": predictions}


def _answer(logits: np.ndarray, example: Mapping[str, Any]) -> str:
    starts, ends = example["char_starts"], example["char_ends"]
    own = logits[: len(starts)]
    span = best_span(own[:, 0], own[:, 1], np.asarray(starts) >= 0)
    return "" if span is None else example["text_pair"][starts[span[0]] : ends[span[1]]]


def predict_train(trainer: Trainer, split: Any, kind: str) -> np.ndarray:
    """What distillation learns from: the outputs (S, C) on the training split, in its order.

    Where each token has outputs, those of all examples' own tokens, one after the other (tokens, C).
    """
    logits, _, _ = read_outputs(trainer.predict(split, ignore_keys=[]).predictions, split, kind)
    if kind not in ("tokens", "spans"):
        return logits
    return np.concatenate([row[:length] for row, length in zip(logits, split["length"], strict=True)])
