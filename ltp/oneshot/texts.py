"""The texts of one call: read, checked, divided and tokenised; the original's answers take the place of labels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ltp.common.errors import LTPError
from ltp.models import flops
from ltp.models.configuration import LTPConfig
from ltp.models.layouts.registry import layout_class
from ltp.oneshot.original import Original
from ltp.settings.oneshot import PruneSettings
from ltp.settings.pruning import PruningSettings
from ltp.settings.tasks import Task
from ltp.text.cleaning import clean, clean_text, keys
from ltp.text.local import read_local, where_not_utf8
from ltp.text.prepare import to_dataset
from ltp.text.tokenise import tokenise
from ltp.text.types import Table

if TYPE_CHECKING:
    import datasets
    import pandas as pd

NAME = "answers"  # the task: to answer as the original does
TEXT, PAIR = ("text",), ("text", "text_pair")
MIN_TEXTS = 200  # different ones: enough to set thresholds on one half and to report on the other within some points
MIN_TOKENS = 8  # a text, on average: of fewer there is nothing to drop
MIN_QUERIES = 10  # of a reranker's text, with several candidates each
MAX_CANDIDATES = 100  # of a query that are looked at
MAX_TEXTS = 50_000  # that are looked at
MAX_UNKNOWN, LOOK = 0.2, 2000  # share of the tokens that the tokenizer does not know, in so many texts


@dataclass(frozen=True)
class Texts:
    """Tokenised texts in random order, and what they are.

    ``frame`` has the text of each row, and its true ``label`` where there are labels; ``rows`` is the same tokenised,
    with a column ``length``. ``max_length`` is where texts are cut. ``ranked``: this is text for a reranker, several
    candidates for each query.
    """

    task: Task
    frame: pd.DataFrame
    rows: datasets.Dataset
    max_length: int
    labelled: bool
    ranked: bool = False

    @property
    def queries(self) -> np.ndarray | None:
        """(N,) the number of each row's query; None unless this is text for a reranker."""
        return np.asarray(self.frame["text"].factorize()[0]) if self.ranked else None

    def count_cut(self, tokenizer: Any) -> int:
        """How many of the texts have more tokens than are read."""
        full = np.flatnonzero(np.asarray(self.rows["length"]) >= self.max_length)
        if not len(full):
            return 0
        columns = [self.frame[name].iloc[full].tolist() for name in PAIR if name in self.frame]
        whole = tokenizer(*columns, truncation=False, return_attention_mask=False)["input_ids"]
        return sum(len(ids) > self.max_length for ids in whole)

    def take(self, indices: Any) -> Texts:
        """Some of the texts, in the given order."""
        indices = np.asarray(indices)
        frame = self.frame.iloc[indices].reset_index(drop=True)
        return replace(self, frame=frame, rows=self.rows.select(indices).flatten_indices())


def read_table(path: str | Path, settings: PruneSettings) -> Table:
    """The table in a file (or the training split of a folder); a .txt file holds one text a line.

    Raises LTPError naming the file, and the row where there is one.
    """
    import pandas as pd

    path = Path(path).expanduser()
    if not path.exists():
        raise LTPError(f"text: {path} is not there; expected a .csv, .tsv, .jsonl, .parquet or .txt file, or a folder")
    if path.suffix.lower() == ".txt" and path.is_file():
        try:
            lines = path.read_text(encoding="utf-8-sig").split("\n")
        except UnicodeDecodeError:
            raise LTPError(f"{path}: not UTF-8 {where_not_utf8(path)}; save it as UTF-8") from None
        return Table(path.name, pd.DataFrame({"text": [line for line in lines if line.strip()]}))
    try:
        tables = read_local(path, Task(NAME, settings.text_columns or TEXT)).tables
    except LTPError as error:
        raise LTPError(str(error).replace("path: ", "text: ", 1)) from None
    if len(tables) > 1 and "train" not in tables:
        raise LTPError(f"text: {path} has the splits {', '.join(sorted(tables))}; expected train among them, or one")
    return tables["train"] if "train" in tables else next(iter(tables.values()))


