"""TODO"""

from __future__ import annotations

from pathlib import Path

from ltp.common.errors import LTPError
from ltp.common.names import PACKAGED_MODEL
from ltp.results.checkpoint import check_checkpoint
from ltp.settings.data import SOURCES
from ltp.text.packaged import packaged_model_path


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
        from ltp.text.hub import fetch_model

        folder = fetch_model(model, revision, weights=weights)
    check_checkpoint(folder, weights=weights)
    return folder
