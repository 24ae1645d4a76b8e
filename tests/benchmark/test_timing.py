"""How passes are timed in turn, and compared."""

from __future__ import annotations

from statistics import median

from ltp.benchmark import timing
from ltp.benchmark.timing import interleaved, speedup


def test_passes_are_interleaved_and_the_first_is_thrown_away(monkeypatch):
    """Each warms up right before it is timed, and who follows whom changes from repeat to repeat."""
    monkeypatch.setattr(timing, "PAUSE", 0)
    calls = []
    passes = {name: lambda name=name: calls.append(name) for name in "abcd"}
    warm = {name: lambda name=name: calls.append(name.upper()) for name in "abcd"}
    seconds = interleaved(passes, repeats=12, warm=warm)
    assert {name: len(times) for name, times in seconds.items()} == dict.fromkeys("abcd", 12)
    assert calls[:4] == list("abcd")
    timed = calls[4:]
    assert [name.lower() for name in timed[::2]] == timed[1::2]  # warmed by its own, not by another
    orders = [tuple(timed[start + 1 : start + 8 : 2]) for start in range(0, len(timed), 8)]
    assert all(sorted(order) == list("abcd") for order in orders)
    followers = {(order[index], order[index + 1]) for order in orders for index in range(3)}
    assert len(followers) > 8
    calls.clear()
    interleaved(passes, repeats=12, warm=warm)
    assert calls[4:] == timed  # the same each time the benchmark runs


def test_speedups_compare_neighbours_in_time():
    # The machine was ten times slower in the second repeat.
    slow, fast = [2.0, 20.0, 2.0], [1.0, 10.0, 1.0]
    assert speedup(slow, fast) == 2.0 == median(a / b for a, b in zip(slow, fast, strict=True))
