"""Timing of functions against each other, in turn, in one process."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Hashable, Mapping
from statistics import median
from typing import Any, TypeVar

import torch

K = TypeVar("K", bound=Hashable)
PAUSE = 0.05  # seconds; threads of ONNX Runtime go on spinning after a pass, which would slow the next one


def interleaved(
    passes: Mapping[K, Callable[[], Any]],
    repeats: int,
    cuda: bool = False,
    warm: Mapping[K, Callable[[], Any]] | None = None,
) -> dict[K, list[float]]:
    """Seconds of every repeat of every pass, after one untimed call of each.

    A repeat runs all passes, in a random order (with a fixed seed): what slows the machine down for a while slows all
    of them down, and none always follows the same other one. Before each comes a pause and then, untimed, its function
    in ``warm``, so that it does not start with another's data in the cache. With ``cuda``, CUDA events take the time.
    """
    for run in passes.values():
        run()
    order = random.Random(0)
    names = list(passes)
    seconds: dict[K, list[float]] = {name: [] for name in names}
    measure = _cuda_seconds if cuda else _seconds
    for _ in range(repeats):
        for name in order.sample(names, len(names)):
            time.sleep(PAUSE)
            if warm:
                warm[name]()
            seconds[name].append(measure(passes[name]))
    return seconds


def speedup(slow: list[float], fast: list[float]) -> float:
    """Median over the repeats of slow / fast: each ratio compares passes that ran close in time."""
    return median(a / b for a, b in zip(slow, fast, strict=True))


def _seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _cuda_seconds(run: Callable[[], Any]) -> float:
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    run()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1000
