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


def test_two_layers_without_bias():
    model = models.TwoLayerRegression(8, 6, 3, rngs=nnx.Rngs(0))
    state = nnx.state(model, nnx.Param)
    assert {jax.tree_util.keystr(k): v.shape for k, v in jax.tree.leaves_with_path(state)} == {
        "['fc1']['kernel'].value": (8, 6),
        "['fc2']['kernel'].value": (6, 3),
    }
    x = jnp.asarray(np.random.RandomState(0).standard_normal((4, 8)), jnp.float32)
    expected = jnp.maximum(x @ model.fc1.kernel[...], 0) @ model.fc2.kernel[...]
    chex.assert_trees_all_close(model(x), expected, rtol=1e-5)
    rules = jaxfn.custom_rules(model, x)
    assert [(rule.name, rule.count) for rule in rules] == [("_linear", 2), ("_relu", 1)]


def test_weights_are_standard_normal():
    model = models.TwoLayerRegression(1000, 100, 10, rngs=nnx.Rngs(0))
    values = np.asarray(model.fc1.kernel[...])
    assert abs(values.mean()) < 5 / np.sqrt(values.size)
    assert abs(values.std() - 1) < 0.01


def test_the_relu_passes_the_gradient_at_zero():
    model = models.TwoLayerRegression(1, 1, 1, rngs=nnx.Rngs(0))
    w1, w2 = (np.asarray(layer.kernel[...]) for layer in (model.fc1, model.fc2))
    gradient = jax.grad(lambda x: model(x).sum())(jnp.zeros((1, 1)))
    np.testing.assert_allclose(gradient, w2 @ w1.T, rtol=1e-6)


def test_it_prints_as_a_table():
    table = str(models.TwoLayerRegression(1000, 100, 10, rngs=nnx.Rngs(0)))
    assert "fc1" in table
    assert "101,000" in table
