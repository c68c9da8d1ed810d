from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxfn
import models
from models.quantized import QuantizedLinear, Quantizer
from tests.models.nets import Training, assert_slices_agree, train

pytestmark = pytest.mark.numbers

LAYERS = ("conv1", "conv2", "fc1", "fc2", "fc3")


@pytest.fixture(scope="module")
def model() -> models.QuantizedLeNet:
    return models.QuantizedLeNet(bits=3, rngs=nnx.Rngs(0))


@pytest.fixture(scope="module")
def wide_model() -> models.QuantizedLeNet:
    """Its step sizes are powers of two: all sums are then exact, and features that tie in a pooling
    window, as quantised ones often do, tie in whatever order they are summed."""
    with jax.enable_x64(True):
        model = models.QuantizedLeNet(bits=3, param_dtype=jnp.float64, rngs=nnx.Rngs(0))
        for name in LAYERS:
            layer = getattr(model, name)
            for quantizer in (layer.input, layer.weight):
                step = np.asarray(quantizer.step_size[...])
                quantizer.step_size[...] = jnp.asarray(2 ** np.round(np.log2(step)))
    return model


@pytest.fixture(scope="module")
def by_rule(wide_model) -> Training:
    return train(wide_model, "custom", rate=0.003)


@pytest.fixture(scope="module")
def by_autodiff(wide_model) -> Training:
    return train(wide_model, "autodiff", rate=0.003)


def test_logits(model):
    assert jax.eval_shape(model, jnp.ones((4, 32, 32, 1))).shape == (4, 10)


@pytest.mark.parametrize("layer", LAYERS)
def test_bits_of_weights_and_activations(model, layer):
    bits, signed = (8 if layer in ("conv1", "fc3") else 3), layer == "conv1"
    layer = getattr(model, layer)
    values = jnp.linspace(-100.0, 100.0, 4001)
    for quantizer, low, high in (
        (layer.weight, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1),
        (layer.input, *((-128, 127) if signed else (0, 2**bits - 1))),
    ):
        levels = quantizer(values) / quantizer.step_size[...]
        np.testing.assert_allclose(levels, jnp.round(levels), atol=1e-4)
        assert (round(float(levels.min())), round(float(levels.max()))) == (low, high)


def test_a_layer_is_the_plain_one_of_quantised_numbers():
    layer = QuantizedLinear((3, 2), bits=4, signed=False, param_dtype=jnp.float32, rngs=nnx.Rngs(0))
    x, kernel = jnp.array([[0.1, 0.7, 9.0]]), layer.kernel[...]
    x_step, w_step = layer.input.step_size[...], layer.weight.step_size[...]
    np.testing.assert_allclose(w_step, 2 * jnp.abs(kernel).mean() / np.sqrt(7), rtol=1e-6)
    np.testing.assert_allclose(x_step, 2 * 0.39894 / np.sqrt(15), rtol=1e-4)
    levels = jnp.round(jnp.clip(x / x_step, 0, 15)) @ jnp.round(jnp.clip(kernel / w_step, -8, 7))
    np.testing.assert_allclose(layer(x), levels * x_step * w_step, rtol=1e-5)


def test_the_step_size_of_activations_moves_alike_for_every_batch():
    quantizer = Quantizer(jnp.ones(1), bits=4, signed=False, per_example=True)
    graphdef, params = nnx.split(quantizer)
    x = jax.random.uniform(jax.random.key(0), (1, 7))

    def mean(params, x):
        return nnx.merge(graphdef, params)(x).sum(-1).mean()

    one, many = (jax.grad(mean)(params, jnp.tile(x, (n, 1))).step_size[...] for n in (1, 16))
    np.testing.assert_allclose(one, many, rtol=1e-5)
    assert abs(one) > 0


@pytest.mark.parametrize(
    ("bits", "error", "message"),
    [(1, ValueError, "bits .*2"), (17, ValueError, "bits .*16"), (2.0, TypeError, "bits")],
)
def test_wrong_bits(bits, error, message):
    with pytest.raises(error, match=message):
        models.QuantizedLeNet(bits=bits, rngs=nnx.Rngs(0))


def test_its_rules(model):
    rules = jaxfn.custom_rules(model, jnp.ones((1, 32, 32, 1)))
    names = [rule.name for rule in rules for _ in range(rule.count)]
    expected = {"_lsq": 10, "_conv2d_relu_max_pool2d": 2, "_linear": 3, "_relu": 2}
    assert {name: names.count(name) for name in expected} == expected


def test_without_the_rule_no_weight_has_a_gradient(by_rule, by_autodiff):
    with_rule, without = by_rule.greatest(), by_autodiff.greatest()
    assert len(with_rule) == 20
    assert min(with_rule.values()) > 0
    reached = {name for name, gradient in without.items() if gradient > 0}
    assert reached == {"fc3.bias", "fc3.input.step_size", "fc3.weight.step_size"}


def test_it_learns_by_the_rule_and_not_by_autodiff(by_rule, by_autodiff):
    learned, stuck = by_rule.losses, by_autodiff.losses
    assert learned[0] == pytest.approx(stuck[0], rel=1e-9)
    assert np.mean(learned[-10:]) < 0.2 * learned[0]
    assert np.mean(stuck[-10:]) > 2  # log 10 is 2.3


def test_slices_of_a_batch_agree(wide_model, by_rule, monkeypatch):
    assert_slices_agree(wide_model, by_rule, monkeypatch)


def test_it_prints_as_a_table(model):
    table = str(model)
    for text in ("conv1", "fc3", "step_size", "[3,3,6,16]"):
        assert text in table
