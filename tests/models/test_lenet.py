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


@pytest.fixture(scope="module")
def model() -> models.LeNet:
    return models.LeNet(rngs=nnx.Rngs(0))


@pytest.mark.parametrize(("kernel_size", "count"), [(3, 81_194), (5, 61_706)])
def test_logits_and_parameter_count(kernel_size, count):
    model = models.LeNet(kernel_size=kernel_size, rngs=nnx.Rngs(0))
    assert jax.eval_shape(model, jnp.ones((4, 32, 32, 1))).shape == (4, 10)
    assert sum(p.size for p in jax.tree.leaves(nnx.state(model, nnx.Param))) == count


def test_an_empty_batch(model):
    assert jax.eval_shape(model, jnp.ones((0, 32, 32, 1))).shape == (0, 10)


def test_its_layers_have_hand_written_gradients(model):
    rules = jaxfn.custom_rules(model, jnp.ones((1, 32, 32, 1)))
    names = [rule.name for rule in rules for _ in range(rule.count)]
    expected = {"_conv2d_relu_max_pool2d": 2, "_linear": 3, "_relu": 2}
    assert {name: names.count(name) for name in names} == expected


@pytest.mark.parametrize("layer", ["conv1", "conv2", "fc1", "fc2", "fc3"])
def test_parameters_are_drawn_as_pytorch_does(model, layer):
    module = getattr(model, layer)
    bound = 1 / np.sqrt(np.prod(module.kernel.shape[:-1]))  # 1/√fan_in
    for parameter in (module.kernel[...], module.bias[...]):
        values = np.asarray(parameter)
        assert np.abs(values).max() <= bound
        if values.size > 100:
            np.testing.assert_allclose(values.std(), bound / np.sqrt(3), rtol=0.1)


@pytest.mark.parametrize("kernel_size", [3, 5])
def test_weights_round_trip_exactly(kernel_size):
    model = models.LeNet(kernel_size=kernel_size, rngs=nnx.Rngs(3))
    state_dict = models.lenet.to_torch(model)
    again = models.lenet.from_torch(state_dict)
    chex.assert_trees_all_equal(nnx.state(again), nnx.state(model))
    chex.assert_trees_all_equal(models.lenet.to_torch(again), state_dict)
    assert state_dict["fc1.weight"].shape == (120, {3: 576, 5: 400}[kernel_size])


def test_float64_weights_round_trip_where_jax_keeps_them(model):
    state_dict = {k: v.astype(np.float64) for k, v in models.lenet.to_torch(model).items()}
    with pytest.raises(ValueError, match=r"conv1\.weight of a dtype that JAX keeps, got float64"):
        models.lenet.from_torch(state_dict)
    with jax.enable_x64(True):
        again = models.lenet.to_torch(models.lenet.from_torch(state_dict))
    chex.assert_trees_all_equal(again, state_dict)
    chex.assert_trees_all_equal_dtypes(again, state_dict)


def test_flattening_order_is_converted(model):
    # The image that fc1 sees first in channel 1, row 0, column 0 is PyTorch's input 36 and ours 1.
    weight = models.lenet.to_torch(model)["fc1.weight"]
    np.testing.assert_array_equal(weight[:, 36], model.fc1.kernel[1])
    np.testing.assert_array_equal(weight[:, 1], model.fc1.kernel[16])


def test_the_weights_handed_out_can_be_written():
    state_dict = models.lenet.to_torch(models.LeNet(rngs=nnx.Rngs(0)))
    assert all(array.flags.writeable and array.flags.c_contiguous for array in state_dict.values())


def test_wrong_weights(model):
    good = models.lenet.to_torch(model)
    cases = [
        ({k: v for k, v in good.items() if k != "fc2.bias"}, "fc2.bias is missing"),
        ({k: v for k, v in good.items() if k != "conv1.weight"}, "conv1.weight is missing"),
        ({**good, "fc4.bias": np.zeros(3)}, r"got also \['fc4.bias'\]"),
        ({**good, "fc3.bias": np.zeros(3, np.float32)}, r"expected fc3.bias \[10\], got \[3\]"),
        ({**good, "conv1.weight": np.zeros((6, 9))}, r"conv1.weight \[6, 1, k, k\] .* got \[6, 9"),
        ({**good, "fc3.bias": np.zeros(10, int)}, "fc3.bias of floating dtype, got int64"),
    ]
    for weights, message in cases:
        with pytest.raises(ValueError, match=message):
            models.lenet.from_torch(weights)
    with pytest.raises(TypeError, match="to_torch: expected a LeNet, got dict"):
        models.lenet.to_torch(good)


def test_printing_leaves_the_classes_as_they_are(model):
    kinds = (models.LeNet, models.Linear, models.Conv2dReluMaxPool2d)
    before = [set(vars(kind)) for kind in kinds]
    assert str(model)
    assert [set(vars(kind)) for kind in kinds] == before


def test_it_prints_as_a_table_of_layers_shapes_and_counts(model):
    table = str(model)
    for text in ("conv1", "fc3", "[3,3,6,16]", "float32[1,6,6,16]", "69,240", "81,194"):
        assert text in table
    assert "\x1b" not in table
