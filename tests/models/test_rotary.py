"""Rotary positions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.rotary import rotary_angles, rotate

pytestmark = pytest.mark.numbers


def test_a_rotation_depends_on_the_difference_of_positions():
    q, k = jax.random.normal(jax.random.key(4), (2, 1, 1, 8))
    products = [
        jnp.vdot(rotate(q, rotary_angles([t], 8)), rotate(k, rotary_angles([t + 3], 8)))
        for t in (0, 5, 100)
    ]
    np.testing.assert_allclose(products, products[0], rtol=1e-4)
    assert not jnp.allclose(products[0], jnp.vdot(q, k))


def test_the_transpose_of_a_rotation_is_its_inverse():
    """Which is why it has no rule of its own: JAX's transpose is it, and keeps no features."""
    x = jax.random.normal(jax.random.key(5), (2, 3, 4, 8))
    angles = rotary_angles(jnp.arange(3), 8)
    (back,) = jax.linear_transpose(lambda x: rotate(x, angles), x)(rotate(x, angles))
    np.testing.assert_allclose(back, x, rtol=1e-5, atol=1e-6)
    (inverse,) = jax.vjp(lambda x: rotate(x, angles), x)[1](x)
    np.testing.assert_allclose(inverse, rotate(x, -angles), rtol=1e-5, atol=1e-6)


def test_an_odd_number_of_features_has_no_pairs():
    with pytest.raises(ValueError, match="rotary_angles: expected an even number"):
        rotary_angles(jnp.arange(3), 7)
