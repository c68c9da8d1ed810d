"""When two figures differ: on both sides of each limit."""

from __future__ import annotations

import pytest

from jaxfn.comparison.figures.records import Pair
from jaxfn.comparison.figures.timing import Timing
from jaxfn.comparison.verdict.differences import (
    accuracy_gap,
    differ,
    is_about,
    is_enough,
    is_same_program,
    speed_ratio,
)
from tests.jaxfn.comparison.synthetic import PROGRAM, changed, error


@pytest.mark.parametrize(
    ("rule", "reference", "expected"),
    [
        (Timing(1.0, 0.9, 1.1, 9), Timing(2.0, 1.9, 2.1, 9), 2.0),
        (Timing(2.0, 1.9, 2.1, 9), Timing(1.0, 0.9, 1.1, 9), 0.5),
        (Timing(1.0, 0.9, 1.95, 9), Timing(2.0, 1.9, 2.1, 9), 1.0),  # they overlap
        (Timing(1.0, 1.0, 1.0, 9), Timing(1.04, 1.04, 1.04, 9), 1.0),  # too little
        (Timing(1.0, 1.0, 1.0, 9), Timing(1.06, 1.06, 1.06, 9), 1.06),  # enough
        (Timing(1.0, 1.0, 1.0, 4), Timing(2.0, 2.0, 2.0, 4), 1.0),  # too few
    ],
)
def test_a_difference_within_the_spread_is_none(rule, reference, expected):
    assert speed_ratio(Pair(rule, reference)) == expected


@pytest.mark.parametrize(("samples", "enough"), [(4, False), (5, True)])
def test_five_runs_of_each_side_are_enough(samples, enough):
    few, many = Timing(1.0, 1.0, 1.0, samples), Timing(1.0, 1.0, 1.0, 9)
    assert is_enough(Pair(few, many)) == is_enough(Pair(many, few)) == enough


def test_the_same_program_has_a_fingerprint_and_the_same():
    assert is_same_program(Pair(PROGRAM, PROGRAM))
    assert not is_same_program(Pair(PROGRAM, changed(fingerprint="b")))
    assert not is_same_program(Pair(*[changed(fingerprint=None)] * 2))


@pytest.mark.parametrize(("more", "expected"), [(100, False), (101, False), (103, True)])
def test_amounts_differ_from_two_percent_on(more, expected):
    assert differ(100, more) == differ(more, 100) == expected
    assert is_about(more / 200, 0.5) != expected
    assert is_about(200 / more, 2.0) != expected


def test_no_amount_differs_from_any():
    assert differ(0, 1)
    assert not differ(0, 0)


@pytest.mark.parametrize(
    ("rule", "reference", "gap"),
    [
        (1.4, 0.5, 0.0),  # less than an ulp apart
        (1.6, 0.5, 1.1),
        (50.0, 30.0, 0.0),  # less than twice
        (63.0, 30.0, 33.0),
        (float("inf"), 1.0, float("inf")),
        (float("inf"), float("inf"), 0.0),
    ],
)
def test_errors_differ_from_an_ulp_and_twice_on(rule, reference, gap):
    assert accuracy_gap(Pair(error(rule), error(reference))) == pytest.approx(gap)
    assert accuracy_gap(Pair(error(reference), error(rule))) == pytest.approx(-gap)
