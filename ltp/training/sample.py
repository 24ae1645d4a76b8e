"""A sample of the training split: the text on which thresholds are set, and probes fitted."""

from __future__ import annotations

import math
import random
from typing import Any

from torch import Tensor

from ltp.models.heads import LTPForTokenClassification
from ltp.models.modeling import LTPPreTrainedModel
from ltp.models.saliency import fit_saliency, lacks_saliency
from ltp.training.collator import pad, pad_token_labels

BATCH_TOKENS = 1 << 14  # in one forward pass, padding included
PROBE_TOKENS = 1 << 15  # that probes are fitted on, about
PROBE_EXAMPLES = 2000  # likewise, at most
PROBE_BATCH = 1 << 12  # tokens of one backward pass, padding included
PROBE_PAIRS = 1 << 19  # of tokens of a sentence in one: a layer keeps a number for each, in each head


def sample(split: Any, count: int, seed: int) -> list[dict[str, Any]]:
    """So many examples of a split at random, or all if there are no more; the same whenever the seed is."""
    rows = random.Random(seed).sample(range(len(split)), min(count, len(split)))
    columns = [name for name in split.column_names if name != "length"]
    return [{name: example[name] for name in columns} for example in split.select(rows)]


def batches(
    model: LTPPreTrainedModel, examples: list[dict[str, Any]], tokens: int = BATCH_TOKENS, pairs: float = math.inf
) -> list[dict[str, Tensor]]:
    """Examples as padded batches (B, N) of about so many ``tokens`` on the model's device, in their order.

    That of :func:`sample` is random, so that each batch is like the whole. ``pairs``: of tokens of one sentence, at
    most, but for a batch of one. Where each token has a label, labels are among the tensors.
    """
    longest = max(len(example["input_ids"]) for example in examples)
    size = max(1, int(min(tokens // longest, pairs / longest**2)))
    parts = [examples[start : start + size] for start in range(0, len(examples), size)]
    padded = [pad(part, model.config.pad_token_id) for part in parts]
    if isinstance(model, LTPForTokenClassification):
        padded = [{**batch, "labels": pad_token_labels(part)} for batch, part in zip(padded, parts, strict=True)]
    return [{name: values.to(model.device) for name, values in batch.items()} for batch in padded]


def learn_saliency(model: LTPPreTrainedModel, split: Any, seed: int) -> None:
    """Fit the probes of a score that needs them, where that has not been done, with the weights as they are."""
    if lacks_saliency(model):
        examples = sample(split, PROBE_EXAMPLES, seed)
        mean = sum(len(example["input_ids"]) for example in examples) / len(examples)
        fit_saliency(model, batches(model, examples[: round(PROBE_TOKENS / mean)], PROBE_BATCH, PROBE_PAIRS))
