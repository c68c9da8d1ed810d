"""Differences stay inside the stated domain."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxfn.verification import gradcheck
from jaxfn.verification.evidence.differences import Ladders
from jaxfn.verification.evidence.finite_difference import STEPS
from jaxfn.verification.subject.subject import DOUBLE
from tests.jaxfn.verification.test_gradcheck import ruled

ASKED = "autodiff", "differences"
X = jnp.array([1.5, 1.5, 1.5])


def _equal(x):
    return bool((x == x[0]).all())


def _square_of_equal_elements(x):
    """Something else where they are not equal: of no interest to its author."""
    return jnp.where((x == x[0]).all(), x**2, 5 * x)


def test_a_function_of_the_arguments_bounds_the_steps():
    # moving one element leaves the domain, and there the slope is another one
    rule = ruled(_square_of_equal_elements, lambda x, g: (2 * x * g,))
    assert gradcheck(rule, (X,), domain=_equal, layers=ASKED).verdict == "pass"
    assert gradcheck(_square_of_equal_elements, (X,), domain=_equal, layers=ASKED).verdict == "pass"


def test_autodiff_still_sees_a_wrong_rule_there():
    rule = ruled(_square_of_equal_elements, lambda x, g: (4 * x * g,))
    report = gradcheck(rule, (X,), domain=_equal, layers=("autodiff",), raise_exception=False)
    assert "2 times the expected value" in report.diagnosis


def test_a_side_that_stays_inside_is_used():
    report = gradcheck(
        ruled(lambda x: jnp.log(x) * x, lambda x, g: (g * jnp.log(x),)),
        (np.array([1.0, 2.0, 0.1]),),
        domain=lambda x: bool((x > 0).all()),
        layers=ASKED,
        raise_exception=False,
    )
    assert report.verdict == "fail"


def _root(c):
    """The solution of y = c cos(y), without autodiff: differences alone decide."""

    def step(state):
        y, k = state
        return jnp.cos(y) * c, k + 1

    return jax.lax.while_loop(lambda state: state[1] < 80, step, (c, 0))[0]


def _of_root(c, g):
    y = _root(c)
    return (g * jnp.cos(y) / (1 + c * jnp.sin(y)),)


def test_a_domain_that_refuses_the_given_point_bounds_nothing():
    c = np.array([0.3, 0.5], np.float32)
    rule = ruled(_root, _of_root)
    report = gradcheck(rule, (c,), domain=lambda c: bool((c > 0.4).all()), layers=ASKED)
    assert report.verdict == "pass"


def test_directions_are_looked_at_together_as_each_by_itself():
    rng = np.random.default_rng(0)
    slopes_, at = rng.standard_normal((2, 3, 2))
    steps = np.concatenate([[0.0], STEPS, -STEPS])[:, None]
    blocks = at[:, None] + np.where(steps > 0, 1.0, 2.0) * steps * slopes_[:, None]
    ends, kinked = Ladders(blocks, DOUBLE).each
    alone = [Ladders(block[None], DOUBLE).each for block in blocks]
    assert kinked.all()
    np.testing.assert_array_equal(ends, np.concatenate([one[0] for one in alone], axis=1))
    low, high = np.sort([slopes_, 2 * slopes_], axis=0)
    assert (ends[0] < low).all()
    assert (ends[1] > high).all()
