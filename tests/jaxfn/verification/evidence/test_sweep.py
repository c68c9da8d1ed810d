"""Points of the sweep are those that the domain accepts."""

import jax.numpy as jnp

from jaxfn.verification import gradcheck
from tests.jaxfn.verification.test_gradcheck import ruled

ASKED = "linearity", "autodiff", "differences"


def test_a_domain_may_accept_none_of_them():
    cube = ruled(lambda x: x**3, lambda x, g: (3 * g * x**2,))

    def near(x):
        return bool(jnp.linalg.norm(x - 1) < 1e-2)

    assert gradcheck(cube, (jnp.ones(4),), domain=near, layers=ASKED).verdict == "pass"
