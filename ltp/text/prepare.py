"""A task's text, split and tokenised once, for all of its runs. Slow libraries are imported by what needs them."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ltp.common.errors import LTPError
from ltp.common.io import canonical_sha256, file_sha256, write_json
from ltp.common.names import SELECTION_NOTES
from ltp.results.checkpoint import checkpoint_files, positions, read_config
from ltp.results.dataset import INFO, SCHEMA, TOKENIZER, split_size
from ltp.settings.data import DataSettings
from ltp.settings.local_files import is_saved, text_files
from ltp.text.encoder import encoder_source, resolve_model, resolved_commit
from ltp.text.sources import read_source
from ltp.text.splitting import SPLITS, split_examples
from ltp.text.tokenise import count_beyond, expect_short_questions, tokenise
from ltp.text.tokenizer import load_tokenizer, tokenizer_sha256

if TYPE_CHECKING:
    import datasets
    import pandas as pd

    from ltp.settings.tasks import Task


def prepare(settings: DataSettings, output_dir: str | Path) -> dict[str, Any]:
    """Read, check, split and tokenise a task's text, and save it below ``output_dir``; returns what task.json holds.

    Nothing is written before every check has passed, and task.json is written last: its presence means that the
    data are complete. The same settings and input give the same fingerprint. Raises LTPError for anything in the
    settings, the text or the model that does not fit.
    """
    model = resolve_model(settings.model, settings.model_source, settings.model_revision, weights=False)
    config = read_config(model)
    if settings.longest > positions(config):
        key = "max_length" if settings.max_length == settings.longest else "test_max_lengths"
        raise LTPError(
            f"{key}: {settings.longest} is more than the {positions(config)} tokens that {settings.model} "
            f"takes; set it to {positions(config)} or less"
        )
    source = read_source(settings, settings.get_task())
    _expect_own_folder(settings, Path(output_dir))
    task, frames, selection, notes = split_examples(source, settings)
    tokenizer = load_tokenizer(model)
    # Where the tokenizer knows no limit of its own, a pipeline would run past the model's positions.
    tokenizer.model_max_length = min(tokenizer.model_max_length, positions(config))
    if task.kind == "spans":
        for split, frame in frames.items():
            cuts = (split.startswith("test") and settings.test_max_lengths) or [settings.max_length]
            expect_short_questions(frame["text"].tolist(), tokenizer, min(cuts), split)
    with_types = task.is_pair and int(config.get("type_vocab_size") or 1) > 1
    about = DataOrigin(
        model=settings.model,
        model_revision=resolved_commit(model) or settings.model_revision,
        max_length=settings.max_length,
        inputs=_local_inputs(settings, model),
        source=source.origin | notes,
        selection=selection,
        split_seed=settings.split_seed,
        test_max_lengths=settings.test_max_lengths,
    )
    tables = (
        (split, _cut_and_tokenise(frame, tokenizer, settings, with_types, split, task))
        for split, frame in frames.items()
    )
    return write_data(output_dir, tables, tokenizer, task, about)


@dataclass(frozen=True)
class DataOrigin:
    """What task.json says of where data come from: the model whose tokenizer made them, the text, the split."""

    model: str
    model_revision: str | None
    max_length: int
    inputs: Mapping[str, str]  # local files and their sha256
    source: Mapping[str, Any]
    selection: str  # a key of SELECTION_NOTES
    split_seed: int
    test_max_lengths: Sequence[int] | None = None


def write_data(
    output_dir: str | Path, splits: Iterable[tuple[str, Any]], tokenizer: Any, task: Task, about: DataOrigin
) -> dict[str, Any]:
    """Save tokenised splits (name, table of `tokenise`) as a data directory; returns what task.json holds.

    Splits other than ``train`` are sorted by length. task.json is written last. Raises LTPError for a folder that
    cannot be written.
    """
    output = Path(output_dir)
    _clear(output)
    # Saved before use, for a call leaves its truncation in tokenizer.json; some come with one already.
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.save_pretrained(str(output / TOKENIZER))
    digest, counts, means, beyond = hashlib.sha256(), {}, {}, {}
    for split, table in splits:
        if split != "train":  # in order of length, batches waste no padding
            table = table.take(table["length"].to_numpy().argsort(kind="stable"))
        _update(digest, split, table)
        _save(table, output / split)
        counts[split], means[split] = len(table), float(table["length"].to_numpy().mean())
        beyond[split] = count_beyond(table, task)
    info = {
        "schema": SCHEMA,
        "task": task.name,
        "kind": task.kind,
        "label_names": list(task.labels) if task.labels is not None else None,
        "num_labels": task.num_labels,
        "metrics": list(task.metrics),
        "primary_metric": task.primary_metric,
        "text_columns": list(task.text_columns),
        "label_column": task.label_column,
        "max_length": about.max_length,
        **({"test_max_lengths": list(about.test_max_lengths)} if about.test_max_lengths else {}),
        "model": about.model,
        "model_revision": about.model_revision,
        "tokenizer_sha256": tokenizer_sha256(tokenizer),
        "inputs": about.inputs,
        "source": about.source,
        "selection": about.selection,
        "selection_note": SELECTION_NOTES[about.selection],
        "split_seed": about.split_seed,
        "examples": counts,
        "mean_length": means,
        **({"beyond_max_length": beyond} if task.kind in ("tokens", "spans") else {}),
        "files": {split: split_size(output / split) for split in counts},
        "fingerprint": digest.hexdigest(),
        "sha256": {str(path.relative_to(output)): file_sha256(path) for path in _checked_files(output)},
    }
    info["seal"] = canonical_sha256(info)
    write_json(output / INFO, info, indent=2)
    return info


def _expect_own_folder(settings: DataSettings, output: Path) -> None:
    """Raise LTPError where the folder to be written, and emptied before, holds text that is somebody's."""
    fix = "choose another folder for what is made of it"
    if is_saved(output):
        raise LTPError(f"output: {output} holds a data set of the library `datasets`; {fix}")
    if settings.source == "local":
        files = text_files(Path(settings.path or "").expanduser(), settings.get_task())
        if inside := next((file for file in files if output.resolve() in file.resolve().parents), None):
            raise LTPError(f"output: {output} holds the text itself, {inside}; {fix}")


