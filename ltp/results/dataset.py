"""The directory of prepared data: its task.json, read and verified."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

from ltp.common.errors import LTPError
from ltp.common.io import canonical_sha256, first_line
from ltp.results.manifest import file_problem

SCHEMA = 1
INFO, TOKENIZER = "task.json", "tokenizer"


class DataInfo(TypedDict):
    """What task.json says of a directory of data."""

    schema: int
    task: str
    kind: str  # one of ltp.settings.tasks.KINDS
    label_names: list[str] | None  # None for a regression and for spans
    num_labels: int
    metrics: list[str]
    primary_metric: str
    text_columns: list[str]
    label_column: str
    max_length: int  # tokens
    test_max_lengths: NotRequired[list[int]]  # of the test texts, where they are cut elsewhere
    model: str
    model_revision: str | None
    source: dict[str, Any]
    selection: str  # a key of ltp.common.names.SELECTION_NOTES
    selection_note: str
    split_seed: int
    examples: dict[str, int]  # split → count
    mean_length: dict[str, float]  # split → tokens
    files: dict[str, int]  # split → bytes of its Arrow files
    fingerprint: str
    sha256: NotRequired[dict[str, str]]  # file → checksum; data made by an early version has none
    seal: NotRequired[str]
    tokenizer_sha256: NotRequired[str]  # the next two likewise
    inputs: NotRequired[dict[str, str]]  # local file → sha256
    beyond_max_length: NotRequired[dict[str, int]]  # split → words, or first answers, cut off; of tokens and spans


def longest(info: Mapping[str, Any]) -> int:
    """Tokens of the longest text that may be in data, by their task.json."""
    return int(max(info["max_length"], *info.get("test_max_lengths", (0,))))


def verify(directory: str | Path) -> list[str]:
    """What is wrong with a data directory, a line each, every file of tokens hashed; empty when ok."""
    folder = Path(directory)
    try:
        info = read_info(folder)
    except LTPError as error:
        return [str(error)]
    fix = f"remove {folder} and run `ltp data` again"
    wrong = [name for name, size in info["files"].items() if split_size(folder / name) != size]
    if wrong:
        return [f"{folder / name}: missing, truncated or changed; {fix}" for name in wrong]
    found = ((folder / name, file_problem(folder / name, digest)) for name, digest in info.get("sha256", {}).items())
    return [f"{path}: {why}; {fix}" for path, why in found if why]


def read_info(directory: str | Path) -> DataInfo:
    """What a data directory's task.json says. Raises LTPError where it is missing, damaged or of another schema."""
    path = Path(directory) / INFO
    if not path.is_file():
        raise LTPError(f"{path}: not there; make the data with `ltp data` (an interrupted run leaves none)")
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise LTPError(f"{path}: not readable as JSON ({first_line(error)}); run `ltp data` again") from None
    found = info.get("schema") if isinstance(info, dict) else None
    if found != SCHEMA:
        raise LTPError(f"{path}: schema {found!r}, expected {SCHEMA}; run `ltp data` again")
    if "seal" in info and info["seal"] != canonical_sha256({k: v for k, v in info.items() if k != "seal"}):
        raise LTPError(f"{path}: does not match its own checksum (damaged or edited by hand); run `ltp data` again")
    return cast(DataInfo, info)


def data_above(directory: Path) -> Path | None:
    """The data directory of a model: in its own folder (`ltp prune` writes one), or the nearest above a study's run."""
    folders = (directory.resolve(), *directory.resolve().parents)
    return next((folder / "data" for folder in folders if (folder / "data" / INFO).is_file()), None)


def split_size(folder: Path) -> int:
    """Bytes of a saved split's Arrow files; -1 where there are none."""
    sizes = [path.stat().st_size for path in sorted(folder.glob("*.arrow"))]
    return sum(sizes) if sizes else -1
