"""jaxfn against a PyTorch that runs beside it, and the fixtures against it; `make parity`."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from tests.parity import comparison, ours
from tests.parity.inputs import DTYPES
from tests.parity.make_fixtures import FOLDER

pytestmark = pytest.mark.parity
every_dtype = pytest.mark.parametrize("dtype", DTYPES)


@pytest.fixture(scope="module")
def pytorch():
    """PyTorch's side; imported here, so that the module is collected where there is no torch."""
    from tests.parity import pytorch

    return pytorch


@every_dtype
@pytest.mark.parametrize("use_bias", [True, False])
def test_linear_and_its_gradients(dtype, use_bias, pytorch):
    with jax.enable_x64(dtype == "float64"):
        actual = ours.linear(dtype, use_bias)
    expected = pytorch.linear(dtype, use_bias)
    comparison.assert_agree(actual, expected, comparison.RELATIVE[dtype])


@every_dtype
@pytest.mark.parametrize("grad_at_zero", [0, 1])
def test_relu_at_the_special_values(dtype, grad_at_zero, pytorch):
    with jax.enable_x64(dtype == "float64"):
        actual = ours.relu(dtype, grad_at_zero)
    comparison.assert_identical(actual, pytorch.relu(dtype, grad_at_zero))


@every_dtype
def test_lenet_logits_losses_gradients_and_ten_steps(dtype, pytorch):
    with jax.enable_x64(dtype == "float64"):
        actual = ours.lenet(dtype)
    comparison.assert_agree(actual, pytorch.lenet(dtype), comparison.RELATIVE[dtype])


@every_dtype
def test_the_losses_of_the_regression(dtype, pytorch):
    with jax.enable_x64(dtype == "float64"):
        actual = ours.regression(dtype)
    theirs, exact = pytorch.regression(dtype), pytorch.regression("float64")
    comparison.assert_losses_agree(actual, theirs, exact, dtype)


def test_the_fixtures_are_what_pytorch_computes(pytorch):
    fixture = dict(np.load(FOLDER / "lenet.npz", allow_pickle=False))
    comparison.assert_agree(pytorch.lenet("float64"), fixture, 1e-12)
    for dtype in DTYPES:
        fixture = np.load(FOLDER / "operations.npz", allow_pickle=False)
        comparison.assert_agree(
            {f"{dtype}.linear.{k}": v for k, v in pytorch.linear(dtype, True).items()},
            {k: v for k, v in fixture.items() if k.startswith(f"{dtype}.linear.")},
            1e-6 if dtype == "float32" else 1e-14,
        )
