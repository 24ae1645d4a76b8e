"""Files whose labels stand within the text: CoNLL's columns, and the JSON of SQuAD."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ltp.common.errors import LTPError
from ltp.common.io import first_line
from ltp.settings.tasks import Task

if TYPE_CHECKING:
    import pandas as pd

DOCUMENT_START = "-DOCSTART-"  # the word of CoNLL-2003's lines between two documents


def read_columns(path: Path, task: Task) -> pd.DataFrame:
    """CoNLL's form: a line a word, its labels in columns beside it, a blank line between sentences.

    Columns are separated by tabs or else by blanks. The word is the first; the label is the last, or the one whose
    number (from 1) the task's ``label_column`` is. One row a sentence: the list of its words and that of its labels.
    Raises LTPError naming the line.
    """
    import pandas as pd

    sentences: list[tuple[list[str], list[str]]] = [([], [])]
    column = int(task.label_column) - 1 if task.label_column.isdecimal() else -1
    expected = 0
    with path.open(encoding="utf-8-sig") as stream:
        for number, line in enumerate(stream, 1):
            cells = line.rstrip("\r\n").split("\t") if "\t" in line else line.split()
            if not "".join(cells).strip() or cells[0] == DOCUMENT_START:
                if sentences[-1][0]:
                    sentences.append(([], []))
                continue
            expected = expected or max(2, len(cells), column + 1)
            if len(cells) != expected:
                raise LTPError(
                    f"{path}, line {number}: has {len(cells)} columns, expected {expected}: a word, its labels, and a "
                    "blank line between sentences"
                )
            sentences[-1][0].append(cells[0])
            sentences[-1][1].append(cells[column])
    rows = [sentence for sentence in sentences if sentence[0]]
    return pd.DataFrame(rows, columns=[task.text_columns[0], task.label_column])


def read_squad(path: Path, task: Task) -> pd.DataFrame:
    """SQuAD's form, 1.1 or 2.0 (https://rajpurkar.github.io/SQuAD-explorer): articles, paragraphs, questions.

    One row a question, in the columns of the Hub's ``squad_v2``: title, question, context and answers, a mapping of
    ``text`` and ``answer_start`` to lists. Raises LTPError naming what is missing.
    """
    import pandas as pd

    try:
        content: Any = json.loads(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError:
        raise
    except ValueError as error:
        raise LTPError(f"{path}: not JSON ({first_line(error)}); expected the form of SQuAD, or {_LINES}") from None
    question, context = task.text_columns
    rows = []
    try:
        for article in content["data"]:
            for paragraph in article["paragraphs"]:
                for asked in paragraph["qas"]:
                    answers = [] if asked.get("is_impossible") else asked["answers"]
                    rows.append(
                        {
                            "title": article.get("title", ""),
                            question: asked["question"],
                            context: paragraph["context"],
                            task.label_column: {
                                "text": [answer["text"] for answer in answers],
                                "answer_start": [answer["answer_start"] for answer in answers],
                            },
                        }
                    )
    except (AttributeError, KeyError, TypeError) as error:
        missing = f"no {error}" if isinstance(error, KeyError) else "a value of the wrong type"
        where = f", question {len(rows) + 1}" if rows else ""
        raise LTPError(
            f"{path}{where}: {missing}; expected SQuAD's data, paragraphs, context, qas, question and answers, or "
            f"{_LINES}"
        ) from None
    return pd.DataFrame(rows, columns=["title", question, context, task.label_column])


_LINES = "JSON Lines named .jsonl"
