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
    report = gradcheck(ruled(jnp.square, backward), (x,), layers=("shapes",), raise_exception=False)
    assert "axes of size 16 given size 131" in report.diagnosis


def test_permutations_stay_some():
    rule = ruled(lambda x, p: x[p], lambda x, p, g: (g[jnp.argsort(p)], None))
    args = RNG.standard_normal(5).astype(np.float32), np.array([2, 0, 1, 4, 3])
    report = gradcheck(rule, args, layers=("shapes",))
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
    assert gradcheck(ruled(softmax, backward), (x,), layers=("shapes",)).verdict == "pass"


def test_a_square_matrix_is_tried_where_none_is_given():
    def backward(x, g):
        return (g * 2 * x * (2 if x.shape[0] == x.shape[1] else 1),)

    x = RNG.standard_normal((3, 5)).astype(np.float32)
    report = gradcheck(ruled(jnp.square, backward), (x,), layers=("shapes",), raise_exception=False)
    assert "axes of size 5 given size 3; there: 2 times the expected value" in report.diagnosis


def test_loops_that_are_written_out_are_not_made_long():
    def total(x):
        return sum(jnp.sin(row) for row in x)

    x = RNG.standard_normal((9, 2)).astype(np.float32)
    detail = gradcheck(ruled(total, lambda x, g: (g * jnp.cos(x),)), (x,), layers=("shapes",))
    assert "131" not in detail.check("shapes").detail


def test_a_domain_speaks_of_sizes_too():
    rule = ruled(jnp.square, lambda x, g: (2 * g * x * (1 if len(x) == 5 else 3),))
    x = RNG.standard_normal(5).astype(np.float32)
    report = gradcheck(rule, (x,), layers=("shapes",), domain=lambda x: len(x) == 5)
    assert report.check("shapes").verdict == "skipped"


def test_sizes_that_the_function_does_not_take_are_left_out():
    """A kernel that is written for rows of 4 has other values for those of another length."""
    x = RNG.standard_normal(4).astype(np.float32)

    def factor(x, of_others):
        return 1 if x.shape == (4,) else of_others

    def kernel(x):
        return factor(x, 2) * jnp.sin(x)

    def asked(of_others, reference):
        rule = ruled(kernel, lambda x, g: (factor(x, of_others) * g * jnp.cos(x),))
        return gradcheck(
            rule, (x,), layers=("shapes",), reference=reference, raise_exception=False
        ).check("shapes")

    assert asked(3, jnp.sin).verdict == "skipped"
    assert asked(2, kernel).verdict == "pass"
    assert asked(3, kernel).verdict == "fail"
