"""Which files of a local path hold a task's text: found by their names, not by what is in them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ltp.common.errors import LTPError
from ltp.settings.tasks import Task

FORMATS = {
    ".tsv": "tsv", ".txt": "tsv", ".csv": "csv", ".jsonl": "json lines", ".json": "json lines", ".parquet": "parquet",
}  # fmt: skip
# What a suffix means in tasks of these kinds: a line a word with its labels in columns (CoNLL), or SQuAD's JSON.
_COLUMNS = (".conll", ".bio", ".iob", ".iob2", ".txt", ".tsv", ".train", ".testa", ".testb")
_LISTS = {suffix: FORMATS[suffix] for suffix in (".jsonl", ".parquet")}
FORMATS_OF = {
    "tokens": dict.fromkeys(_COLUMNS, "columns") | {".json": FORMATS[".json"]} | _LISTS,
    "spans": {".json": "squad"} | _LISTS,
}
# CoNLL-2003's own names end in their split: eng.train, eng.testa, eng.testb.
SPLIT_SUFFIXES = {"train": ".train", "validation": ".testa", "test": ".testb"}
# Our name of a split → the stems that files of it go by. GLUE's download says dev; msr_paraphrase_* are MRPC's own.
STEMS = {
    "train": ("train", "msr_paraphrase_train", "train-v1.1", "train-v2.0"),
    "validation": ("validation", "dev", "valid", "val", "dev-v1.1", "dev-v2.0"),
    "validation_matched": ("validation_matched", "dev_matched"),
    "validation_mismatched": ("validation_mismatched", "dev_mismatched"),
    "test": ("test", "msr_paraphrase_test"),
}


def formats(task: Task) -> dict[str, str]:
    """Suffix → format of the files that a task's text is read from."""
    return FORMATS_OF.get(task.kind, FORMATS)


def split_name(stem: str) -> str:
    """Our name of a split: dev, valid and val are validation; a name that is not known stays."""
    return next((split for split, stems in STEMS.items() if stem in stems), stem)


def by_split(names: Iterable[str], where: str) -> dict[str, str]:
    """Our name of a split → the source's, of these ``names``. Raises LTPError for two that mean the same."""
    found: dict[str, str] = {}
    for name in names:
        if (other := found.setdefault(split_name(name), name)) != name:
            raise LTPError(
                f"{where} has {other} and {name}, both of the {split_name(name)} split; expected one of them"
            )
    return found


def is_saved(path: Path) -> bool:
    """Whether a folder was written by ``save_to_disk`` of the library ``datasets``."""
    return (path / "dataset_dict.json").is_file() or (path / "state.json").is_file()


def saved_files(path: Path) -> list[Path]:
    """The tables of a folder written by ``save_to_disk``, without the library's caches."""
    return sorted(file for file in path.rglob("*.arrow") if not file.name.startswith("cache-"))


def split_files(path: Path, task: Task) -> dict[str, Path]:
    """The file of each split in a folder, or in the task's folder of GLUE's original download inside it.

    A validation split named plainly serves a task that asks for another name of it. Raises LTPError where there is no
    training split, or two files of one split.
    """
    names = filter(None, (task.download_folder, task.name))
    folder = next((path / name for name in names if (path / name).is_dir()), path)
    files: dict[str, Path] = {}
    for split in STEMS:
        found = [file for file in sorted(folder.iterdir()) if _is_of(split, file, task)]
        if len(found) > 1 and {file.stem for file in found} == {"train", "msr_paraphrase_train"}:
            found = [file for file in found if file.stem == "train"]  # MRPC's folder has both; train leaves dev out
        if len(found) > 1 and {file.stem for file in found} == {"test", "msr_paraphrase_test"}:
            found = [file for file in found if file.stem == "msr_paraphrase_test"]  # this one has labels
        if len(found) > 1:
            names_found = " and ".join(file.name for file in found)
            raise LTPError(f"path: {folder} has {names_found}, both of the {split} split; expected one of them")
        if found:
            files[split] = found[0]
    if "train" not in files:
        there = ", ".join(sorted(file.name for file in folder.iterdir())[:8]) or "nothing"
        raise LTPError(
            f"path: {folder} of task {task.name} holds {there}; expected train and validation (or dev) files of "
            f"{', '.join(formats(task))}, or name one file"
        )
    if task.validation_split not in files and "validation" in files:
        files[task.validation_split] = files.pop("validation")
    return files


def _is_of(split: str, file: Path, task: Task) -> bool:
    """Whether a file is a task's text of a split, by its name."""
    suffix = file.suffix.lower()
    named = file.stem in STEMS[split] or suffix == SPLIT_SUFFIXES.get(split)
    return named and suffix in formats(task)


def text_files(path: Path, task: Task) -> list[Path]:
    """Every file below a local path that a task's text is read from. Raises LTPError as :func:`split_files`."""
    if path.is_file():
        return [path]
    return saved_files(path) if is_saved(path) else list(split_files(path, task).values())
