"""Correct rules at whose arguments all is smooth, and kinks where a checker moves them to."""

import jax.numpy as jnp

from tests.jaxfn.verification.bodies.body import Body
from tests.jaxfn.verification.bodies.case import array, normal, rule

body = Body()


def _sorted_difference(x, y):
    return jnp.argsort(x), jnp.argsort(y), jnp.sort(x) - jnp.sort(y)


def _transport_backward(x, y, g):
    i, j, difference = _sorted_difference(x, y)
    share = g * jnp.sign(difference) / x.size
    return jnp.zeros_like(x).at[i].set(share), jnp.zeros_like(y).at[j].set(-share)


@body.correct(normal(5), normal(5, seed=1))
@rule(_transport_backward)
def transport_cost_of_samples(x, y):
    """Where zeros of `x` meet zeros of `y` it is neither convex nor concave."""
    return jnp.mean(jnp.abs(jnp.sort(x) - jnp.sort(y)))


def _outside(q):
    """The part of each row of `q` that is positive, its norm, and whether there is any."""
    m = jnp.maximum(q, 0)
    square = jnp.sum(m * m, -1)
    return m, jnp.sqrt(jnp.where(square > 0, square, 1)), square > 0


def _box_backward(p, g):
    q = jnp.abs(p) - 1
    m, norm, out = _outside(q)
    inside = jnp.arange(p.shape[-1]) == jnp.argmax(q, -1)[:, None]
    return (g[:, None] * jnp.sign(p) * jnp.where(out[:, None], m / norm[:, None], inside),)


@body.correct(array([2, 0.5], [0.2, 0.7], [3, -4], [-0.9, 0.1]))
@rule(_box_backward)
def signed_distance_of_a_box(p):
    """Of tiny coordinates `|p| - 1` is -1 for all alike."""
    q = jnp.abs(p) - 1
    _, norm, out = _outside(q)
    return norm * out + jnp.minimum(jnp.max(q, -1), 0)
