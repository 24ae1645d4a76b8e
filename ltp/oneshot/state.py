"""The folder that one call writes: worked on beside its place under another name, and moved there when it is whole."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import transformers

import ltp
from ltp.common.errors import LTPError, UnwritableError
from ltp.common.io import canonical_sha256, plain, shown, write_json
from ltp.common.locks import exclusive
from ltp.oneshot.original import Original
from ltp.oneshot.texts import Texts
from ltp.settings.oneshot import PruneSettings

PLAN, RESULT = "plan.json", "result"
RECIPE = 3  # to be raised when a change of the code changes what a call makes


def check_output(output: Path) -> None:
    """Raise LTPError for an output folder that is there already, or cannot be made."""
    if output.exists():
        raise LTPError(f"output: {shown(output)} is there already; choose another folder, or remove it")
    if output.name in ("", ".", ".."):
        raise LTPError(f"output: {shown(output)} names no folder; choose another")


@contextlib.contextmanager
def work_folder(output: Path | None) -> Iterator[Path]:
    """The folder to work in. It stays where the call is interrupted or the disk is full, and goes where it fails."""
    if output is None:
        with tempfile.TemporaryDirectory() as temporary:
            yield Path(temporary)
        return
    folder = output.absolute().parent / f".{output.name}.partial"
    with exclusive(folder):
        try:
            yield folder
        except UnwritableError:
            raise
        except LTPError:
            _clear(folder)
            raise


def move(folder: Path, output: Path) -> None:
    """Put the result in its place, in one step, and remove the rest. Raises UnwritableError where there is one now."""
    if output.exists():
        raise UnwritableError(
            f"output: {shown(output)} is there since the call began; the result is kept, move it from "
            f"{shown(folder / RESULT)}"
        )
    (folder / RESULT).rename(output)
    _clear(folder)


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != ".lock":
            path.unlink()


def fingerprint(original: Original, texts: Texts, settings: PruneSettings) -> str:
    """Of everything that the result depends on but the machine's speed: a call with the same one may go on."""
    weights = {
        name: [list(value.shape), float(value.double().sum()), float(value.double().abs().sum())]
        for name, value in original.model.state_dict().items()
    }
    rows = pd.util.hash_pandas_object(texts.frame, index=False).tolist()
    tokens = hashlib.sha256(np.concatenate(texts.rows.with_format("numpy")["input_ids"]).tobytes()).hexdigest()
    versions = [RECIPE, ltp.__version__, torch.__version__, transformers.__version__]
    content = [weights, rows, tokens, texts.max_length, asdict(settings), versions, str(original.model.config)]
    return canonical_sha256(plain(content))


def read_plan(folder: Path, mark: str) -> dict[str, Any] | None:
    """The plan that an interrupted call with the same fingerprint left; what another call left is removed."""
    try:
        plan: dict[str, Any] = json.loads((folder / PLAN).read_text(encoding="utf-8"))
        if plan["fingerprint"] == mark:
            return plan
    except (OSError, ValueError, KeyError, TypeError):
        pass
    _clear(folder)
    return None


def write_plan(folder: Path, plan: Mapping[str, Any]) -> None:
    """Write down what a later call needs to go on."""
    write_json(folder / PLAN, plan)
