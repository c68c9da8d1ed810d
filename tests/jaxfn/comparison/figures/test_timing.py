"""Timing two programs in turn."""

from __future__ import annotations

import time

import pytest

from jaxfn.comparison.figures import timing
from jaxfn.comparison.figures.timing import Timing, interleave, summarise


def test_median_and_quartiles():
    assert summarise([5.0, 1.0, 3.0, 2.0, 4.0]) == Timing(3.0, 2.0, 4.0, 5)
    assert summarise([2.0]) == Timing(2.0, 2.0, 2.0, 1)


def test_contestants_run_in_turn_and_the_order_turns_around():
    calls = []

    def contestant(name):
        def run():
            calls.append(name)
            time.sleep(2e-3)  # longer than a sample has to be: one call is a sample

        return run

    timings = interleave([contestant("a"), contestant("b")], rounds=2, seconds=1)
    assert "".join(calls) == "aabb" + "ab" + "ba"
    assert all(timing.samples == 2 and timing.low >= 2e-3 for timing in timings)


def test_a_slow_contestant_still_has_five_rounds():
    timings = interleave([lambda: time.sleep(2e-3)], rounds=100, seconds=1e-6)
    assert timings[0].samples == 5


class Clock:
    """One that only what runs puts on."""

    def __init__(self):
        self.seconds, self.calls = 0.0, 0

    def perf_counter(self) -> float:
        return self.seconds

    def run_of(self, seconds: float):
        def run():
            self.seconds += seconds
            self.calls += 1

        return run


@pytest.mark.parametrize(("seconds", "calls"), [(1e-6, 50), (25e-6, 40), (0.3e-3, 3), (2e-3, 1)])
def test_a_sample_is_as_many_calls_as_last_a_millisecond_and_fifty_at_most(
    monkeypatch, seconds, calls
):
    clock = Clock()
    monkeypatch.setattr(timing, "time", clock)
    (found,) = interleave([clock.run_of(seconds)], rounds=6, seconds=9.0)
    assert clock.calls == 2 + 6 * calls  # one warms up, one is looked at
    assert found.median == pytest.approx(seconds)
