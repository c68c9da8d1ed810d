from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxfn
import models

pytestmark = pytest.mark.numbers


def test_linear_is_the_functional_api_with_its_parameters():
    layer = models.Linear(20, 30, rngs=nnx.Rngs(0))
    x = jnp.ones((5, 20))
    chex.assert_trees_all_equal(layer(x), jaxfn.linear(x, layer.kernel[...], layer.bias[...]))
    assert (layer.kernel.shape, layer.bias.shape) == ((20, 30), (30,))
    rules = jaxfn.custom_rules(layer, x)
    assert [rule.name for rule in rules] == ["_linear"]


def test_linear_draws_uniformly_from_a_tenth_on_either_side():
    layer = models.Linear(100, 100, rngs=nnx.Rngs(0))
    for parameter in (layer.kernel[...], layer.bias[...]):
        values = np.asarray(parameter)
        assert -0.1 <= values.min() < -0.09
        assert 0.09 < values.max() < 0.1
        # Five standard deviations of the mean of so many uniform draws.
        assert abs(values.mean()) < 5 * 0.1 / np.sqrt(3 * values.size)


def test_linear_without_bias():
    layer = models.Linear(3, 4, use_bias=False, rngs=nnx.Rngs(0))
    assert layer.bias is None
    assert len(jax.tree.leaves(nnx.state(layer, nnx.Param))) == 1
    chex.assert_trees_all_equal(layer(jnp.ones(3)), jnp.ones(3) @ layer.kernel[...])


@pytest.mark.parametrize("seed", [0, 1])
def test_the_same_seed_gives_the_same_parameters(seed):
    one, two = (nnx.state(models.Linear(3, 4, rngs=nnx.Rngs(seed))) for _ in range(2))
    chex.assert_trees_all_equal(one, two)
    other = nnx.state(models.Linear(3, 4, rngs=nnx.Rngs(seed + 1)))
    assert not np.array_equal(one["kernel"][...], other["kernel"][...])


def test_kernel_and_bias_are_drawn_independently():
    layer = models.Linear(1, 4, rngs=nnx.Rngs(0))
    assert not np.array_equal(layer.kernel[0], layer.bias[...])


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_param_dtype(dtype):
    layer = models.Linear(3, 4, param_dtype=dtype, rngs=nnx.Rngs(0))
    assert layer.kernel.dtype == layer.bias.dtype == dtype


def test_conv2d_is_the_functional_api_with_its_parameters():
    layer = models.Conv2d(2, 3, (3, 2), stride=2, padding="SAME", rngs=nnx.Rngs(0))
    x = jnp.ones((1, 6, 6, 2))
    expected = jaxfn.conv2d(x, layer.kernel[...], layer.bias[...], stride=2, padding="SAME")
    chex.assert_trees_all_equal(layer(x), expected)
    assert np.abs(layer.kernel[...]).max() <= 1 / np.sqrt(3 * 2 * 2)


def test_conv2d_relu_max_pool2d_is_the_functional_api_with_its_parameters():
    layer = models.Conv2dReluMaxPool2d(
        2, 3, (3, 3), window=(1, 2), stride=(2, 1), padding="SAME", rngs=nnx.Rngs(0)
    )
    x = jnp.asarray(np.random.RandomState(0).standard_normal((1, 6, 6, 2)), "float32")
    z = jaxfn.conv2d(x, layer.kernel[...], layer.bias[...], stride=(2, 1), padding="SAME")
    expected = jaxfn.max_pool2d(jaxfn.relu(z), (1, 2))
    chex.assert_trees_all_close(layer(x), expected, rtol=1e-5, atol=1e-6)


def test_a_layer_trains_by_nnx_grad():
    layer = models.Linear(3, 4, rngs=nnx.Rngs(0))
    gradients = nnx.grad(lambda m: jnp.sum(m(jnp.ones((2, 3)))))(layer)
    chex.assert_trees_all_equal(gradients["kernel"][...], jnp.full((3, 4), 2.0))
    chex.assert_trees_all_equal(gradients["bias"][...], jnp.full(4, 2.0))


def test_the_input_is_checked():
    layer = models.Linear(3, 4, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=r"linear: expected weight \[5, out\] to match x"):
        layer(jnp.ones((2, 5)))
