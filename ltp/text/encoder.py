"""Finding an encoder: in a package, in a local folder, or on the Hub."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ltp.common.errors import LTPError
from ltp.common.names import PACKAGED_MODEL
from ltp.results.checkpoint import check_checkpoint, weights_sha256
from ltp.settings.data import SOURCES
from ltp.text.packaged import packaged_model_path


def resolve_model(model: str, source: str | None = None, revision: str | None = None, *, weights: bool = True) -> Path:
    """Folder of an encoder: a packaged one by its name, a local folder, or a Hub model, fetched at its revision.

    Without ``source``, the packaged name comes first, then a folder that exists, then the Hub. ``weights=False``
    fetches and checks only what the tokenizer needs. Raises LTPError, in one line, for what is not there, is
    truncated, has an unsupported architecture, or holds its weights only as pickle, which is never read.
    """
    if source not in (None, *SOURCES):
        raise LTPError(f"model: source {source!r} is not one of {', '.join(SOURCES)}")
    source, folder = source or encoder_source(model), Path(model).expanduser()
    if source == "packaged":
        if model != PACKAGED_MODEL:
            raise LTPError(f"model: {model!r} is not packaged; expected {PACKAGED_MODEL}, or source: local or hub")
        folder = packaged_model_path()
    elif source == "hub":
        from ltp.text.hub import fetch_model

        folder = fetch_model(model, revision, weights=weights)
    check_checkpoint(folder, weights=weights)
    return folder


def encoder_source(model: str) -> str:
    """Where an encoder of this name comes from, where nothing else says so: packaged, local or hub."""
    if model == PACKAGED_MODEL:
        return "packaged"
    return "local" if Path(model).expanduser().exists() or model.startswith((".", "/", "~")) else "hub"


def resolved_commit(folder: Path) -> str | None:
    """The commit of a Hub model in the client's cache, which keeps each in a folder of that name; else None."""
    return folder.name if folder.parent.name == "snapshots" and re.fullmatch(r"[0-9a-f]{40}", folder.name) else None


def encoder_record(model: str, folder: Path) -> dict[str, Any]:
    """What metrics.json says of the encoder that a base run starts from, given where :func:`resolve_model` found it."""
    return {
        "name": model,
        "source": encoder_source(model),
        "revision": resolved_commit(folder),
        "sha256": weights_sha256(folder),
    }
