"""What holds the constants of the other layers in place, precision and second order apart.

Each decision is asserted on both sides of its threshold, at a few times it and a part of it.
"""

from types import SimpleNamespace
from unittest import mock

import numpy as np

from jaxfn.verification.layers import linearity, shapes, transformations
from jaxfn.verification.layers.observed import Observed
from jaxfn.verification.layers.variants import Variant
from jaxfn.verification.points.probes import GIVEN
from tests.jaxfn.verification.synthetic_subject import comparison, engine, probe, subject


def linear_ulps():
    """A gradient that loses the cotangent's sign: rounding if the value is large beside it.

    Of the cotangents 0.126 and -0.132 the first is off by twice itself; an ulp of the value is
    2.2e-16 times the norm of both.
    """

    def verdict(value, slope, usual):
        rule = engine(lambda x: np.full_like(x, value), lambda x, g: slope * np.abs(g))
        observed = Observed(subject(rule), None, comparison((GIVEN, 1.0, usual, usual)))
        return linearity.check_linearity(observed).verdict

    assert verdict(value=1.0, slope=1e-15, usual=0.0) == "pass"
    assert verdict(value=1.0, slope=7e-15, usual=0.0) == "fail"
    assert verdict(value=0.0, slope=6e-15, usual=1.0) == "pass"
    assert verdict(value=0.0, slope=4e-14, usual=1.0) == "fail"


def of_a_sum():
    """Gradients of 1 whose sum, in float32, is a little more than 2."""

    def fault(gap):
        multiples = np.array(linearity.FACTORS)
        pulled = np.array([0.0, 1.0, 1.0, 2 + gap, *multiples])[:, None]
        return linearity._fault(subject(), pulled, list(multiples), np.zeros(1))[0]

    assert fault(3e-6) == ""
    assert fault(2e-5) == "not linear in the cotangent: not additive"


def transformed_ulps():
    """A gradient of zero beside a value of 1."""
    rule = engine(np.ones_like, lambda x, g: 0 * g)
    one = subject(rule)
    x = gammas = np.ones((1, 1))
    points = SimpleNamespace(subject=one, probes=(probe(GIVEN, 1.0),), x=x, gammas=gammas)
    points.integers = ()
    vmap = Variant("vmap", lambda at: None)

    def worst(seen):
        return transformations._compare(one, points, vmap, rule, np.array([[seen]]))

    assert worst(5e-15) is None
    assert worst(4e-14) is not None


def another_magnitude():
    """The value is 1 at the given size."""

    def accepted(value):
        rule = engine(lambda x: np.full_like(x, value))
        other = subject(rule, rule)
        given = comparison((GIVEN, 1.0, 1.0, 1.0))
        with (
            mock.patch.object(shapes, "_acceptance", return_value=lambda sizes: True),
            mock.patch.object(shapes, "_resized", return_value=other),
        ):
            return any(True for _ in shapes.resized_subjects(subject(), given))

    assert accepted(4e3)
    assert not accepted(2.5e4)


HELD = {
    "LINEAR_ULPS": linear_ulps,
    "OF_A_SUM": of_a_sum,
    "TRANSFORMED_ULPS": transformed_ulps,
    "ANOTHER_MAGNITUDE": another_magnitude,
}
