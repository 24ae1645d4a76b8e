"""lengths.csv: what sentences of each length cost in each method's operating point, right and wrong answers apart.

Lengths are in tokens, as the model read the test sentences. They are divided into at most BINS ranges, the same for all
methods of a task, with about as many sentences in each; where many sentences share a length, as where texts are cut,
it is a range of its own. Runs of early versions did not record what each sentence cost, and have no rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from ltp.analysis.csv_files import is_expected, read_rows
from ltp.analysis.ratios import exact_match
from ltp.analysis.resample import Array
from ltp.analysis.study import Setting, Study
from ltp.results.run import read_predictions

LENGTHS = "lengths.csv"
BINS = 6
ANSWERS = ("right", "wrong")  # of a regression there is one kind, ``any``


@dataclass
class LengthRow:
    """The test sentences of a range of lengths that a setting got right, or wrong, pooled over its seeds."""

    task: str
    model: str
    method: str
    setting: str
    shortest: int  # tokens; the range includes both ends
    longest: int
    answer: str  # right, wrong; any: a regression
    seeds: int
    examples: int  # of all seeds together
    mean_length: float
    relative_flops: float  # of the unpruned model on the same sentence; mean over sentences
    relative_flops_sd: float | None  # over sentences
    validation_relative_flops: float  # of the setting on the validation split, by which it was picked


def length_rows(study: Study) -> list[LengthRow]:
    """The rows of a study: dense, and each method's operating point or, without one, its best on validation.

    Raises LTPError where predictions are damaged.
    """
    settings = [study.dense] if study.dense else []
    rows: list[LengthRow] = []
    ranges: list[tuple[int, int]] = []
    for setting in [*settings, *study.representatives()]:
        found = [read_predictions(run.directory)["test"] for run in setting.runs]
        if not all("relative_flops" in columns for columns in found):
            continue
        labels, predictions, *costs = (
            list(chain.from_iterable(columns[name] for columns in found))
            for name in ("labels", "predictions", "lengths", "relative_flops")
        )
        lengths, shares = map(np.array, costs)
        ranges = ranges or length_ranges(lengths)
        kinds = {"any": np.full(len(labels), True)}
        if not isinstance(labels[0], float):
            right = np.array([_is_right(*pair) for pair in zip(labels, predictions, strict=True)])
            kinds = dict(zip(ANSWERS, (right, ~right), strict=True))
        for low, high in ranges:
            within = (lengths >= low) & (lengths <= high)
            rows += [
                _row(study, setting, (low, high), answer, lengths[within & chosen], shares[within & chosen])
                for answer, chosen in kinds.items()
                if (within & chosen).any()
            ]
    return rows


def _is_right(label: Any, prediction: Any) -> bool:
    """Whether a prediction is the class, all labels of a sentence's words, or one of a question's answers."""
    if isinstance(prediction, str):
        return exact_match(label, prediction)[0] == 1.0
    return bool(prediction == label)


def _row(
    study: Study, setting: Setting, ends: tuple[int, int], answer: str, lengths: Array, shares: Array
) -> LengthRow:
    return LengthRow(
        study.task,
        study.model,
        setting.method,
        setting.label,
        *ends,
        answer,
        len(setting.runs),
        examples=len(lengths),
        mean_length=float(lengths.mean()),
        relative_flops=float(shares.mean()),
        relative_flops_sd=float(shares.std(ddof=1)) if len(shares) > 1 else None,
        validation_relative_flops=setting.flops("validation"),
    )


def length_ranges(lengths: Sequence[int] | Array, bins: int = BINS) -> list[tuple[int, int]]:
    """At most ``bins`` ranges (shortest, longest) that hold all lengths, about as many sentences in each."""
    values, counts = np.unique(np.asarray(lengths), return_counts=True)
    ranges: list[tuple[int, int]] = []
    held, left, start = 0, counts.sum(), 0
    for place, count in enumerate(counts):
        held += count
        if held * (bins - len(ranges)) >= left:  # an equal part of what is left, so the last range ends with the last
            ranges.append((int(values[start]), int(values[place])))
            held, left, start = 0, left - held, place + 1
    return ranges


def read_lengths(folder: Path) -> list[LengthRow]:
    """The rows of lengths.csv in a folder of tables; none where an early version made the tables.

    Raises LTPError where the file is damaged or was removed.
    """
    path = folder / LENGTHS
    return read_rows(path, LengthRow) if is_expected(path) else []