def task_of(original: Original, table: Table, settings: PruneSettings) -> Task:
    """What the model does, as a task: its columns, and its classes or a number.

    Raises LTPError for columns that are not there, and for labels that do not fit the model.
    """
    there = [str(column) for column in table.frame.columns]
    columns = settings.text_columns
    if columns is None:
        others = [column for column in there if column != settings.label_column]
        named = PAIR if set(PAIR) <= set(others) else TEXT
        columns = named if "text" in others or len(others) != 1 else tuple(others)
    if settings.protect != "none" and len(columns) != 2:
        raise LTPError("protect: first needs pairs; expected two text_columns")
    labels = original.labels
    task = Task(
        NAME, columns, settings.label_column or ("label" if "label" not in columns else "answer"),
        "regression" if labels is None else "classification", labels,
        ("pearson", "spearman") if labels is None else ("accuracy",), "pearson" if labels is None else "accuracy",
    )  # fmt: skip
    return task


def make_texts(original: Original, table: Table, settings: PruneSettings) -> Texts:
    """Check and tokenise the texts of a table, without repeats, in random order.

    Raises LTPError, in one line, for everything that later steps could not use: empty text, labels that do not fit,
    too few texts or too short ones, a query that leaves no room for the second text, and budgets that are too small.
    """
    task, limit = task_of(original, table, settings), original.limit
    if settings.max_length is not None and settings.max_length > limit:
        raise LTPError(f"max_length: {settings.max_length} is more than the {limit} tokens that {original.name} takes")
    max_length, labelled = settings.max_length or limit, settings.label_column is not None
    frame = _clean(table, task, original) if labelled else clean_text(table, task)
    frame = frame[~keys(frame).duplicated()].sample(frac=1.0, random_state=settings.seed)
    ranked = task.kind == "regression" and task.is_pair and _mostly_candidates(frame)
    if ranked:
        frame = frame[frame.groupby("text").cumcount() < MAX_CANDIDATES]
    if len(frame) < MIN_TEXTS:
        raise LTPError(
            f"{table.name}: {len(frame)} different texts; expected at least {MIN_TEXTS}, to set thresholds on some and "
            "report on others"
        )
    frame = frame.head(MAX_TEXTS).reset_index(drop=True)
    if task.is_pair:
        _check_room(frame, task, original, max_length, table.name)
    with_types = task.is_pair and (getattr(original.model.config, "type_vocab_size", 1) or 1) > 1
    unlabelled = frame.drop(columns="label") if labelled else frame
    rows = to_dataset(tokenise(unlabelled, original.tokenizer, max_length, with_types, table.name, task))
    texts = Texts(task, frame, rows, max_length, labelled, ranked)
    _check_lengths(texts, original, settings, table.name)
    _check_known(texts, original, table.name)
    if ranked and (found := int((frame["text"].value_counts() > 1).sum())) < MIN_QUERIES:
        raise LTPError(
            f"{table.name}: {found} texts in {task.text_columns[0]} with several in {task.text_columns[1]}; expected "
            f"at least {MIN_QUERIES} such queries, to learn from some and report on others"
        )
    return texts


def _mostly_candidates(frame: pd.DataFrame) -> bool:
    """Whether most rows share their first text with another one, as the candidates of a query do."""
    return bool(frame["text"].duplicated(keep=False).mean() > 0.5)


def _clean(table: Table, task: Task, original: Original) -> pd.DataFrame:
    """`clean`, its error for labels that are no numbers in the words of this command."""
    try:
        return clean(table, task)
    except LTPError as error:
        if task.kind == "regression" and "expected a number" in str(error):
            where = str(error).split(", expected a number")[0]
            raise LTPError(
                f"{where}, but {original.name} gives one number, no class; expected numbers, or a model with classes"
            ) from None
        raise


