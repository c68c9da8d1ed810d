from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxfn
import models
from models.spiking import leaky_integrate_and_fire
from tests.models.nets import (
    Training,
    assert_only_the_rule_trains,
    assert_slices_agree,
    images,
    train,
)

pytestmark = pytest.mark.numbers


@pytest.fixture(scope="module")
def model() -> models.SpikingLeNet:
    return models.SpikingLeNet(rngs=nnx.Rngs(0))


@pytest.fixture(scope="module")
def wide_model() -> models.SpikingLeNet:
    with jax.enable_x64(True):
        return models.SpikingLeNet(param_dtype=jnp.float64, rngs=nnx.Rngs(0))


@pytest.fixture(scope="module")
def by_rule(wide_model) -> Training:
    return train(wide_model, "custom", rate=0.003)


@pytest.fixture(scope="module")
def by_autodiff(wide_model) -> Training:
    return train(wide_model, "autodiff", rate=0.003, steps=20)  # all of them alike


def test_logits(model):
    assert jax.eval_shape(model, jnp.ones((4, 32, 32, 1))).shape == (4, 10)


def test_neurons_beside_numpy():
    current = np.random.default_rng(0).normal(0.4, 0.5, size=(20, 3, 4)).astype(np.float32)
    membrane = spikes = np.zeros((3, 4), np.float32)
    expected = []
    for now in current:
        membrane = np.float32(0.8) * membrane + now - spikes
        spikes = (membrane > 1).astype(np.float32)
        expected.append(spikes)
    found = leaky_integrate_and_fire(jnp.asarray(current), decay=0.8)
    np.testing.assert_array_equal(found, expected)
    assert 0.1 < np.mean(expected) < 0.9


def test_gradient_through_time():
    """Beside JAX's own of the unrolled loop, with the step's derivative put in by hand."""

    def unrolled(current):
        membrane = spikes = jnp.zeros(current.shape[1:])
        total = []
        for now in current:
            membrane = 0.9 * membrane + now - jax.lax.stop_gradient(spikes)
            smooth = jax.nn.sigmoid(4 * (membrane - 1))
            spikes = jax.lax.stop_gradient((membrane > 1) - smooth) + smooth
            total.append(spikes)
        return (jnp.stack(total) * weights).sum()

    def scanned(current):
        return (leaky_integrate_and_fire(current, surrogate="sigmoid") * weights).sum()

    current, weights = jax.random.normal(jax.random.key(0), (2, 6, 5))
    expected = jax.jit(jax.grad(unrolled))(current)
    np.testing.assert_allclose(jax.grad(scanned)(current), expected, rtol=1e-5, atol=1e-6)
    without = jaxfn.autodiff(scanned, custom_jvp=True)
    assert not jax.grad(without)(current).any()


def test_logits_are_counts_of_spikes():
    model = models.SpikingLeNet(steps=5, population=2, rngs=nnx.Rngs(0))
    logits = np.asarray(jax.jit(model)(images().astype(np.float32)))
    np.testing.assert_array_equal(2 * logits, np.round(2 * logits))
    assert logits.min() >= 0
    assert 0 < logits.max() <= 5


def test_its_rules(model):
    rules = jaxfn.custom_rules(model, jnp.ones((1, 32, 32, 1)))
    assert [rule.where for rule in rules if rule.name == "_heaviside"] == ["scan"]
    assert sum(rule.count for rule in rules if rule.name == "_heaviside") == 3


@pytest.mark.long
def test_it_learns_by_the_rule_alone(by_rule, by_autodiff):
    assert len(by_rule.greatest()) == 6
    assert_only_the_rule_trains(by_rule, by_autodiff)


def test_slices_of_a_batch_agree(wide_model, by_rule, monkeypatch):
    assert_slices_agree(wide_model, by_rule, monkeypatch)


def test_it_prints_as_a_table(model):
    table = str(model)
    for text in ("conv1", "fc2", "[1568,128]"):
        assert text in table
