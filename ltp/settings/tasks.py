"""What a task is: its text columns, its labels and how it is scored. One table; custom tasks enter as data.

The GLUE rows follow the benchmark's own definition (Wang et al., 2019, https://gluebenchmark.com) and the column
names of the Hub's ``nyu-mll/glue``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ltp.common.errors import LTPError

CLASSIFICATION_METRICS = ("accuracy", "f1", "macro_f1", "matthews")
REGRESSION_METRICS = ("pearson", "spearman")
TOKEN_METRICS = ("entity_f1", "token_accuracy")
SPAN_METRICS = ("answer_f1", "exact_match")
# Kind of a task → the metrics that score it. Those of `tokens` have a label for each word of a text (CoNLL's form),
# those of `spans` a question and a passage that holds its answer, or none (SQuAD 2.0's form).
METRICS_OF = {
    "classification": CLASSIFICATION_METRICS,
    "regression": REGRESSION_METRICS,
    "tokens": TOKEN_METRICS,
    "spans": SPAN_METRICS,
}
KINDS = tuple(METRICS_OF)
# `mean` is the mean of the others in a task's list, as GLUE reports pairs of metrics.
METRICS = (*CLASSIFICATION_METRICS, *REGRESSION_METRICS, *TOKEN_METRICS, *SPAN_METRICS, "mean")
# Metrics of a task that names none; `mean` or else the first is its primary one. And the columns of a custom task of
# a kind for which they have usual names: the Hub's.
DEFAULT_METRICS = {
    "classification": ("accuracy",),
    "regression": ("pearson", "spearman", "mean"),
    "tokens": TOKEN_METRICS,
    "spans": SPAN_METRICS,
}
DEFAULT_COLUMNS = {"tokens": (("tokens",), "ner_tags"), "spans": (("question", "context"), "answers")}


@dataclass(frozen=True)
class Task:
    """A labelled text task.

    ``labels`` are the class names in the order of their numbers; None for regression and spans, and for a custom task
    whose labels are to be read off its training split. ``primary_metric`` is what operating points are picked by.
    """

    name: str
    text_columns: tuple[str, ...]
    label_column: str = "label"
    kind: str = "classification"
    labels: tuple[str, ...] | None = None
    metrics: tuple[str, ...] = ("accuracy",)
    primary_metric: str = "accuracy"
    is_glue: bool = False
    validation_split: str = "validation"
    mismatched_split: str | None = None  # MNLI's second validation split: other genres than the training text's
    may_lack_text: bool = False  # GLUE's QQP has pairs with an empty question; the original trains on them too
    download_folder: str | None = None  # folder of GLUE's original download
    download_columns: tuple[tuple[str, str], ...] = ()  # (column of the original download, column of this table)
    download_header: tuple[str, ...] | None = None  # for the one file of the download that has no header line

    def __post_init__(self) -> None:
        _check(self)

    @property
    def is_pair(self) -> bool:
        """Whether an example is two texts."""
        return len(self.text_columns) == 2

    @property
    def has_labels(self) -> bool:
        """Whether what is predicted is one of several named classes."""
        return self.kind in ("classification", "tokens")

    @property
    def num_labels(self) -> int | None:
        """Width of the classifier: 1 for regression, 2 for spans; None while labels are to be read off the data."""
        if not self.has_labels:
            return 1 if self.kind == "regression" else 2  # of an answer, its first and its last token
        return len(self.labels) if self.labels is not None else None


def _check(task: Task) -> None:
    """Raise LTPError for a task that contradicts itself."""
    name = task.name
    if not 1 <= len(task.text_columns) <= 2:
        raise LTPError(
            f"text_columns: {list(task.text_columns)} of task {name}; expected one column, or two for a task of pairs"
        )
    if len(set(task.text_columns)) != len(task.text_columns) or task.label_column in task.text_columns:
        columns = [*task.text_columns, task.label_column]
        raise LTPError(f"text_columns: task {name} names a column twice: {columns}; expected different columns")
    if task.kind not in KINDS:
        raise LTPError(f"kind: {task.kind!r} of task {name} is not one of {', '.join(KINDS)}")
    if (task.kind == "tokens" and task.is_pair) or (task.kind == "spans" and not task.is_pair):
        due = "one column, of words" if task.kind == "tokens" else "two columns, of questions and of passages"
        raise LTPError(f"text_columns: {list(task.text_columns)} of task {name}, kind {task.kind}; expected {due}")
    if task.labels is not None:
        if not task.has_labels:
            what = "a regression" if task.kind == "regression" else "of kind spans"
            raise LTPError(f"labels: task {name} is {what}; leave labels out, or set kind: classification")
        if len(task.labels) < 2 or len(set(task.labels)) != len(task.labels):
            raise LTPError(f"labels: {list(task.labels)} of task {name}; expected two or more different names")
    fitting = METRICS_OF[task.kind]
    for metric in task.metrics:
        if metric not in METRICS:
            raise LTPError(f"metrics: {metric!r} of task {name} is unknown; expected some of {', '.join(METRICS)}")
        if metric not in (*fitting, "mean"):
            what = f"a {task.kind}" if task.kind in ("classification", "regression") else f"of kind {task.kind}"
            raise LTPError(f"metrics: {metric} does not fit task {name}, {what}; choose from {', '.join(fitting)}")
    if not set(task.metrics) - {"mean"} or len(set(task.metrics)) != len(task.metrics):
        raise LTPError(f"metrics: {list(task.metrics)} of task {name}; expected different ones, not `mean` alone")
    if "f1" in task.metrics and task.labels is not None and len(task.labels) != 2:
        raise LTPError(f"metrics: f1 of task {name} needs two labels, it has {len(task.labels)}; use macro_f1")
    if task.primary_metric not in task.metrics:
        raise LTPError(f"primary_metric: {task.primary_metric!r} of task {name} is not in {list(task.metrics)}")


def _glue(name: str, folder: str, columns: tuple[str, ...], labels: tuple[str, ...] | None, **other: Any) -> Task:
    return Task(name, columns, labels=labels, is_glue=True, download_folder=folder, **other)


_SENTENCE, _PAIR = ("sentence",), ("sentence1", "sentence2")
_BOTH = {"metrics": ("accuracy", "f1", "mean"), "primary_metric": "mean"}
_ENTAILMENT = ("entailment", "not_entailment")
_SENTIMENT = ("negative", "positive")
_MRPC_COLUMNS = (("Quality", "label"), ("#1 String", "sentence1"), ("#2 String", "sentence2"))

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        _glue("rte", "RTE", _PAIR, _ENTAILMENT),
        _glue(
            "mrpc", "MRPC", _PAIR, ("not_equivalent", "equivalent"), **_BOTH, download_columns=_MRPC_COLUMNS
        ),
        _glue(
            "stsb", "STS-B", _PAIR, None, kind="regression", metrics=("pearson", "spearman", "mean"),
            primary_metric="mean", download_columns=(("score", "label"),),
        ),
        _glue("sst2", "SST-2", _SENTENCE, _SENTIMENT),
        _glue("qnli", "QNLI", ("question", "sentence"), _ENTAILMENT),
        _glue(
            "qqp", "QQP", ("question1", "question2"), ("not_duplicate", "duplicate"), **_BOTH, may_lack_text=True,
            download_columns=(("is_duplicate", "label"),),
        ),
        _glue(
            "mnli", "MNLI", ("premise", "hypothesis"), ("entailment", "neutral", "contradiction"),
            validation_split="validation_matched", mismatched_split="validation_mismatched",
            download_columns=(("sentence1", "premise"), ("sentence2", "hypothesis"), ("gold_label", "label")),
        ),
        _glue(
            "cola", "CoLA", _SENTENCE, ("unacceptable", "acceptable"), metrics=("matthews",),
            primary_metric="matthews", download_header=("source", "label", "star", "sentence"),
        ),
        Task("rotten_tomatoes", ("text",), labels=_SENTIMENT),
        Task("imdb", ("text",), labels=_SENTIMENT),
        Task("bbc_news", ("text",), labels=("business", "entertainment", "politics", "sports", "tech")),
        Task(
            "conll2003", ("tokens",), "ner_tags", "tokens", metrics=TOKEN_METRICS, primary_metric="entity_f1",
            labels=("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC", "B-MISC", "I-MISC"),
        ),
        Task(
            "squad_v2", ("question", "context"), "answers", "spans", metrics=SPAN_METRICS, primary_metric="answer_f1"
        ),
    )
}  # fmt: skip


def get_task(
    name: str,
    *,
    text_columns: Sequence[str] | None = None,
    label_column: str | None = None,
    kind: str | None = None,
    labels: Sequence[Any] | None = None,
    metrics: Sequence[str] | None = None,
    primary_metric: str | None = None,
) -> Task:
    """The task of this name: from the table, with what is given here in the place of its own, or a custom one.

    A custom task needs ``text_columns``, unless it is of a kind in DEFAULT_COLUMNS; without ``metrics`` it is scored by
    those of DEFAULT_METRICS. Raises LTPError for an unknown name and for what does not fit together.
    """
    given: dict[str, Any] = {"label_column": label_column, "kind": kind, "primary_metric": primary_metric}
    given = {key: value for key, value in given.items() if value is not None}
    for key, values in (("text_columns", text_columns), ("labels", labels), ("metrics", metrics)):
        if isinstance(values, str):
            raise LTPError(f"{key}: {values!r} of task {name} is text; expected a list, as in [{values}]")
        if values is not None:
            given[key] = tuple(map(str, values))
    known = TASKS.get(name)
    if known is None and kind in DEFAULT_COLUMNS:
        columns, label = DEFAULT_COLUMNS[kind]
        given = {"text_columns": columns, "label_column": label} | given
    if known is None and "text_columns" not in given:
        raise LTPError(
            f"task: {name!r} is unknown; expected one of {', '.join(TASKS)}, or a custom task, which names its "
            "text_columns and label_column"
        )
    columns = given.get("text_columns", ())
    if known is not None and columns and len(columns) != len(known.text_columns):
        due = "two columns, it is a task of pairs" if known.is_pair else "one column, it is a task of single texts"
        raise LTPError(
            f"text_columns: {list(columns)} of task {name}; expected {due}; or give a custom task its own name"
        )
    new_kind = given.get("kind", known.kind if known else "classification")
    if "metrics" not in given and (known is None or new_kind != known.kind):
        given["metrics"] = DEFAULT_METRICS.get(new_kind, ())
    if known is not None and new_kind != known.kind and "labels" not in given:
        given["labels"] = None
    if "metrics" in given and "primary_metric" not in given:
        given["primary_metric"] = "mean" if "mean" in given["metrics"] else next(iter(given["metrics"]), "accuracy")
    return Task(name, **given) if known is None else replace(known, **given)


def task_title(name: str) -> str:
    """A task's name for readers: GLUE's own spelling (SST-2); of another name in lower case, words with capitals."""
    known = TASKS[name].download_folder if name in TASKS else None
    return (
        known
        or {"imdb": "IMDb", "bbc_news": "BBC News", "conll2003": "CoNLL-2003", "squad_v2": "SQuAD 2.0"}.get(name)
        or (name.replace("_", " ").title() if name.islower() else name)
    )