def _check_room(frame: pd.DataFrame, task: Task, original: Original, max_length: int, name: str) -> None:
    """Raise LTPError for a first text that leaves no room for the second."""
    room = max_length - original.tokenizer.num_special_tokens_to_add(pair=True) - 1
    firsts = frame["text"].drop_duplicates().tolist()
    encoded = original.tokenizer(firsts, add_special_tokens=False, return_attention_mask=False)
    longest = int(np.argmax([len(ids) for ids in encoded["input_ids"]]))
    if (tokens := len(encoded["input_ids"][longest])) > room:
        raise LTPError(
            f"{name}: {task.text_columns[0]} {firsts[longest][:40]!r}… has {tokens} tokens, and at most {room} leave "
            f"room for {task.text_columns[1]} among the {max_length} that are read; shorten it"
        )


def _check_known(texts: Texts, original: Original, name: str) -> None:
    """Raise LTPError where much of the text is unknown to the tokenizer: another model's, or another language."""
    ids = np.concatenate(texts.rows[:LOOK]["input_ids"])
    share = float((ids == original.tokenizer.unk_token_id).mean())
    if share > MAX_UNKNOWN:
        raise LTPError(
            f"{name}: {100 * share:.0f} % of the tokens are unknown to the tokenizer ({original.tokenizer.unk_token}); "
            f"expected text in the language of {original.name}, and the model's own tokenizer"
        )


def _check_lengths(texts: Texts, original: Original, settings: PruneSettings, name: str) -> None:
    """Raise LTPError for texts too short to drop anything from, and budgets below what is possible."""
    lengths = np.asarray(texts.rows["length"])
    if lengths.mean() < MIN_TOKENS:
        raise LTPError(
            f"{name}: {lengths.mean():.1f} tokens a text; expected at least {MIN_TOKENS} on average, of shorter texts "
            "nothing can be dropped"
        )
    least = least_flops(texts, original, settings.protect)
    if min(settings.flops) < least:
        raise LTPError(
            f"flops: {min(settings.flops):g} is not possible: the least on this text is {np.ceil(1000 * least) / 1000}"
            f"{', as protected tokens stay' if settings.protect != 'none' else ''}; choose more"
        )


def least_flops(texts: Texts, original: Original, protect: str) -> float:
    """The share of the FLOPs that is left where the first layer drops all that may be dropped."""
    config = LTPConfig.from_base(original.model.config, PruningSettings())
    lengths = np.asarray(texts.rows["length"])
    kept = np.ones_like(lengths)
    if protect != "none":
        end = original.tokenizer.sep_token_id
        kept = np.array([list(ids).index(end) + 1 if end in ids else len(ids) for ids in texts.rows["input_ids"]])
    layers = config.num_hidden_layers
    attention = np.stack([lengths, *[kept] * (layers - 1)], 1)
    ffn = np.stack([kept] * layers, 1)
    return flops.summarise(attention, ffn, lengths, layout_class(config.base_model_type)(config).sizes)["relative"]


def divide(texts: Texts, kept: int, train: int) -> tuple[Texts, Texts]:
    """Texts to train on, and others to report on; a query's candidates stay together.

    The numbers are at most what there is. With queries, whole ones are taken until there are ``kept`` rows, and
    MIN_QUERIES / 2 of several candidates; as many are left to train on.
    """
    queries = texts.queries
    if queries is None:
        return texts.take(range(kept, kept + train)), texts.take(range(kept))
    first = np.unique(queries, return_index=True)[1]
    order = queries[np.sort(first)]  # queries in the random order of the rows
    sizes = np.bincount(queries)[order]
    several, half = (sizes > 1).cumsum(), MIN_QUERIES // 2
    enough = max(int(np.searchsorted(sizes.cumsum(), kept)), int(np.searchsorted(several, half))) + 1
    most = int(np.searchsorted(several, several[-1] - half, side="right"))
    aside = np.isin(queries, order[: min(enough, most)])
    return texts.take(np.flatnonzero(~aside)[:train]), texts.take(np.flatnonzero(aside))
