"""Text in local files: TSV, CSV, JSON Lines, Parquet, GLUE's original download, saved `datasets`."""

from __future__ import annotations

import csv
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ltp.common.errors import LTPError
from ltp.common.io import file_sha256, first_line
from ltp.settings.local_files import by_split, formats, is_saved, saved_files, split_files
from ltp.settings.tasks import Task
from ltp.text.annotated_files import read_columns, read_squad
from ltp.text.types import Source, Table, table_of

if TYPE_CHECKING:
    import pandas as pd


def read_local(path: Path, task: Task) -> Source:
    """Read a file (text in one piece) or a folder (train, validation or dev, perhaps test, in files of any format).

    A folder may also be one written by ``datasets``' ``save_to_disk``, or hold the task's folder of GLUE's original
    download. Raises LTPError naming the file, and the row where there is one.
    """
    if path.is_file():
        return Source({"train": _read_file(path, task, path.name)}, _origin(path, {"train": path}))
    if not path.is_dir():
        raise LTPError(f"path: {path} of task {task.name} is not there; expected a file or folder of labelled text")
    if is_saved(path):
        return _read_saved(path)
    files = split_files(path, task)
    folder = files["train"].parent
    tables = {split: _read_file(file, task, f"{folder.name}/{file.name}") for split, file in files.items()}
    return Source(tables, _origin(folder, files))


def _origin(path: Path, files: dict[str, Path]) -> dict[str, Any]:
    listed = {split: {"name": file.name, "sha256": file_sha256(file)} for split, file in files.items()}
    return {"source": "local", "path": path.name, "files": listed}


def _read_file(path: Path, task: Task, name: str) -> Table:
    """One file as a table, its columns under the task's names."""
    known = formats(task)
    if path.suffix.lower() not in known:
        raise LTPError(f"path: {path} ends in {path.suffix!r}; expected {', '.join(known)}")
    try:
        frame = READERS[known[path.suffix.lower()]](path, task)
    except LTPError:
        raise
    except UnicodeDecodeError:
        raise LTPError(f"{path}: not UTF-8 {where_not_utf8(path)}; save it as UTF-8") from None
    except Exception as error:  # pandas' and Arrow's parsers raise many kinds
        raise LTPError(f"{path}: not readable as {path.suffix[1:]} ({first_line(error)}); fix that line") from None
    renames = {old: new for old, new in task.download_columns if new not in frame.columns}
    frame = frame.rename(columns=renames)
    if task.may_lack_text and task.label_column in frame.columns:
        # GLUE's QQP has lines that end before their label; the Hub's copy and the original leave them out.
        frame = frame[frame[task.label_column].fillna("") != ""].reset_index(drop=True)
    return Table(name, frame)


def where_not_utf8(path: Path) -> str:
    """Where a file is not UTF-8, which a reader's error tells by its buffer: ``in line 3 (byte 70)``."""
    content = path.read_bytes()
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return f"in line {line} (byte {error.start})"
    return "throughout"


def _read_tsv(path: Path, task: Task) -> pd.DataFrame:
    """Tab-separated, with quoting off as in GLUE: quotation marks are part of the text."""
    with path.open(encoding="utf-8-sig") as stream:
        first = stream.readline().rstrip("\r\n").split("\t")
    header = task.download_header
    headerless = header is not None and len(first) == len(header) and not set(task.text_columns) & set(first)
    names = {"header": None, "names": list(header)} if headerless and header else {}
    frame = _read_delimited(path, sep="\t", quoting=csv.QUOTE_NONE, **names)
    if not task.may_lack_text:
        _refuse_short_lines(path, len(frame.columns) - 1)
    return frame


def _refuse_short_lines(path: Path, tabs: int) -> None:
    """Raise LTPError for a line with fewer tabs than the header, whose last cells pandas would take for empty."""
    with path.open(encoding="utf-8-sig") as stream:
        for number, line in enumerate(stream, 1):
            if line.strip() and line.count("\t") < tabs:
                raise LTPError(
                    f"{path}: line {number} has fewer cells than there are columns ({tabs + 1}); fill it up, or save "
                    "the table as .csv where cells are quoted and hold line breaks, as a .tsv's cannot"
                )


def _read_csv(path: Path, task: Task) -> pd.DataFrame:
    frame = _read_delimited(path, sep=",")
    if len(frame.columns) == 1 and (other := next((sep for sep in ";\t|" if sep in frame.columns[0]), None)):
        raise LTPError(
            f"{path}: has one column, {frame.columns[0]!r}, being separated by {other!r}; expected commas, or tabs in "
            "a .tsv: save it as such"
        )
    return frame


def _read_delimited(path: Path, **options: Any) -> pd.DataFrame:
    import pandas as pd

    with warnings.catch_warnings():
        # Without index_col=False a row that is too long turns its first field into an index; with it, pandas
        # drops the surplus with a warning, which is an error here.
        warnings.simplefilter("error", pd.errors.ParserWarning)
        return pd.read_csv(
            path, dtype=str, keep_default_na=False, na_values=[], index_col=False, encoding="utf-8-sig", **options
        )


def _read_json_lines(path: Path, task: Task) -> pd.DataFrame:
    import pandas as pd

    rows = []
    with path.open(encoding="utf-8-sig") as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise LTPError(
                    f"{path}, line {number}: not JSON ({first_line(error)}); expected an object a line"
                ) from None
            if not isinstance(row, dict):
                raise LTPError(f"{path}, line {number}: holds {type(row).__name__}, expected an object a line")
            rows.append(row)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    # dtype object keeps 1 an integer where another row lacks the label
    return pd.DataFrame({column: pd.Series([row.get(column) for row in rows], dtype=object) for column in columns})


def _read_parquet(path: Path, task: Task) -> pd.DataFrame:
    import pandas as pd

    return pd.read_parquet(path)


READERS: dict[str, Callable[[Path, Task], Any]] = {
    "tsv": _read_tsv,
    "csv": _read_csv,
    "json lines": _read_json_lines,
    "parquet": _read_parquet,
    "columns": read_columns,
    "squad": read_squad,
}


def _read_saved(path: Path) -> Source:
    """A Dataset (text in one piece) or DatasetDict written by save_to_disk."""
    import datasets

    try:
        saved = datasets.load_from_disk(str(path))
    except Exception as error:  # the library raises its own, Arrow's and the system's
        raise LTPError(
            f"path: {path} is not readable as a saved data set ({first_line(error)}); save it anew"
        ) from None
    splits = saved if isinstance(saved, datasets.DatasetDict) else {"train": saved}
    tables = {
        split: table_of(splits[name], f"{path.name} {name}")
        for split, name in by_split(splits, f"path: {path}").items()
    }
    listed = {str(file.relative_to(path)): file_sha256(file) for file in saved_files(path)}
    return Source(tables, {"source": "local", "path": path.name, "files": listed})
