"""Milliseconds of the original beside those of the pruned model, on this machine."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ltp.benchmark.backends import REFERENCE, BackendInputs
from ltp.benchmark.comparison import PRUNED_REFERENCE, compare
from ltp.benchmark.texts import Text
from ltp.models.modeling import LTPForSequenceClassification
from ltp.oneshot.distil import token_columns
from ltp.oneshot.original import Original
from ltp.oneshot.texts import Texts

REPEATS = 3
UNPRUNED = "ltp-dense"  # the packed model without pruning: separates the gain of pruning from that of packing


def measure(original: Original, model: LTPForSequenceClassification, texts: Texts, timed: int) -> list[dict[str, Any]]:
    """Two rows, for batches of one text and of ``timed``: milliseconds of both models, median ratio of passes in turn.

    The original runs as its users run it: Hugging Face's own class, padded to the longest of the batch. ``by_pruning``
    is the part of the ratio that is over the same packed computing without pruning.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows = token_columns(texts.rows, range(min(timed, len(texts.rows))))
    text = Text(original.name, texts.max_length, rows)
    with tempfile.TemporaryDirectory() as folder:
        inputs = BackendInputs(
            "budget", model, original.model, Path(folder), torch.get_num_threads(), device, torch.float32
        )
        sizes, backends = (1, len(rows)), [UNPRUNED, PRUNED_REFERENCE]
        return [_row(found) for found in compare(original.name, [inputs], [text], sizes, REPEATS, backends)]


def _row(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    found = {row["backend"]: row for row in rows}
    original, pruned = found[REFERENCE], found[PRUNED_REFERENCE]
    names = ("batch", "threads", "speedup", "sentences", "repeats", "machine")
    return {
        **{name: pruned[name] for name in names},
        "original_ms": original["median_ms"], "pruned_ms": pruned["median_ms"],
        "by_pruning": pruned["speedup_over_unpruned"],
    }  # fmt: skip
