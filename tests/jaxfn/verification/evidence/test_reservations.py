"""Errors that do not count, and those beside them that do."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxfn.verification import gradcheck
from tests.jaxfn.verification.test_gradcheck import X, ruled

# The layers that judge: what counts and what does not, they decide.
JUDGED = "autodiff", "differences"

relu = ruled(lambda x: jnp.maximum(x, 0), lambda x, g: (g * (x > 0),))


def test_kinks_of_several_rules_that_meet_where_the_check_moves():
    """relu(x) - 0.1 relu(-x) has the derivative 0 at 0 by the convention of relu."""
    assert gradcheck(lambda x: relu(x) - 0.1 * relu(-x), (X,), layers=JUDGED).verdict == "pass"


def test_kinks_of_several_rules_beside_which_the_rule_is_wrong():
    wrong = ruled(lambda x: jnp.maximum(x, 0), lambda x, g: (g * (x > 1e-2),))
    report = gradcheck(lambda x: wrong(x) - relu(-x), (X,), layers=JUDGED, raise_exception=False)
    assert report.verdict == "fail"


def test_kink_of_one_rule_is_its_own():
    rule = ruled(lambda x: x + 0.0, lambda x, g: (g * (x != 0),))
    assert gradcheck(rule, (X,), layers=JUDGED, raise_exception=False).cause == "zero-region"


def test_cone_that_rises_alike_on_both_sides():
    def backward(x, y, g):
        h = jnp.hypot(x, y)
        return tuple(g * v / jnp.where(h == 0, 1, h) for v in (x, y))

    x, y = np.array([3, 0, 1e-20], np.float32), np.array([4, 0, 1], np.float32)
    assert gradcheck(ruled(jnp.hypot, backward), (x, y), layers=JUDGED).verdict == "pass"


@pytest.mark.parametrize("right", [True, False])
def test_matrices_that_are_singular_but_for_rounding(right):
    def lyapunov(a):
        eye = jnp.eye(len(a), dtype=a.dtype)
        system = jnp.kron(a, eye) + jnp.kron(eye, a)
        return jnp.linalg.solve(system, eye.reshape(-1)).reshape(a.shape)

    def backward(a, g):
        eye = jnp.eye(len(a), dtype=a.dtype)
        system = jnp.kron(a, eye) + jnp.kron(eye, a)
        x, s = lyapunov(a), jnp.linalg.solve(system.T, g.reshape(-1)).reshape(a.shape)
        return (-(s @ x.T) - (s.T @ x if right else s @ x),)

    a = np.array([[2.0, 0.3], [-0.4, 1.5]], np.float32)
    report = gradcheck(ruled(lyapunov, backward), (a,), layers=JUDGED, raise_exception=False)
    assert report.verdict == ("pass" if right else "fail")


@pytest.mark.parametrize("right", [True, False])
def test_ties_where_the_function_is_not_convex(right):
    """Of |sort(x) - sort(y)| where elements are equal: both signs 0, or both 1."""

    def backward(x, y, g):
        i, j = jnp.argsort(x), jnp.argsort(y)
        d = x[i] - y[j]
        ahead, behind = (jnp.sign(d),) * 2 if right else (1 - 2 * (d < 0), 1 - 2 * (d <= 0))
        return jnp.zeros_like(x).at[i].set(g * ahead), jnp.zeros_like(y).at[j].set(-g * behind)

    cost = ruled(lambda x, y: jnp.sum(jnp.abs(jnp.sort(x) - jnp.sort(y))), backward)
    x, y = np.array([0.3, 0, -1, 0], np.float32), np.array([0, -2, 0, 0], np.float32)
    report = gradcheck(cost, (x, y), layers=JUDGED, raise_exception=False)
    assert report.verdict == ("pass" if right else "fail")
