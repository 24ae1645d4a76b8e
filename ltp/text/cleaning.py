"""From a table as it was read to examples that fit the task: text, perhaps a second text, and a label.

Everything that would fail in a later stage is found here, and reported by table, row and value.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ltp.common.errors import LTPError
from ltp.settings.tasks import Task
from ltp.text.types import Table

if TYPE_CHECKING:
    import pandas as pd


MAX_CLASSES = 1000  # more distinct labels than this are text or scores taken for classes


def is_labelled(table: Table, task: Task) -> bool:
    """Whether a split has labels: GLUE's test splits lack the column, or hide it behind -1."""
    if task.label_column not in table.frame.columns:
        return False
    if task.kind in ("tokens", "spans"):  # lists, whose content is checked later
        return True
    return not all(label_text(value) in ("-1", None) for value in _distinct(table, task))


def with_labels(task: Task, train: Table) -> Task:
    """The task with its class names: its own, or else those that the training table declares or holds."""
    if not task.has_labels or task.labels is not None:
        return task
    expect_columns(train, task)
    names = train.label_names.get(task.label_column) or _found_labels(train, task)
    return replace(task, labels=tuple(names))


def clean(table: Table, task: Task) -> pd.DataFrame:
    """Columns ``text``, ``text_pair`` (pairs only) and ``label`` (int64 classes or float32 scores), all checked.

    Raises LTPError for missing columns, empty text, missing labels, and labels that the task does not have.
    """
    expect_columns(table, task)
    if table.frame.empty:
        raise LTPError(f"{table.name}: no rows; expected labelled examples")
    return clean_text(table, task).assign(label=_labels(table, task))


def clean_text(table: Table, task: Task) -> pd.DataFrame:
    """Columns ``text`` and ``text_pair`` (pairs only) of a table that need not have labels, checked.

    Raises LTPError for missing columns, no rows and empty text.
    """
    import pandas as pd

    expect_columns(table, task, labelled=False)
    if table.frame.empty:
        raise LTPError(f"{table.name}: no rows; expected texts")
    texts = [table.frame[column].tolist() for column in task.text_columns]
    for column, values in zip(task.text_columns, texts, strict=True):
        for row, value in enumerate(values, 1):
            if not (isinstance(value, str) and (value.strip() or task.may_lack_text)):
                raise not_text(value, f"{table.name}, row {row}: {column}")
            expect_characters(value, f"{table.name}, row {row}: {column}")
    return pd.DataFrame(dict(zip(("text", "text_pair"), texts, strict=False)))


def keys(examples: pd.DataFrame) -> pd.Series:
    """What makes two examples the same text: letters, but neither case nor white space."""
    parts = [examples[column] for column in ("text", "text_pair") if column in examples]
    key = _plain(parts[0])
    return key if len(parts) == 1 else key + "\t" + _plain(parts[1])


def _plain(texts: pd.Series) -> pd.Series:
    return texts.map(lambda text: " ".join(text.casefold().split()))


def expect_columns(table: Table, task: Task, labelled: bool = True) -> None:
    """Raise LTPError where a table lacks a column that the task names."""
    there = list(map(str, table.frame.columns))
    expected = [("text_columns", name) for name in task.text_columns]
    for key, column in [*expected, *([("label_column", task.label_column)] if labelled else [])]:
        if column not in there:
            raise LTPError(
                f"{table.name}: no column {column!r}, it has {', '.join(there)}; name the right one in {key}"
            )


