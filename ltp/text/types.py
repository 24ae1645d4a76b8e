"""Labelled text as it was read: tables by split, and where they came from."""

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


def table_of(dataset: Any, name: str) -> Table:
    """A split of a `datasets.Dataset` as a table, with the class names that it declares."""
    import datasets

    inner = {column: getattr(feature, "feature", feature) for column, feature in dataset.features.items()}  # of lists
    declared = {
        column: tuple(feature.names) for column, feature in inner.items() if isinstance(feature, datasets.ClassLabel)
    }
    return Table(name, dataset.with_format(None).to_pandas(), declared)
