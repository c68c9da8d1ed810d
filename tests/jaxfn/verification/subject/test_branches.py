"""The integers at which a program does something else: both sides of what it compares with."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfn.verification.subject.branches import branch_values

X = np.array([0.5, -1, 2, 3, 4], np.float32)


def found(fun, *integers):
    """Of a function of one array and of integers."""
    traced = jax.make_jaxpr(fun)(X, *integers)
    return branch_values(traced, 1, len(integers))


@pytest.mark.parametrize(
    ("compare", "values"),
    [
        (lambda i: i == -100, (-100,)),
        (lambda i: i != -100, (-100,)),
        (lambda i: i < 3, (2, 3)),
        (lambda i: i >= 3, (2, 3)),
        (lambda i: i > 3, (3, 4)),
        (lambda i: i <= 3, (3, 4)),
        (lambda i: jnp.greater(3, i), (2, 3)),
        (lambda i: i + 1 == 3, (3,)),
        (lambda i: i == i[0], ()),
    ],
)
def test_comparisons(compare, values):
    assert found(lambda x, i: jnp.where(compare(i), x[:3], 0), np.array([1, 0, 2])) == [values]


def test_each_argument_has_its_own():
    def fun(x, i, j, k):
        return jnp.where(i == 7, x, 0), jnp.where(j == 8, x, 0), x[k]

    i = np.arange(5)
    assert found(fun, i, i, i) == [(7,), (8,), ()]


def test_an_index_that_counts_from_the_end_is_no_branch():
    assert found(lambda x, i: x[i], np.array([0, 2])) == [()]


def test_within_functions_that_are_called():
    ignore = jax.jit(lambda x, i: jnp.where(i == 7, x, 0))
    assert found(lambda x, i: ignore(x, i + 0), np.arange(5)) == [(7,)]
    ruled = jax.custom_vjp(lambda x, i: jnp.where(i == 7, x, 0))
    ruled.defvjp(lambda x, i: (ruled(x, i), None), lambda _, g: (g, None))
    assert found(ruled, np.arange(5)) == [(7,)]


def test_the_first_start_beyond_the_end():
    def sliced(x, start):
        return jax.lax.dynamic_slice(x, (start,), (3,))

    def updated(x, start):
        return jax.lax.dynamic_update_slice(x, x[:2], (start,))

    assert 3 in found(sliced, np.int32(1))[0]
    assert 4 in found(updated, np.int32(1))[0]
    assert found(lambda x, s: jax.lax.dynamic_slice(x, (s,), (5,)), np.int32(0)) == [()]


def test_a_key_that_is_closed_over_is_no_integer():
    key = jax.random.key(0)
    noisy = jax.jit(lambda x, i: jnp.where(i < 3, x + jax.random.normal(key, x.shape), x))
    assert found(noisy, np.arange(5)) == [(2, 3)]
    ruled = jax.custom_jvp(lambda x, k, i: jnp.where(i < 3, x + jax.random.normal(k, x.shape), x))
    ruled.defjvps(lambda x_dot, y, x, k, i: x_dot, None, None)
    assert found(lambda x, i: ruled(x, key, i), np.arange(5)) == [(2, 3)]
