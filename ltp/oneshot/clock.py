"""How the minutes of one call are used: measured speeds in, numbers of texts and training steps out."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from transformers import TrainerCallback

from ltp.training.budget import SENTENCES

# Shares of the time: for the original's answers, which training learns from and the report compares with; for one look
# at what thresholds cost; for milliseconds side by side.
ANSWER_SHARE, LOOK_SHARE, SPEED_SHARE = 0.2, 0.004, 0.06
MIN_LOOK, MAX_SPEED, MIN_SPEED = 64, 32, 8  # texts
# What timing costs, in passes of the original on packed tokens over its texts: three models, two batch sizes.
SPEED_PASSES = 45
MAX_KEPT, MIN_KEPT = 1000, 100  # texts to report on: at 1,000 an agreement of 97 % is known to 1 point
MAX_TRAIN = 20_000
BATCH = 32
MAX_EPOCHS = 6.0
MAX_STEPS = 3000
SAFETY = 0.9  # of what seems to be left: the machine may slow down
PROBE_SECONDS = 4.0
MIN_PROBE, MAX_PROBE = 2, 20  # steps, of which the first is not counted


class Clock:
    """The time of one call."""

    def __init__(self, minutes: float, earlier: float = 0.0) -> None:
        self.seconds = 60.0 * minutes
        self.started = time.monotonic() - earlier

    @property
    def elapsed(self) -> float:
        """Seconds since the call began, without those between the legs of an interrupted one."""
        return time.monotonic() - self.started

    @property
    def left(self) -> float:
        """Seconds that may still be used."""
        return self.seconds - self.elapsed


@dataclass(frozen=True)
class Sizes:
    """Texts to report on, to train on, to set thresholds on, and to time."""

    kept: int
    train: int
    look: int
    timed: int


def sizes(texts: int, per_second: float, seconds: float) -> Sizes:
    """How many of ``texts`` to use, where the original answers ``per_second`` and ``seconds`` are left.

    A fifth of the texts, within limits, is kept aside. However little time there is, a hundred texts are reported on,
    and as many are learned from.
    """
    affordable = min(texts, max(2 * MIN_KEPT, int(ANSWER_SHARE * seconds * per_second)))
    kept = min(MAX_KEPT, max(MIN_KEPT, affordable // 5))
    train = min(MAX_TRAIN, affordable - kept)
    look = min(SENTENCES, train, max(MIN_LOOK, int(LOOK_SHARE * seconds * per_second)))
    timed = min(MAX_SPEED, max(MIN_SPEED, int(SPEED_SHARE * seconds * per_second / SPEED_PASSES)))
    return Sizes(kept, train, look, timed)


def least_seconds(chosen: Sizes, per_second: float, budgets: int) -> float:
    """What answers, comparisons and timing take, without any training, where the original answers ``per_second``."""
    return (chosen.kept + chosen.train + budgets * (chosen.kept + SPEED_PASSES * chosen.timed)) / per_second


def steps_that_fit(examples: int, seconds: float, step: float) -> int:
    """Training steps of ``step`` seconds that fit into ``seconds``: at least one, and no more than are enough."""
    return max(1, min(int(SAFETY * seconds / step), enough_steps(examples)))


def enough_steps(examples: int) -> int:
    """Training steps that are made where there is time."""
    return min(math.ceil(MAX_EPOCHS * examples / BATCH), MAX_STEPS)


class Probe(TrainerCallback):
    """Stops a training as soon as the time of a step is known."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_step_end(self, args, state, control, **kwargs):
        """Note the time, and stop after PROBE_SECONDS."""
        self.times.append(time.monotonic())
        enough = self.times[-1] - self.times[0] >= PROBE_SECONDS and len(self.times) >= MIN_PROBE
        control.should_training_stop = enough or len(self.times) >= MAX_PROBE

    @property
    def seconds(self) -> float:
        """Seconds of a step, the first not counted."""
        return (self.times[-1] - self.times[0]) / (len(self.times) - 1)
