"""How the minutes are used: any speed, any number of texts, any time."""

from __future__ import annotations

from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from ltp.oneshot import clock

SECONDS = st.floats(-100, 1e5)
SPEED = st.floats(1e-2, 1e5)


@given(st.integers(200, 50_000), SPEED, SECONDS)
def test_texts_are_there_and_some_are_reported_on(texts, per_second, seconds):
    found = clock.sizes(texts, per_second, seconds)
    assert found.kept + found.train <= texts
    assert clock.MIN_KEPT <= found.kept <= clock.MAX_KEPT and found.train >= clock.MIN_KEPT
    assert 1 <= found.look <= found.train and 1 <= found.timed <= clock.MAX_SPEED


@given(st.integers(1000, 50_000), SPEED, st.floats(30, 1e5))
def test_the_originals_answers_take_a_fifth_of_the_time_at_most(texts, per_second, seconds):
    found = clock.sizes(texts, per_second, seconds)
    spent = (found.kept + found.train) / per_second
    assert spent <= clock.ANSWER_SHARE * seconds + 1e-6 or found.kept + found.train == 2 * clock.MIN_KEPT


@given(st.integers(200, 50_000), SPEED, st.floats(30, 1e5), st.integers(1, 4))
def test_the_least_leaves_time_to_train_where_texts_are_fast(texts, per_second, seconds, budgets):
    chosen = clock.sizes(texts, per_second, seconds)
    least = clock.least_seconds(chosen, per_second, budgets)
    assert least >= (chosen.kept + chosen.train) / per_second
    if per_second * seconds > 1e5:
        assert least < seconds


@given(st.integers(1, 20_000), SECONDS, st.floats(1e-3, 100))
def test_steps_fit_or_there_is_one(examples, seconds, step):
    steps = clock.steps_that_fit(examples, seconds, step)
    assert steps == 1 or steps * step <= seconds
    assert 1 <= steps <= clock.enough_steps(examples)


def test_little_text_is_read_a_few_times_only():
    assert clock.enough_steps(320) == clock.MAX_EPOCHS * 10
    assert clock.steps_that_fit(320, 1e6, 0.1) == clock.MAX_EPOCHS * 10


def test_the_first_step_is_not_counted(monkeypatch):
    times = iter([100.0, 101.0, 102.0, 103.0, 104.0, 105.0])
    monkeypatch.setattr(clock.time, "monotonic", lambda: next(times))
    probe, control = clock.Probe(), SimpleNamespace(should_training_stop=False)
    while not control.should_training_stop:
        probe.on_step_end(None, None, control)
    assert probe.seconds == 1.0 and len(probe.times) == 5  # four seconds


def test_a_call_that_goes_on_has_the_time_that_it_had_left(monkeypatch):
    monkeypatch.setattr(clock.time, "monotonic", lambda: 1000.0)
    assert clock.Clock(2.0).left == 120.0
    assert clock.Clock(2.0, earlier=50.0).left == 70.0
