from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxfn
import models
from models.binary import BinaryConv2d, BinaryLinear, SignActivation
from tests.models.nets import (
    Training,
    assert_only_the_rule_trains,
    assert_slices_agree,
    train,
)

pytestmark = pytest.mark.numbers


@pytest.fixture(scope="module")
def model() -> models.BinaryLeNet:
    return models.BinaryLeNet(rngs=nnx.Rngs(0))


@pytest.fixture(scope="module")
def wide_model() -> models.BinaryLeNet:
    with jax.enable_x64(True):
        return models.BinaryLeNet(param_dtype=jnp.float64, rngs=nnx.Rngs(0))


@pytest.fixture(scope="module")
def by_rule(wide_model) -> Training:
    return train(wide_model, "custom", rate=0.02)


@pytest.fixture(scope="module")
def by_autodiff(wide_model) -> Training:
    return train(wide_model, "autodiff", rate=0.02, steps=20)  # all of them alike


@pytest.mark.parametrize("batch", [0, 4])
def test_logits(model, batch):
    assert jax.eval_shape(model, jnp.ones((batch, 32, 32, 1))).shape == (batch, 10)


def test_only_the_signs_of_the_weights_count():
    x = jax.random.normal(jax.random.key(0), (2, 5, 5, 3))
    for layer, fan_in, plain in (
        (BinaryConv2d(3, 4, (3, 3), rngs=nnx.Rngs(0)), 27, jaxfn.conv2d),
        (BinaryLinear(3, 4, rngs=nnx.Rngs(0)), 3, jaxfn.linear),
    ):
        signs = jnp.where(layer.kernel[...] < 0, -1.0, 1.0)
        np.testing.assert_allclose(layer(x), plain(x, signs) / np.sqrt(fan_in), rtol=1e-5)
        assert abs(signs.mean()) < 0.5  # both of them occur


def test_activations_are_signs_beside_a_threshold_of_the_standardised_features():
    layer = SignActivation(3)
    layer.bias[...] = jnp.array([-0.5, 0.0, 0.5])
    x = 5 + 3 * jax.random.normal(jax.random.key(0), (4, 6, 6, 3))
    y = layer(x)
    z = np.asarray((x - x.mean((1, 2, 3), keepdims=True)) / x.std((1, 2, 3), keepdims=True))
    np.testing.assert_array_equal(y, np.where(z < -layer.bias[...], -1, 1))
    np.testing.assert_array_equal(layer(x[:1]), y[:1])  # whatever else is in the batch


def test_its_rules(model):
    rules = jaxfn.custom_rules(model, jnp.ones((1, 32, 32, 1)))
    names = [rule.name for rule in rules for _ in range(rule.count)]
    assert names.count("_sign_ste") == 9  # five kernels, four activations


def test_it_learns_by_the_rule_alone(by_rule, by_autodiff):
    assert len(by_rule.greatest()) == 9
    assert_only_the_rule_trains(by_rule, by_autodiff)


def test_slices_of_a_batch_agree(wide_model, by_rule, monkeypatch):
    assert_slices_agree(wide_model, by_rule, monkeypatch)


def test_it_prints_as_a_table(model):
    table = str(model)
    for text in ("conv1", "sign4", "fc3", "[3,3,16,16]"):
        assert text in table
