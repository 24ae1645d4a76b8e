"""From a table of words with labels, or of questions with passages, to checked examples.

The tables are of the Hub's form (``conll2003``, ``squad_v2``), whichever source they come from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from numbers import Integral
from typing import TYPE_CHECKING, Any

from ltp.common.errors import LTPError
from ltp.settings.tasks import Task
from ltp.text.cleaning import (
    by_name,
    class_number,
    declared_names,
    expect_characters,
    expect_class_count,
    expect_columns,
    label_text,
    not_text,
)
from ltp.text.types import Table

if TYPE_CHECKING:
    import pandas as pd

MIN_ARTICLES = 10  # a text of fewer articles is split by paragraph


def with_word_labels(task: Task, train: Table) -> Task:
    """The task with its label names: its own, or else those that the training table declares or holds, O first."""
    if task.labels is not None:
        return task
    _expect_rows(train, task)
    declared = train.label_names.get(task.label_column)
    if declared:
        return replace(task, labels=tuple(declared))
    found = {text for tags in _lists(train, task.label_column) for text in as_iob2(list(map(_tag, tags)))}
    names = sorted(found - {""}, key=lambda name: (name != "O", name[2:], name))
    expect_class_count(names, train, task)
    return replace(task, labels=tuple(names))


def clean_words(table: Table, task: Task) -> pd.DataFrame:
    """Columns ``text`` (the words with a blank between them), ``words`` (lists) and ``label`` (lists of numbers).

    Entities are read in IOB1 and IOB2 alike and stored as IOB2 (:func:`as_iob2`), where the labels have B- for each I-.
    Raises LTPError for missing columns, empty words, unknown labels, and rows of more or fewer labels than words.
    """
    import pandas as pd

    _expect_rows(table, task)
    names = task.labels or ()
    begins = all("B-" + name[2:] in names for name in names if name.startswith("I-"))
    texts, words, labels = [], [], []
    declared = declared_names(table, task)
    columns = zip(_lists(table, task.text_columns[0]), _lists(table, task.label_column), strict=True)
    for row, (tokens, tags) in enumerate(columns, 1):
        where = f"{table.name}, row {row}"
        if not tokens or len(tokens) != len(tags):
            raise LTPError(f"{where}: {len(tokens)} words and {len(tags)} labels; expected as many, and at least one")
        for word in tokens:
            if not isinstance(word, str) or not word.strip():
                raise not_text(word, f"{where}: a word of {task.text_columns[0]}")
            if len(word.split()) > 1:
                raise LTPError(f"{where}: {word!r:.60} is several words; expected one an entry, with a label each")
        tokens = [word.strip() for word in tokens]
        expect_characters(" ".join(tokens), f"{where}: {task.text_columns[0]}")
        named = [_name(by_name(tag, declared), names) for tag in tags]
        try:
            known = [class_number(name, task) for name in (as_iob2(named) if begins else named)]
        except LTPError as error:
            raise LTPError(f"{where}: {task.label_column} {error}") from None
        texts.append(" ".join(tokens))
        words.append(tokens)
        labels.append(known)
    return pd.DataFrame({"text": texts, "words": words, "label": labels})


def as_iob2(tags: Sequence[str]) -> list[str]:
    """A sentence's tags in IOB2, where every entity begins with B-: an I- that begins one, as in IOB1, becomes B-."""
    fixed, before = [], ""
    for tag in tags:
        inside = tag.startswith("I-") and before[:2] in ("B-", "I-") and before[2:] == tag[2:]
        fixed.append("B-" + tag[2:] if tag.startswith("I-") and not inside else tag)
        before = tag
    return fixed


def clean_questions(table: Table, task: Task) -> pd.DataFrame:
    """Columns ``text`` (question), ``text_pair`` (passage), ``label`` (answers: lists of (first character, text)).

    No answers stand for a question that the passage does not answer. ``group`` is the article where there are at least
    MIN_ARTICLES, else the passage: what must not be in two splits. Raises LTPError for missing columns, empty text and
    answers that do not stand where they say.
    """
    import pandas as pd

    _expect_rows(table, task)
    question, context = (table.frame[column].tolist() for column in task.text_columns)
    labels = []
    for row, (asked, passage, found) in enumerate(
        zip(question, context, table.frame[task.label_column].tolist(), strict=True), 1
    ):
        where = f"{table.name}, row {row}"
        for column, value in zip(task.text_columns, (asked, passage), strict=True):
            if not isinstance(value, str) or not value.strip():
                raise not_text(value, f"{where}: {column}")
            expect_characters(value, f"{where}: {column}")
        labels.append(_answers(found, passage, f"{where}: {task.label_column}"))
    titles = table.frame["title"].tolist() if "title" in table.frame.columns else [None] * len(context)
    titles = [title if isinstance(title, str) and title else None for title in titles]
    groups = context
    if len(set(titles) - {None}) >= MIN_ARTICLES:
        groups = [passage if title is None else title for title, passage in zip(titles, context, strict=True)]
    return pd.DataFrame({"text": question, "text_pair": context, "label": labels, "group": groups})


def _answers(found: Any, passage: str, where: str) -> list[tuple[int, str]]:
    if not isinstance(found, Mapping) or not {"text", "answer_start"} <= set(found):
        raise LTPError(f"{where} is {found!r:.60}, expected text and answer_start, a list each; no answers: both empty")
    if any(isinstance(part, str) or not hasattr(part, "__len__") for part in (found["text"], found["answer_start"])):
        raise LTPError(f"{where} is {found!r:.60}, expected a list each of text and answer_start")
    texts, starts = list(found["text"]), list(found["answer_start"])
    if len(texts) != len(starts):
        raise LTPError(f"{where} has {len(texts)} text and {len(starts)} answer_start; expected as many")
    for text, start in zip(texts, starts, strict=True):
        if not isinstance(text, str) or not isinstance(start, Integral):
            raise LTPError(f"{where}: {text!r:.60} at {start!r:.20}, expected a text and a whole number of characters")
        begin = int(start)
        if not text or begin < 0 or passage[begin : begin + len(text)] != text:
            raise LTPError(f"{where}: {text!r:.60} is not at character {start} of the passage; fix answer_start")
    return list(zip(map(int, starts), texts, strict=True))


def _expect_rows(table: Table, task: Task) -> None:
    expect_columns(table, task)
    if table.frame.empty:
        raise LTPError(f"{table.name}: no rows; expected labelled examples")


def _lists(table: Table, column: str) -> Iterable[list[Any]]:
    """The lists of a column, one a row. Raises LTPError for a value that is none."""
    for row, value in enumerate(table.frame[column].tolist(), 1):
        if isinstance(value, str) or not hasattr(value, "__len__"):
            raise LTPError(f"{table.name}, row {row}: {column} is {value!r:.60}, expected a list, one entry a word")
        yield list(value)


def _tag(value: Any) -> str:
    return label_text(value) or ""


def _name(tag: Any, names: Sequence[str]) -> str:
    """The name of a tag, which may be given by its number."""
    text = _tag(tag)
    return names[int(text)] if text not in names and text.isdecimal() and int(text) < len(names) else text
