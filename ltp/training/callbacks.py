"""TODO"""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

from transformers import TrainerCallback

from ltp.common.errors import missing_package
from ltp.common.io import file_sha256, write_json
from ltp.results.manifest import file_problem
from ltp.training import distributed


class Diverged(Exception):
    """The loss is no longer a finite number; the message says at which step."""


class StopOnDivergence(TrainerCallback):
    """Ends a run whose logged loss is not finite: the weights do not come back from that."""

    def on_log(self, args, state, control, logs=None, **kwargs):
        """Raise Diverged at the first logged loss that is not a finite number."""
        loss = (logs or {}).get("loss")
        if loss is not None and not math.isfinite(loss):
            raise Diverged(f"the loss became {loss} by step {state.global_step} of {state.max_steps}")


class CheckpointByTime(TrainerCallback):
    """Asks for a checkpoint every so many minutes, and seals each one that was written to the end."""

    COMPLETE = "complete"

    def __init__(self, minutes: float):
        self.seconds = 60.0 * minutes
        self.last = time.monotonic()

    def on_step_end(self, args, state, control, **kwargs):
        """Save where the time has come, but not after the last step."""
        due = time.monotonic() - self.last >= self.seconds and state.global_step < state.max_steps
        if distributed.broadcast_from_main(due):
            control.should_save = True

    def on_save(self, args, state, control, **kwargs):
        """The library writes a checkpoint file by file: only the seal, their sha256, tells a whole one."""
        distributed.wait()  # each process adds its own part
        if distributed.is_main():
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            write_json(folder / self.COMPLETE, {path.name: file_sha256(path) for path in sorted(folder.iterdir())})
        self.last = time.monotonic()


def last_checkpoint(directory: Path) -> Path | None:
    """The newest checkpoint that was written to the end and is still as it was written."""
    checkpoints = [seal.parent for seal in directory.glob(f"checkpoint-*/{CheckpointByTime.COMPLETE}")]
    newest_first = sorted(checkpoints, key=lambda path: -int(path.name.split("-")[1]))
    return next(filter(_is_whole, newest_first), None)


def _is_whole(checkpoint: Path) -> bool:
    try:
        sealed = json.loads((checkpoint / CheckpointByTime.COMPLETE).read_text(encoding="utf-8"))
        return not any(file_problem(checkpoint / name, sha256) for name, sha256 in sealed.items())
    except (OSError, ValueError, AttributeError):
        return False


def tensorboard_logs(folder: Path) -> TrainerCallback:
    """A callback that writes the logged figures below ``folder``. Raises LTPError where TensorBoard is missing."""
    from transformers.integrations import TensorBoardCallback, is_tensorboard_available

    if not is_tensorboard_available():
        raise missing_package("tensorboard: true", "tensorboard", "tensorboard")
    callback = TensorBoardCallback()
    callback.logging_dir = str(folder)  # else below the resumable state, which goes when the training is done
    return callback