def expect_characters(text: str, where: str) -> None:
    """Raise LTPError for a text with half a character, which neither a file nor a tokenizer takes."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise LTPError(f"{where} holds {text[error.start]!r}, half a character; decode it as UTF-8") from None


def not_text(value: Any, where: str) -> LTPError:
    """What is wrong with a value that should be a text."""
    if isinstance(value, str) or _is_missing(value):
        return LTPError(f"{where} is empty; give it text or remove the row")
    if hasattr(value, "__len__"):  # a list or an object of JSON Lines, an array of Parquet
        return LTPError(f"{where} holds {len(value)} values, expected one text; for pairs name two text_columns")
    return LTPError(f"{where} is {value!r}, expected text; name the right column in text_columns")


def _labels(table: Table, task: Task) -> Any:
    """The label column as numbers; each distinct value is looked at once."""
    import numpy as np

    read = _score if task.kind == "regression" else class_number
    values, numbers = table.frame[task.label_column].tolist(), {}
    declared = declared_names(table, task)
    for value in _distinct(table, task):
        try:
            numbers[value] = read(by_name(value, declared), task)
        except LTPError as error:
            row = next(row for row, other in enumerate(values, 1) if label_text(other) == label_text(value))
            raise LTPError(f"{table.name}, row {row}: {task.label_column} {error}") from None
    dtype = np.float32 if task.kind == "regression" else np.int64
    return np.array([numbers[value] for value in values], dtype=dtype)


def _distinct(table: Table, task: Task) -> list[Any]:
    """The different values of the label column. Raises LTPError where there are lists or objects among them."""
    try:
        return list(dict.fromkeys(table.frame[task.label_column].tolist()))
    except TypeError:
        raise LTPError(f"{table.name}: {task.label_column} holds lists or objects, expected one label a row") from None


def declared_names(table: Table, task: Task) -> Sequence[str]:
    """The names that a table declares for the numbers in its labels, where they are the task's; else none."""
    declared = table.label_names.get(task.label_column, ())
    return declared if set(declared) <= set(task.labels or ()) else ()


def by_name(value: Any, declared: Sequence[str]) -> Any:
    """The ``declared`` name for a class's number; without declared names the value as it is."""
    text = label_text(value)
    known = declared and text is not None and text.isdecimal() and int(text) < len(declared)
    return declared[int(text)] if known and text else value


def class_number(value: Any, task: Task) -> int:
    """Number of a class given by its name or its number. Names come first, so classes may be named 1 to 5."""
    names = task.labels or ()
    text = label_text(value)
    if text is None:
        raise LTPError("is missing; label the row or remove it")
    plain = [name.strip() for name in names]
    if text in plain:
        return plain.index(text)
    if text.isdecimal() and int(text) < len(names):
        return int(text)
    if text == "-1":
        raise LTPError("is -1, a hidden label; use a labelled split")
    shown = ", ".join(names[:10]) + ("…" if len(names) > 10 else "")
    raise LTPError(f"is {text!r}, expected one of {shown}; fix it, or name all classes in labels")


def _score(value: Any, task: Task) -> float:
    if _is_missing(value) or (isinstance(value, str) and not value.strip()):
        raise LTPError("is missing; label the row or remove it")
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, bool) or not math.isfinite(number):
        raise LTPError(f"is {value!r}, expected a number; for classes set kind: classification")
    return number


def _found_labels(table: Table, task: Task) -> list[str]:
    """Distinct labels of a table, in order: numbers by value, names by the alphabet."""
    names = sorted({text for text in map(label_text, _distinct(table, task)) if text is not None})
    if _all(int, names):
        names.sort(key=int)
    elif _all(float, names):
        odd = next(name for name in names if not _all(int, [name]))
        raise LTPError(
            f"{table.name}: {task.label_column} holds {odd}, which is no class; for scores set kind: regression"
        )
    expect_class_count(names, table, task)
    return names


def expect_class_count(names: Sequence[str], table: Table, task: Task) -> None:
    """Raise LTPError where the different labels of a table are too few or too many to be classes."""
    if not 2 <= len(names) <= MAX_CLASSES:
        raise LTPError(
            f"{table.name}: {task.label_column} has {len(names)} different labels, expected 2 to {MAX_CLASSES}; "
            "name the right column in label_column"
        )


def _all(kind: type, names: Iterable[str]) -> bool:
    try:
        return all(kind(name) is not None for name in names)
    except ValueError:
        return False


def label_text(value: Any) -> str | None:
    """A label as text: 1, 1.0 (pandas' way with gaps) and "1" are one label; None where there is none."""
    if _is_missing(value):
        return None
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip() or None


def _is_missing(value: Any) -> bool:
    return (
        value is None
        or (isinstance(value, float) and math.isnan(value))
        or type(value).__name__ in ("NAType", "NaTType")
    )