def _local_inputs(settings: DataSettings, model: Path) -> dict[str, str]:
    """The sha256 of every local file that the data are made from: text, and the encoder's config and tokenizer."""
    files: list[Path] = []
    if settings.source == "local":
        files += text_files(Path(settings.path or "").expanduser(), settings.get_task())
    if (settings.model_source or encoder_source(settings.model)) == "local":
        files += checkpoint_files(model, weights=False)
    return {str(file): file_sha256(file) for file in files}


def _cut_and_tokenise(
    frame: pd.DataFrame, tokenizer: Any, settings: DataSettings, with_types: bool, split: str, task: Task
) -> Any:
    """A pyarrow table of one split, its texts cut where the settings say; see :func:`tokenise`."""
    import numpy as np
    import pyarrow as pa

    name = f"{task.name} {split}"
    if not split.startswith("test") or not settings.test_max_lengths:
        return tokenise(frame, tokenizer, settings.max_length, with_types, name, task)
    # At random, so that a cut has nothing to do with a label.
    rng = np.random.default_rng([settings.split_seed, *map(ord, split)])
    cuts = rng.permutation(np.resize(settings.test_max_lengths, len(frame)))
    return pa.concat_tables(
        tokenise(frame[cuts == cut], tokenizer, int(cut), with_types, name, task) for cut in np.unique(cuts)
    )


def to_dataset(table: Any) -> datasets.Dataset:
    """A pyarrow table as a data set, which the trainer reads."""
    import datasets

    return datasets.Dataset.from_dict({name: table[name] for name in table.column_names})


def _save(table: Any, folder: Path) -> None:
    import datasets

    shown = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()  # saving takes milliseconds; the bars would fill the log
    try:
        to_dataset(table).save_to_disk(str(folder))
    finally:
        if shown:
            datasets.enable_progress_bars()


def _update(digest: Any, split: str, table: Any) -> None:
    """Add a split's token ids, labels and answers to the fingerprint, the same on any machine."""
    digest.update(f"{split} {len(table)} ".encode())
    for name in ("length", "input_ids", "token_type_ids"):
        if name in table.column_names:
            values = table[name].combine_chunks()
            values = values if name == "length" else values.flatten()
            digest.update(values.to_numpy(zero_copy_only=False).astype("<i4").tobytes())
    if "answers" in table.column_names:
        digest.update(json.dumps(table["answers"].to_pylist()).encode())
    of_words = "word_labels" if "word_labels" in table.column_names else "labels"
    labels = table[of_words].combine_chunks()
    labels = (labels.flatten() if labels.type.num_fields else labels).to_numpy(zero_copy_only=False)
    digest.update(labels.astype("<f4" if labels.dtype.kind == "f" else "<i8").tobytes())


def _clear(output: Path) -> None:
    """Make the directory, and remove what an earlier call left in it, task.json first."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        (output / INFO).unlink(missing_ok=True)
        for name in (*SPLITS, TOKENIZER):
            if (output / name).is_dir():
                shutil.rmtree(output / name)
    except OSError as error:
        raise LTPError(f"{output}: cannot be written ({error.strerror}); choose another folder") from None


def _checked_files(folder: Path) -> list[Path]:
    """The tokens and the tokenizer."""
    return sorted([*folder.glob("*/*.arrow"), *folder.glob(f"{TOKENIZER}/*")])
