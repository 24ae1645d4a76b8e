"""Timing of contenders against each other: same work, in turn, in one process."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

import torch


def interleaved(passes: Mapping[str, Callable[[], Any]], repeats: int, cuda: bool = False) -> dict[str, list[float]]:
    """Seconds of every repeat of every pass, after one untimed pass each.

    A repeat runs all of them, starting with another one each time, so what slows the machine down for a while, or
    what a neighbour leaves in the cache, meets all alike. On a GPU, CUDA events take the time.
    """
    for run in passes.values():
        run()
    names = list(passes)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    measure = _cuda_seconds if cuda else _seconds
    for repeat in range(repeats):
        shift = repeat % len(names)
        for name in names[shift:] + names[:shift]:
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
