"""Callbacks of the Trainer: stop where the loss is not finite, save by time, log for TensorBoard."""

from __future__ import annotations

import math
import time
from pathlib import Path

from transformers import TrainerCallback

from ltp.common.errors import missing_package
from ltp.training import distributed
from ltp.training.resuming import mark_complete, seconds_trained


class Diverged(Exception):
    """A number that should be finite is not; the message says where."""


class StopOnDivergence(TrainerCallback):
    """Ends a run whose logged loss is not finite: its weights are lost."""

    def on_log(self, args, state, control, logs=None, **kwargs):
        """Raise Diverged at the first logged loss that is not a finite number."""
        loss = (logs or {}).get("loss")
        if loss is not None and not math.isfinite(loss):
            raise Diverged(f"the loss became {loss} by step {state.global_step} of {state.max_steps}")


class CheckpointByTime(TrainerCallback):
    """Asks for a checkpoint every so many minutes, and marks each one as complete once it is written."""

    def __init__(self, minutes: float):
        self.interval = 60.0 * minutes
        self.last_save = self.started = time.monotonic()
        self.earlier = 0.0  # seconds of training before this process went on with it

    def on_train_begin(self, args, state, control, **kwargs):
        """Start the clock, from what the checkpoint says that the training goes on from."""
        self.last_save = self.started = time.monotonic()
        if state.global_step:
            self.earlier = seconds_trained(Path(args.output_dir) / f"checkpoint-{state.global_step}")

    def on_step_end(self, args, state, control, **kwargs):
        """Save where the time has come, but not after the last step."""
        due = time.monotonic() - self.last_save >= self.interval and state.global_step < state.max_steps
        if distributed.broadcast_from_main(due):
            control.should_save = True

    def on_save(self, args, state, control, **kwargs):
        """Mark the checkpoint that the library has just written, when every process has added its part."""
        distributed.wait()
        if distributed.is_main():
            checkpoint = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            mark_complete(checkpoint, self.earlier + time.monotonic() - self.started)
        self.last_save = time.monotonic()


def tensorboard_logs(folder: Path) -> TrainerCallback:
    """A callback that writes the logged figures below ``folder``. Raises LTPError where TensorBoard is missing."""
    from transformers.integrations import TensorBoardCallback, is_tensorboard_available

    if not is_tensorboard_available():
        raise missing_package("tensorboard: true", "tensorboard", "tensorboard")
    callback = TensorBoardCallback()
    callback.logging_dir = str(folder)  # else below the resumable state, which goes when the training is done
    return callback
