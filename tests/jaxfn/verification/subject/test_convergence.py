"""Iterations of a fixed number of steps: which loops are some, and one step more of each."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxfn.verification.subject.convergence import iterates_for_long, with_one_more_step

X = np.array([2.0, 9.0], np.float32)


def newton(x, steps=2):
    """Of the square root, from 1."""
    return jax.lax.fori_loop(0, steps, lambda _, y: (y + x / y) / 2, jnp.ones_like(x))


def summed(x):
    return jax.lax.scan(lambda total, row: (total + row, total), x[0], x)[1]


def test_what_iterates():
    assert iterates_for_long(jax.make_jaxpr(newton)(X))
    assert iterates_for_long(jax.make_jaxpr(lambda x: jax.jit(newton)(x) + 1)(X))
    assert not iterates_for_long(jax.make_jaxpr(summed)(X))
    assert not iterates_for_long(jax.make_jaxpr(jnp.sin)(X))


def test_one_more_step_of_each():
    def twice(x):
        return newton(jax.jit(newton)(x))

    longer = with_one_more_step(jax.make_jaxpr(twice)(X))
    np.testing.assert_array_equal(longer(X)[0], newton(newton(X, 3), 3))
    assert np.abs(longer(X)[0] - twice(X)).max() > 0.05


def test_of_what_has_no_iterations_nothing_changes():
    np.testing.assert_array_equal(with_one_more_step(jax.make_jaxpr(summed)(X))(X)[0], summed(X))
