"""The resumable state of a training, in the folder ``checkpoint`` of its run directory.

The library writes a checkpoint file by file. COMPLETE is written into it last, with the sha256 of the others.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ltp.common.io import file_sha256, write_json
from ltp.results.manifest import file_problem
from ltp.results.run import CHECKPOINT
from ltp.training.recording import TENSORBOARD

COMPLETE = "complete"
SETTINGS = "settings.json"  # beside the checkpoints: the metadata of the run that they belong to


def mark_complete(checkpoint: Path, seconds: float) -> None:
    """Record that a checkpoint is complete, and the seconds of training, over all legs, that led to it."""
    files = {path.name: file_sha256(path) for path in sorted(checkpoint.iterdir())}
    write_json(checkpoint / COMPLETE, {"files": files, "train_seconds": seconds})


def last_checkpoint(directory: Path) -> Path | None:
    """The newest checkpoint that is complete and unchanged."""
    checkpoints = [path.parent for path in directory.glob(f"checkpoint-*/{COMPLETE}")]
    newest_first = sorted(checkpoints, key=lambda path: -int(path.name.split("-")[1]))
    return next(filter(_is_complete, newest_first), None)


def seconds_trained(checkpoint: Path) -> float:
    """Seconds of training that led to a checkpoint which ``last_checkpoint`` has found."""
    return json.loads((checkpoint / COMPLETE).read_text(encoding="utf-8"))["train_seconds"]


def _is_complete(checkpoint: Path) -> bool:
    try:
        complete = json.loads((checkpoint / COMPLETE).read_text(encoding="utf-8"))
        problems = [file_problem(checkpoint / name, sha256) for name, sha256 in complete["files"].items()]
        return not any(problems) and complete["train_seconds"] >= 0
    except (OSError, ValueError, AttributeError, KeyError, TypeError):
        return False


def prepare_state(output: Path, metadata: Mapping[str, Any]) -> None:
    """Remove checkpoints of other settings, data or another parent; write down those of this run for the next start.

    Device and number of threads may be others: a training goes on wherever it is started again.
    """
    state = output / CHECKPOINT
    if _anywhere(_begun(state)) == _anywhere(_plain(metadata)) and last_checkpoint(state):
        return
    shutil.rmtree(output / TENSORBOARD, ignore_errors=True)
    shutil.rmtree(state, ignore_errors=True)
    state.mkdir(parents=True)
    write_json(state / SETTINGS, metadata)


def begun_precision(state: Path, metadata: Mapping[str, Any]) -> str | None:
    """The number format of the training that can go on from ``state``; None where none can.

    ``metadata`` is what is known of the run before its model is loaded, whatever that says of precision.
    """
    begun, wanted = _begun(state), _plain(metadata)
    try:
        precision, settings = begun["settings"].pop("precision"), begun.pop("settings")
    except (AttributeError, KeyError, TypeError):
        return None
    del wanted["environment"], wanted["settings"]["precision"]
    same = wanted.pop("settings").items() <= settings.items() and all(begun.get(key) == wanted[key] for key in wanted)
    return precision if same and last_checkpoint(state) else None


def _begun(state: Path) -> Any:
    """The metadata of the training whose checkpoints lie in ``state``; None where they cannot be read."""
    try:
        return json.loads((state / SETTINGS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _plain(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """As it comes back from a file."""
    plain: dict[str, Any] = json.loads(json.dumps(metadata))
    return plain


def _anywhere(metadata: Any) -> Any:
    """Without device and threads, which may change between the legs of a training."""
    if isinstance(metadata, dict) and isinstance(metadata.get("environment"), dict):
        local = ("device", "device_name", "threads")
        environment = {name: value for name, value in metadata["environment"].items() if name not in local}
        return metadata | {"environment": environment}
    return metadata
