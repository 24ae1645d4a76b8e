"""Text and models from the Hugging Face Hub, at a pinned revision. No code from the Hub is run, no pickle is read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ltp.common.errors import LTPError
from ltp.settings.data import DataSettings
from ltp.settings.local_files import by_split
from ltp.settings.tasks import Task
from ltp.text.types import Source, table_of

GLUE, GLUE_REVISION = "nyu-mll/glue", "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_TIMEOUT = 20.0  # seconds for the Hub's first answer
_NETWORK_ERRORS = {
    "OfflineModeIsEnabled", "TransportError", "ConnectionError", "TimeoutError", "LocalEntryNotFoundError",
}  # fmt: skip
_TOKENIZER_FILES = ("*.json", "vocab.txt", "merges.txt")


def read_hub(settings: DataSettings, task: Task) -> Source:
    """Load a data set with the Hub's own client; without network, its cache's copy of the same commit.

    Raises LTPError, in one line, where the data set, its configuration, its revision or the network is not there.
    """
    import datasets
    from huggingface_hub import HfApi

    name = settings.path or GLUE
    subset = settings.subset or (task.name if task.is_glue and name == GLUE else None)
    revision = settings.revision or (GLUE_REVISION if name == GLUE else None)
    sought = f"hub: data set {name}" + (f", configuration {subset}" if subset else "")
    fix = "or download it elsewhere and set source: local with its path"
    online = not datasets.config.HF_HUB_OFFLINE
    try:
        if online:
            # Asked first: load_dataset itself retries for half a minute, and would take any revision in its cache.
            try:
                revision = HfApi().dataset_info(name, revision=revision, timeout=_TIMEOUT).sha
            except Exception as error:
                if not _unreachable(error):
                    raise
                online = False
        with _offline(not online):
            # The prefix keeps a folder of this name from being read in its place.
            loaded = datasets.load_dataset(f"hf://datasets/{name}", subset, revision=revision)
    except Exception as error:  # the client raises its own, the network's, the system's and Arrow's
        raise LTPError(f"{sought}: {_reason(error, 'data set', revision)}; {fix}") from None
    found = _commit(loaded)
    if revision and _COMMIT.fullmatch(revision) and found != revision and (found or not online):
        # Without network the client takes the newest copy in its cache, whichever commit was asked for.
        raise LTPError(f"{sought}: the cache has revision {found}, expected {revision}; check the network, {fix}")
    splits = by_split(loaded, sought)
    tables = {split: table_of(loaded[theirs], f"{name} {theirs}") for split, theirs in splits.items()}
    return Source(tables, {"source": "hub", "path": name, "subset": subset, "revision": found or revision})


def fetch_model(name: str, revision: str | None, *, weights: bool = True) -> Path:
    """Folder, in the client's cache, of a Hub model's config, tokenizer and (``weights``) safetensors.

    Raises LTPError, in one line, where the model or the network is not there.
    """
    from huggingface_hub import snapshot_download

    patterns = [*_TOKENIZER_FILES, *(["model*.safetensors"] if weights else [])]
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
    except Exception as error:  # as above
        reason = _reason(error, "model", revision)
        raise LTPError(f"hub: model {name}: {reason}; or name a local folder that holds it") from None


@contextmanager
def _offline(wanted: bool) -> Iterator[None]:
    """While ``wanted``, `datasets` reads its cache at once instead of asking a Hub that is known not to answer."""
    import datasets

    before = datasets.config.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = before or wanted
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE = before


def _kinds(error: BaseException) -> set[str]:
    """Class names of an error, of their bases, and of what it wraps: the client wraps the network's errors."""
    names: set[str] = set()
    link: BaseException | None = error
    while link is not None:
        names |= {base.__name__ for base in type(link).__mro__}
        link = link.__cause__
    return names


def _unreachable(error: BaseException) -> bool:
    return bool(_kinds(error) & _NETWORK_ERRORS)


def _reason(error: BaseException, kind: str, revision: str | None) -> str:
    """Why the client failed, in words that say what to do."""
    kinds = _kinds(error)
    if "RevisionNotFoundError" in kinds:
        return f"it has no revision {revision!r}; fix revision"
    if kinds & {"RepositoryNotFoundError", "HFValidationError", "DatasetNotFoundError"}:
        return f"no such {kind} on the Hub, or a private one; fix its name, or log in with `hf auth login`"
    if _unreachable(error):
        return "the Hub cannot be reached from this machine and its cache has no copy; check the network"
    return (str(error) or type(error).__name__).splitlines()[0].rstrip(".;")


def _commit(loaded: Any) -> str | None:
    """The commit that was really read: the client keeps each in a cache folder of that name."""
    for data in loaded.values():
        for file in data.cache_files:
            if _COMMIT.fullmatch(name := Path(file["filename"]).parent.name):
                return name
    return None
