"""TODO"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Table:
    """One split as it was read: its rows, a name for messages, and the class names that the source declares."""

    name: str
    frame: pd.DataFrame
    label_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # column → names, in order


@dataclass(frozen=True)
class Source:
    """Tables by split, and where they came from (goes into task.json). A source in one piece has only `train`."""

    tables: dict[str, Table]
    origin: dict[str, Any]


# Our name of a split → the stems that files of it go by. GLUE's download says dev; msr_paraphrase_* are MRPC's own.
_STEMS = {
    "train": ("train", "msr_paraphrase_train"),
    "validation": ("validation", "dev", "valid", "val"),
    "validation_matched": ("validation_matched", "dev_matched"),
    "validation_mismatched": ("validation_mismatched", "dev_mismatched"),
    "test": ("test", "msr_paraphrase_test"),
}


def split_name(stem: str) -> str:
    """Our name of a split: dev, valid and val are validation; a name that is not known stays."""
    return next((split for split, stems in _STEMS.items() if stem in stems), stem)


def table_of(dataset: Any, name: str) -> Table:
    """A split of a `datasets.Dataset` as a table, with the class names that it declares."""
    import datasets

    declared = {
        column: tuple(feature.names)
        for column, feature in dataset.features.items()
        if isinstance(feature, datasets.ClassLabel)
    }
    return Table(name, dataset.with_format(None).to_pandas(), declared)
