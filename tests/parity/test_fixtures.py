"""jaxfn against the fixtures, which PyTorch 2.13.0 and snntorch 1.0.0 computed."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from tests.parity import comparison, ours
from tests.parity.inputs import DTYPES
from tests.parity.make_fixtures import FOLDER

pytestmark = pytest.mark.numbers

every_dtype = pytest.mark.parametrize("dtype", DTYPES)


@pytest.fixture(scope="module")
def operations() -> dict[str, np.ndarray]:
    return dict(np.load(FOLDER / "operations.npz", allow_pickle=False))


@pytest.fixture(scope="module")
def lenet() -> dict[str, np.ndarray]:
    return dict(np.load(FOLDER / "lenet.npz", allow_pickle=False))


def select(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    found = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
    assert found, f"no fixture begins with {prefix}"
    return found


@every_dtype
@pytest.mark.parametrize("use_bias", [True, False])
def test_linear_and_its_gradients(dtype, use_bias, operations):
    name = "linear" if use_bias else "linear_no_bias"
    with jax.enable_x64(dtype == "float64"):
        actual = ours.linear(dtype, use_bias)
    expected = select(operations, f"{dtype}.{name}.")
    comparison.assert_agree(actual, expected, comparison.RELATIVE[dtype])


@every_dtype
@pytest.mark.parametrize("grad_at_zero", [0, 1])
def test_relu_at_the_special_values(dtype, grad_at_zero, operations):
    with jax.enable_x64(dtype == "float64"):
        actual = ours.relu(dtype, grad_at_zero)
    comparison.assert_identical(actual, select(operations, f"{dtype}.relu_{grad_at_zero}."))


def test_the_surrogates_of_snntorch():
    actual, expected = ours.spikes(), dict(np.load(FOLDER / "spikes.npz", allow_pickle=False))
    for name in actual:
        if name.endswith(".y"):
            np.testing.assert_array_equal(actual[name], expected[name])
    comparison.assert_agree(actual, expected, comparison.RELATIVE["float32"])


@every_dtype
def test_lenet_logits_losses_gradients_and_ten_steps(dtype, lenet):
    with jax.enable_x64(dtype == "float64"):
        actual = ours.lenet(dtype)
    comparison.assert_agree(actual, lenet, comparison.RELATIVE[dtype])


@every_dtype
def test_the_losses_of_the_regression(dtype, operations):
    with jax.enable_x64(dtype == "float64"):
        actual = ours.regression(dtype)
    theirs, exact = (operations[f"{d}.regression.losses"] for d in (dtype, "float64"))
    comparison.assert_losses_agree(actual, theirs, exact, dtype)
