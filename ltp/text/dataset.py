"""Prepared data, read back: the tokenised splits, and what task.json says of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ltp.common.errors import LTPError
from ltp.common.io import first_line
from ltp.results.dataset import INFO, DataInfo, read_info, verify

if TYPE_CHECKING:
    import datasets


def load(directory: str | Path) -> tuple[dict[str, datasets.Dataset], DataInfo]:
    """The tokenised splits of a data directory, by name, and what its task.json says.

    Raises LTPError for a directory that is incomplete or was changed since.
    """
    folder = Path(directory)
    info = read_info(folder)
    if problems := verify(folder):
        raise LTPError(problems[0])
    import datasets

    splits = {}
    for name in info["files"]:
        try:
            splits[name] = datasets.load_from_disk(str(folder / name))
        except Exception as error:  # the library raises its own, Arrow's and the system's
            raise LTPError(f"{folder / name}: not readable ({first_line(error)}); run `ltp data` again") from None
        if len(splits[name]) != info["examples"][name]:
            raise LTPError(f"{folder / name}: {len(splits[name])} examples, {INFO} says {info['examples'][name]}")
    return splits, info
