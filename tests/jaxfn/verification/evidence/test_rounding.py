"""What rounding explains, and errors just beyond it."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from jaxfn.verification import gradcheck
from jaxfn.verification.constants import CANCELS, SAFETY
from jaxfn.verification.evidence.rounding import change, shaken
from jaxfn.verification.subject.setup import make_subject
from tests.jaxfn.verification.bodies import hidden_wrong, rounding_correct

X, G = np.array([[0.3, -1.2, 2.0]]), np.array([[1.0, 0.4, -0.7]])
VANISHING = "correlation_of_two_points", "standardised_pairs_are_signs", "softmax_that_has"

# The layers that say of a difference whether rounding makes it.
ASKED = "linearity", "autodiff", "differences", "second order"


@pytest.fixture(scope="module")
def subject():
    options = {"seed": 0, "linear": True, "domain": None}
    return make_subject(jnp.sin, (X[0].astype(np.float32),), None, None, options)


def test_little_where_nothing_cancels(subject):
    moved = shaken(subject, lambda x, g: g * np.cos(x), X, G)
    assert moved.shape == X.shape
    assert (moved > 0).all()
    assert (moved < 100 * SAFETY * subject.eps).all()


def test_the_terms_where_they_cancel(subject):
    moved = shaken(subject, lambda x, g: (g * x + 1e8) - 1e8, X, G)
    assert (moved > 1e8 * subject.eps).all()
    assert (moved < CANCELS * 1e8 * subject.eps).all()


def test_rounding_that_no_ulp_changes(subject):
    almost_one, one = 1 - 45 * 2.0**-53, np.ones((1, 1))
    assert shaken(subject, lambda x, g: g - almost_one * g, one, one) > 2.0**-53
    undeclared = replace(subject, linear=False)
    assert shaken(undeclared, lambda x, g: g - almost_one * g, one, one) == 0


def test_change_of_what_is_not_finite():
    seen = change(np.array([1.0, np.nan, np.inf]), np.array([0.5, 1.0, np.inf]))
    np.testing.assert_array_equal(seen, [0.5, 0, 0])


@pytest.mark.parametrize(
    "case",
    [c for c in rounding_correct.body.cases if c.name.startswith(VANISHING)],
    ids=lambda case: case.name,
)
def test_gradients_that_are_rounding_alone(case):
    assert gradcheck(case.fun, case.args, layers=ASKED).verdict == "pass"


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=case.name, marks=[pytest.mark.long] if i % 2 else [])
        for i, case in enumerate(hidden_wrong.body.cases)
    ],
)
def test_errors_beyond_rounding(case):
    report = gradcheck(case.fun, case.args, layers=ASKED, raise_exception=False)
    assert report.verdict == "fail"
