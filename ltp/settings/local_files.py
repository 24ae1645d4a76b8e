"""Which files of a local path hold a task's text: found by their names, not by what is in them."""

from __future__ import annotations

from pathlib import Path

from ltp.common.errors import LTPError
from ltp.settings.tasks import Task

FORMATS = {
    ".tsv": "tsv", ".txt": "tsv", ".csv": "csv", ".jsonl": "json lines", ".json": "json lines", ".parquet": "parquet",
}  # fmt: skip
# Our name of a split → the stems that files of it go by. GLUE's download says dev; msr_paraphrase_* are MRPC's own.
STEMS = {
    "train": ("train", "msr_paraphrase_train"),
    "validation": ("validation", "dev", "valid", "val"),
    "validation_matched": ("validation_matched", "dev_matched"),
    "validation_mismatched": ("validation_mismatched", "dev_mismatched"),
    "test": ("test", "msr_paraphrase_test"),
}


def split_name(stem: str) -> str:
    """Our name of a split: dev, valid and val are validation; a name that is not known stays."""
    return next((split for split, stems in STEMS.items() if stem in stems), stem)


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
    for split, stems in STEMS.items():
        found = [file for file in sorted(folder.iterdir()) if file.stem in stems and file.suffix.lower() in FORMATS]
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
            f"{', '.join(FORMATS)}, or name one file"
        )
    if task.validation_split not in files and "validation" in files:
        files[task.validation_split] = files.pop("validation")
    return files


def text_files(path: Path, task: Task) -> list[Path]:
    """Every file below a local path that a task's text is read from. Raises LTPError as :func:`split_files`."""
    if path.is_file():
        return [path]
    return saved_files(path) if is_saved(path) else list(split_files(path, task).values())
