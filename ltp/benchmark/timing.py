"""Timing of backends against each other: same work, in turn, in one process."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

import torch

PAUSE = 0.05  # seconds; threads of ONNX Runtime go on spinning after a pass, at the cost of whoever comes next


def interleaved(
    passes: Mapping[str, Callable[[], Any]],
    repeats: int,
    cuda: bool = False,
    warm: Mapping[str, Callable[[], Any]] | None = None,
) -> dict[str, list[float]]:
    """Seconds of every repeat of every pass, after one untimed pass each.

    A repeat runs all of them, in an order drawn anew with a fixed seed: what slows the machine down for a while meets
    all alike, and nobody always follows the same neighbour. Before each comes a pause, and, not timed, its own of
    ``warm``, which takes the cache over from the neighbour. On a GPU, CUDA events take the time.
    """
    for run in passes.values():
        run()
    order = random.Random(0)
    names = list(passes)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    measure = _cuda_seconds if cuda else _seconds
    for _ in range(repeats):
        for name in order.sample(names, len(names)):
            time.sleep(PAUSE)
            if warm:
                warm[name]()
            seconds[name].append(measure(passes[name]))
    return seconds


def speedup(slow: list[float], fast: list[float]) -> float:
    """Median over the repeats of slow / fast: neighbours in time are compared."""
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
