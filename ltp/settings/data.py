"""The settings of one data set: where its text comes from, how it is split and tokenised."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ltp.common.errors import LTPError
from ltp.common.names import PACKAGED_TASKS
from ltp.settings.fields import check_limits, described
from ltp.settings.tasks import KINDS, TASKS, Task, get_task

SOURCES = ("packaged", "local", "hub")
KEYS_WITHOUT_USE = {"packaged": ("path", "revision"), "local": ("subset", "revision"), "hub": ()}
TEST_SPLITS = ("split", "half", "validation", "given")


@dataclass(frozen=True)
class DataSettings:
    """What ``ltp data`` reads and writes. Checked when made: see ``get_task`` for the task's own settings."""

    task: str = described("rotten_tomatoes", f"task: {', '.join(TASKS)}, or a custom name with text_columns")
    source: str = described("packaged", "where the text comes from", choices=SOURCES)
    path: str | None = described(None, "local: file or folder; hub: name of the data set (GLUE tasks: nyu-mll/glue)")
    subset: str | None = described(
        None,
        "hub: configuration of the data set (GLUE tasks: the task's name); packaged: the text; unset: the task's name",
    )
    revision: str | None = described(None, "hub: commit of the data set")
    model: str = described("all-MiniLM-L6-v2", "encoder whose tokenizer is used: packaged name, folder or Hub name")
    model_source: str | None = described(None, "where the encoder comes from; unset: found out", choices=SOURCES)
    model_revision: str | None = described(None, "hub: commit of the encoder")
    max_length: int = described(128, "word pieces at which a text, or a pair, is cut", minimum=4)
    test_max_lengths: tuple[int, ...] | None = described(
        None,
        "word pieces at which test texts are cut instead, to test on other lengths than were trained on; of several, "
        "each is that of an equal part of the texts, drawn at random; unset: max_length",
        minimum=4,
    )
    train_examples: int | None = described(None, "training examples to use, at most; unset: all", minimum=1)
    validation_examples: int | None = described(
        None, "validation examples, at most; unset: all there are, or a tenth of text that is split here", minimum=1
    )
    test_examples: int | None = described(
        None, "test examples, at most; unset: all there are, or a tenth of text that is split here", minimum=1
    )
    test: str | None = described(
        None,
        "where the test split comes from: split (validation and test are taken out of the training text), half (the "
        "validation split is halved), validation (the paper's way: pick and report on one split), given (the data's "
        "own); unset: half for GLUE, else given where there is one, else half, or split for text in one piece",
        choices=TEST_SPLITS,
    )
    split_seed: int = described(0, "seed of the splitting and of the training order", minimum=0)
    text_columns: tuple[str, ...] | None = described(None, "custom task: the text's column, or a pair's two columns")
    label_column: str | None = described(None, "custom task: the label's column")
    kind: str | None = described(None, "custom task: what is predicted", choices=KINDS)
    labels: tuple[str, ...] | None = described(None, "custom task: names of the classes, in order; unset: found out")
    metrics: tuple[str, ...] | None = described(None, "custom task: how it is scored")
    primary_metric: str | None = described(None, "custom task: the metric that operating points are picked by")

    def __post_init__(self) -> None:
        for name in ("text_columns", "labels", "metrics"):
            value = getattr(self, name)
            if isinstance(value, list):  # lists, as YAML and the command line give them
                object.__setattr__(self, name, tuple(map(str, value)))
        if isinstance(self.test_max_lengths, list):
            object.__setattr__(self, "test_max_lengths", tuple(self.test_max_lengths))
        check_limits(self)
        self.get_task()
        if self.source == "packaged" and self.text not in PACKAGED_TASKS:
            raise LTPError(
                f"source: packaged has {', '.join(PACKAGED_TASKS)}, not {self.text}; set source: local with a path, "
                "or source: hub"
            )
        for key in KEYS_WITHOUT_USE[self.source]:
            if (value := getattr(self, key)) is not None:
                hint = "; add source: local, or source: hub" if key == "path" else "; leave it out"
                raise LTPError(f"{key}: {value!r} does not go with source {self.source}{hint}")
        if self.source == "local" and not self.path:
            raise LTPError(f"path: task {self.task} has source local but no path; expected a file or a folder")
        if self.source == "hub" and not self.path and not self.get_task().is_glue:
            raise LTPError(f"path: task {self.task} has source hub but no path; expected the data set's Hub name")
        if self.source == "packaged" and self.test not in (None, "split"):
            raise LTPError(f"test: {self.test!r} does not fit packaged text, which comes in one piece; use split")

    @property
    def text(self) -> str:
        """Which text a packaged task reads: its own name says it, or ``subset`` where the task has another name."""
        return self.subset if self.source == "packaged" and self.subset else self.task

    @property
    def longest(self) -> int:
        """Word pieces of the longest text that may come out."""
        return max(self.max_length, *(self.test_max_lengths or (0,)))

    def get_task(self) -> Task:
        """The task that these settings describe."""
        task = get_task(
            self.text,
            text_columns=self.text_columns,
            label_column=self.label_column,
            kind=self.kind,
            labels=self.labels,
            metrics=self.metrics,
            primary_metric=self.primary_metric,
        )
        return replace(task, name=self.task)
