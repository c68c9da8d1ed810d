"""Forward mode and Hessians of the operations whose rules are linear in the tangent."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scripts.cases import Case, gradient, spike, straight_through
from tests.jaxfn.functional.oracles import assert_close, cotangent

pytestmark = pytest.mark.numbers

CASES = [
    case
    for topic in (straight_through, spike, gradient)
    for case in topic.CASES
    if case.linear_in_cotangent
]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_tangents_and_hessians_are_those_of_the_reference(case: Case):
    def derivatives(fun, x):
        y, y_dot = jax.jvp(fun, (x,), (cotangent(x),))
        hessian = jax.hessian(lambda row: jnp.sum(jnp.sin(fun(row))))(x[0])
        return y, y_dot, hessian, jax.linearize(fun, x)[1](cotangent(x))

    with jax.enable_x64(True):
        (x,) = case.args(dtype=np.float64)
        actual, expected = (
            jax.jit(lambda x, f=f: derivatives(f, x))(x) for f in (case.operation, case.reference)
        )
        assert_close(actual, expected, 1e-13)
