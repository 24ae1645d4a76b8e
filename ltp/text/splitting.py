"""Which examples are for training, validation and test: a source's own splits, or parts of its training text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ltp.common.errors import LTPError
from ltp.settings.data import DataSettings
from ltp.settings.tasks import Task
from ltp.text.annotated import clean_questions, clean_words, with_word_labels
from ltp.text.cleaning import clean, is_labelled, keys, with_labels
from ltp.text.sources import read_source
from ltp.text.stratify import cut, cut_groups, halve, strata, take
from ltp.text.types import Source, Table

if TYPE_CHECKING:
    import pandas as pd


Frames = dict[str, "pd.DataFrame"]

SPLITS = ("train", "validation", "test", "test_mismatched")
# Kinds whose labels are no column of single values → what checks their tables.
_CLEAN = {"tokens": clean_words, "spans": clean_questions}


def check_text(settings: DataSettings) -> None:
    """Read and check a task's text without tokenising it: everything that ``prepare`` would refuse in the text.

    Raises LTPError for the first problem. Takes a second or so for packaged and local text; asks the Hub for a Hub's.
    """
    split_examples(read_source(settings, settings.get_task()), settings)


def split_examples(source: Source, settings: DataSettings) -> tuple[Task, Frames, str, dict[str, Any]]:
    """Check a source's examples and divide them as the settings ask.

    Returns the task with its class names; the splits, in the order of SPLITS, with the columns of
    ``ltp.text.cleaning.clean`` or of what cleans the task's kind; where the test split comes from (a key of
    SELECTION_NOTES); notes on repeated texts.
    """
    task = settings.get_task()
    if "train" not in source.tables:
        there = ", ".join(source.tables) or "none"
        raise LTPError(f"task {task.name}: its text has the splits {there}; expected one named train")
    labelled = {name: table for name, table in source.tables.items() if is_labelled(table, task)}
    selection = settings.test or _selection(labelled, task)
    task = (with_word_labels if task.kind == "tokens" else with_labels)(task, source.tables["train"])
    checked = _CLEAN.get(task.kind, clean)
    frames = {split: checked(source.tables[name], task) for split, name in _wanted(selection, labelled, task).items()}
    for split in ("test", "test_mismatched"):
        if split in frames:
            frames[split] = _limit(frames[split], settings.test_examples, settings)
    divide = _from_given if "validation" in frames else _from_one_piece
    frames, notes = divide(frames, selection, task, settings)
    _expect_classes(frames["train"], task)
    return task, {name: frames[name] for name in SPLITS if name in frames}, selection, notes


def _selection(labelled: Mapping[str, Table], task: Task) -> str:
    """Where the test split comes from unless the settings say so."""
    has_validation = task.validation_split in labelled
    if "test" in labelled and not (task.is_glue and has_validation):
        return "given"
    return "half" if has_validation else "split"


def _wanted(selection: str, labelled: Mapping[str, Table], task: Task) -> dict[str, str]:
    """Our split → the source's. Raises LTPError where the source lacks one that the selection needs."""
    needed = {"half": task.validation_split, "validation": task.validation_split, "given": "test"}.get(selection)
    if needed and needed not in labelled:
        there = ", ".join(labelled) or "none"
        raise LTPError(
            f"test: {selection!r} needs a labelled {needed} split, task {task.name} has {there}; use split, which cuts "
            "one out of the training text"
        )
    wanted = {"train": "train"}
    if selection != "split" and task.validation_split in labelled:
        wanted["validation"] = task.validation_split
    if selection == "given":
        wanted["test"] = "test"
    if task.mismatched_split in labelled:
        wanted["test_mismatched"] = str(task.mismatched_split)
    return wanted


