"""Other sizes of the axes: all at once first, permutations of the new size."""

import jax.numpy as jnp
import numpy as np

from jaxfn.verification import gradcheck
from tests.jaxfn.verification.test_gradcheck import ruled

RNG = np.random.default_rng(0)


def test_sizes_of_later_axes_are_tried():
    def backward(x, g):
        return (jnp.where(x.shape[2] % 2, 2.0, 1.0) * g * 2 * x,)

    x = RNG.standard_normal((2, 3, 16)).astype(np.float32)
    report = gradcheck(ruled(jnp.square, backward), (x,), order=1, raise_exception=False)
    assert "axes of size 16 given size 17" in report.diagnosis


def test_permutations_stay_some():
    rule = ruled(lambda x, p: x[p], lambda x, p, g: (g[jnp.argsort(p)], None))
    args = RNG.standard_normal(5).astype(np.float32), np.array([2, 0, 1, 4, 3])
    report = gradcheck(rule, args, order=1)
    assert (
        report.check("shapes").detail == "axes of size 5 given size 11; axes of size 5 given size 1"
    )


def test_rounding_where_the_gradient_vanishes():
    """Of softmax of one number: autodiff's is 0, the rule's the rounding of its value."""

    def softmax(x):
        e = jnp.exp(x)
        return e / e.sum()

    def backward(x, g):
        p = softmax(x)
        return (p * (g / 3) * 3 - p * (p @ g),)

    x = RNG.standard_normal(4).astype(np.float32)
    assert gradcheck(ruled(softmax, backward), (x,), order=1).verdict == "pass"
