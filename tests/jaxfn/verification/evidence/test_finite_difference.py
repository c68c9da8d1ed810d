"""Finite differences: accurate where the function is smooth, and honest about their error."""

import numpy as np
import pytest

from jaxfn.verification.evidence.finite_difference import STEPS, slopes

FUNCTIONS = {
    "exp": (np.exp, 0.7, np.exp(0.7)),
    "linear": (lambda x: 3 * x + 1, 2.0, 3.0),
    "constant": (lambda x: 0 * x + 5, 2.0, 0.0),
    "sine, fast": (lambda x: np.sin(50 * x), 0.3, 50 * np.cos(15)),
    "power": (lambda x: x**9, 1.3, 9 * 1.3**8),
}


def along(fun, x, eps=2.3e-16):
    values = [np.asarray(fun(x + h), float).reshape(-1, 1) for h in (0 * STEPS[:1], STEPS, -STEPS)]
    return slopes(values[0][0], values[1], values[2], eps)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_smooth_functions(name):
    fun, x, expected = FUNCTIONS[name]
    found = along(fun, x)
    low, high = found.interval()
    assert low[0] <= expected <= high[0]
    assert high[0] - low[0] < 1e-5 * max(abs(expected), 1)
    assert not found.kinked()[0]


def test_kink():
    found = along(lambda x: np.maximum(x, 0) + x, 0.0)
    low, high = found.interval()
    assert found.kinked()[0]
    assert (low[0], high[0]) == pytest.approx((1, 2), abs=1e-3)


def test_noise_is_measured():
    fun = lambda x: np.exp(x).astype(np.float32).astype(float)  # noqa: E731
    found = along(fun, 0.7)
    low, high = found.interval()
    assert low[0] <= np.exp(0.7) <= high[0]
    assert 1e-8 < high[0] - low[0] < 1e-2


def test_jump_and_chaos_are_not_decided():
    low, high = along(np.floor, 1.0).interval()
    assert not high[0] - low[0] < 1
    low, high = along(lambda x: np.sin(1e12 * x), 0.3).interval()
    assert not np.isfinite([low[0], high[0]]).all()


def test_edge_of_the_domain_leaves_one_side():
    with np.errstate(invalid="ignore"):
        found = along(lambda x: np.where(x < 0, np.nan, x**2 + x), 0.0)
    low, high = found.interval()
    assert low[0] <= 1 <= high[0]
    assert high[0] - low[0] < 1e-4


def test_kink_that_rises_alike_on_both_sides():
    found = along(abs, 0.0)
    assert found.kinked()[0]
    assert [end[0] for end in found.interval()] == pytest.approx([-1, 1], abs=1e-3)


def test_values_in_steps_are_not_exact_where_second_differences_vanish():
    step = 3e-12
    for x in np.linspace(0.6, 0.8, 100):
        low, high = along(lambda v: step * np.round(np.arctanh(v) / step), x).interval()
        assert low[0] - 1e-6 <= 1 / (1 - x**2) <= high[0] + 1e-6
