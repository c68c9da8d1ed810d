"""Who runs when, how often, and what is made of it; not how fast anything is."""

from __future__ import annotations

import itertools

import jax.numpy as jnp
import pytest

from scripts.benchmarks import timing
from scripts.benchmarks.timing import (
    Contestant,
    Effort,
    Row,
    Timing,
    add_speed,
    carried,
    compiled,
    interleave,
    measure,
    rounds,
)


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test moves on."""

    class Clock:
        now = 0.0

        def pass_by(self, seconds):
            self.now += seconds

    clock = Clock()
    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock.now)
    return clock


def test_rounds_end_after_the_repeats():
    assert list(rounds(Effort(3, 100.0))) == [0, 1, 2, 3]


def test_rounds_end_after_the_seconds(clock):
    taken = []
    for count in rounds(Effort(100, 10.0)):
        taken.append(count)
        clock.pass_by(1.0 if count else 50.0)  # warming up does not count
    assert taken == list(range(12))


@pytest.mark.parametrize(("each", "expected"), [(4.0, 5), (8.0, 4), (60.0, 1)])
def test_rounds_are_fewer_if_each_takes_far_too_long(clock, each, expected):
    taken = 0
    for count in rounds(Effort(100, 10.0)):
        taken = count
        clock.pass_by(each)
    assert taken == expected


def test_contestants_run_in_turn_each_warm(clock):
    ran = []

    def run(name, seconds):
        ran.append(name)
        clock.pass_by(seconds)

    timings = interleave({n: lambda n=n: run(n, 1.0) for n in "ab"}, Effort(2, 100.0))
    assert "".join(ran) == "aabb" * 3
    assert timings["a"].seconds == (1.0, 1.0)


def test_a_sample_of_a_fast_contestant_is_many_calls(clock):
    calls = itertools.count()

    def run():
        next(calls)
        clock.pass_by(1e-3)

    timing = interleave({"fast": run}, Effort(1, 100.0))["fast"]
    assert timing.seconds == (pytest.approx(1e-3),)
    assert next(calls) == 2 + 20 + 20  # the round that warms up, 20 ms untimed, 20 ms


def test_who_cannot_run_has_a_row_that_says_why():
    contestants = {"a": Contestant(lambda: 1, {"figure": 2.0}), "b": Contestant(None, note="no b")}
    a, b = measure("group", contestants, Effort(2, 1.0))
    assert (a.group, a.contestant, a.figures, len(a.timing.seconds)) == (
        "group",
        "a",
        {"figure": 2.0},
        2,
    )
    assert (b.contestant, b.timing, b.note) == ("b", None, "no b")


def test_speed_is_against_the_fastest_that_is_meant():
    rows = [Row("g", name, Timing((t,))) for name, t in (("a", 1.0), ("b", 4.0), ("b", 3.0))]
    rows.append(Row("g", "c", None))
    speeds = [
        row.figures.get("speed") for row in add_speed(rows, "speed", lambda r: r.contestant == "b")
    ]
    assert speeds == [3.0, 0.75, 1.0, None]
    assert add_speed(rows, "speed", lambda row: row.contestant == "c") == rows


def test_timing():
    assert Timing((3.0, 1.0, 2.0)).median == 2.0
    assert Timing((3.0, 1.0, 2.0)).disturbed
    assert not Timing((2.1, 2.0, 9.0)).disturbed
    assert Timing((3.0, 1.0)).times(2).seconds == (6.0, 2.0)


def test_a_compiled_contestant_knows_its_memory():
    contestant = compiled(lambda x: (x @ x) @ x, jnp.ones((64, 64)))
    assert contestant.figures["temporary_bytes"] >= 64 * 64 * 4
    assert contestant.figures["compile_seconds"] > 0
    assert contestant.run()[0, 0] == 64**2


def test_a_carried_contestant_goes_on_from_its_own_state():
    state = {"count": jnp.zeros(())}

    def step(state, by):
        return {"count": state["count"] + by}, state["count"]

    one, other = carried(step, state, jnp.ones(())), carried(step, state, 2 * jnp.ones(()))
    assert [one.run().item(), one.run().item()] == [0, 1]  # each before its step
    assert [other.run().item(), other.run().item(), one.run().item()] == [0, 2, 2]
    assert one.figures.keys() == {"compile_seconds", "temporary_bytes"}
    assert state["count"].item() == 0  # not given away
