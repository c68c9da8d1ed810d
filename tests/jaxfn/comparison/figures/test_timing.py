"""Timing, and when a difference is one."""

from __future__ import annotations

import time

import pytest

from jaxfn.comparison.figures.records import Pair
from jaxfn.comparison.figures.timing import Timing, interleave, summarise
from jaxfn.comparison.verdict.judge import speed_ratio


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


@pytest.mark.parametrize(
    ("rule", "reference", "expected"),
    [
        (Timing(1.0, 0.9, 1.1, 9), Timing(2.0, 1.9, 2.1, 9), 2.0),
        (Timing(2.0, 1.9, 2.1, 9), Timing(1.0, 0.9, 1.1, 9), 0.5),
        (Timing(1.0, 0.9, 1.95, 9), Timing(2.0, 1.9, 2.1, 9), 1.0),  # they overlap
        (Timing(1.0, 1.0, 1.0, 9), Timing(1.04, 1.04, 1.04, 9), 1.0),  # too little
        (Timing(1.0, 1.0, 1.0, 4), Timing(2.0, 2.0, 2.0, 4), 1.0),  # too few
    ],
)
def test_a_difference_within_the_spread_is_none(rule, reference, expected):
    assert speed_ratio(Pair(rule, reference)) == expected