def _from_one_piece(
    frames: Frames, selection: str, task: Task, settings: DataSettings
) -> tuple[Frames, dict[str, Any]]:
    """Cut validation, and test unless it is given, out of the training text, with no text in two of them."""
    whole = frames["train"]
    key = keys(whole)
    repeated, held = (
        key.duplicated(),
        key.isin(set().union(*(keys(frames[name]) for name in frames if name != "train"))),
    )
    notes = {"repeated_texts_dropped": int(repeated.sum()), "texts_of_test_dropped": int((held & ~repeated).sum())}
    whole = whole[~(repeated | held)].reset_index(drop=True)
    asked = {} if "test" in frames else {"test": settings.test_examples}
    asked["validation"] = settings.validation_examples
    sizes = {name: size or max(1, len(whole) // 10) for name, size in asked.items()}
    if "group" in whole:
        return frames | _cut_groups(whole, sizes, task, settings), notes
    sizes["train"] = settings.train_examples or max(1, len(whole) - sum(sizes.values()))
    share = min(1.0, len(whole) / sum(sizes.values()))  # of less text than was asked for, each split gets its share
    sizes = {name: max(1, int(share * size)) for name, size in sizes.items()}
    if sum(sizes.values()) > len(whole):
        raise LTPError(f"task {task.name}: has {len(whole)} different texts; expected one at least for each split")
    parts = cut(strata(whole["label"], task.kind), list(sizes.values()), settings.split_seed)
    return frames | {name: whole.iloc[part] for name, part in zip(sizes, parts, strict=True)}, notes


def _cut_groups(whole: pd.DataFrame, sizes: Mapping[str, int], task: Task, settings: DataSettings) -> Frames:
    """Parts of a text in one piece with no article, or passage, in two of them; ``sizes`` are of all but train."""
    wanted: dict[str, int | None] = {**sizes, "train": settings.train_examples}
    parts = cut_groups(whole["group"], list(wanted.values()), settings.split_seed)
    for (name, size), part in zip(wanted.items(), parts, strict=True):
        if len(part) < (size or 1):
            raise LTPError(
                f"{name}_examples: {size or 'some'} asked, task {task.name} has {len(part)} left in articles or "
                "passages of no other split; ask for fewer of them"
            )
    return {name: whole.iloc[part] for name, part in zip(wanted, parts, strict=True)}


def _from_given(frames: Frames, selection: str, task: Task, settings: DataSettings) -> tuple[Frames, dict[str, Any]]:
    """The source's own splits; the validation split is halved, or also serves as test split, as ``selection`` says."""
    import numpy as np

    validation, test = frames["validation"], frames.get("test")
    if selection == "half":
        together = validation["group"] if "group" in validation else keys(validation)
        first, second = halve(strata(validation["label"], task.kind), together, settings.split_seed)
        if not len(second):
            raise LTPError(
                f"test: half of the validation split of task {task.name}, which holds a single text or article; add "
                "text, or set test: validation"
            )
        validation, test = validation.iloc[first], validation.iloc[second]
        test = _limit(test, settings.test_examples, settings)
    validation = _limit(validation, settings.validation_examples, settings)
    whole = frames["train"]
    size = min(settings.train_examples or len(whole), len(whole))
    rng = np.random.default_rng([settings.split_seed, len(SPLITS)])
    train = whole.iloc[take(strata(whole["label"], task.kind), np.arange(len(whole)), size, rng)[0]]
    frames = frames | {"train": train, "validation": validation, "test": validation if test is None else test}
    # Reported, not removed: GLUE's own splits share texts (CoLA's a few), and published scores are of these splits.
    seen = set(keys(train))
    shared = {name: int(keys(frame).isin(seen).sum()) for name, frame in frames.items() if name != "train"}
    return frames, {"texts_shared_with_train": shared}


def _limit(frame: pd.DataFrame, asked: int | None, settings: DataSettings) -> pd.DataFrame:
    """As many examples of a split as are asked for, or all if there are no more; stratified, in their order."""
    size = min(asked or len(frame), len(frame))
    (part,) = cut(strata(frame["label"], settings.get_task().kind), [size], settings.split_seed)
    part.sort()
    return frame.iloc[part]


def _expect_classes(train: pd.DataFrame, task: Task) -> None:
    """Every class can be learned: the training split has an example of each."""
    if not task.has_labels:
        return
    seen = set(train["label"].explode() if task.kind == "tokens" else train["label"])
    for number, name in enumerate(task.labels or ()):
        if number not in seen:
            raise LTPError(
                f"labels: no training example of task {task.name} is labelled {name}; expected some of each of "
                f"{', '.join((task.labels or ())[:10])}; use more train_examples, or fix labels"
            )
