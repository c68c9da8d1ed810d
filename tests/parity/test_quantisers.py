"""Quantisers and discrete choices against PyTorch 2.13.0: from fixtures, and live."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from tests.parity import comparison, quantisers
from tests.parity.make_fixtures import FOLDER
from tests.parity.quantisers import CHANNELS, DTYPES, GRIDS, LEARNED
from tests.parity.test_fixtures import select

pytestmark = pytest.mark.numbers

SOURCES = ["fixture", pytest.param("live", marks=pytest.mark.parity)]


@pytest.fixture(scope="module", params=SOURCES)
def theirs(request) -> dict[str, np.ndarray]:
    if request.param == "fixture":
        return dict(np.load(FOLDER / "quantisers.npz", allow_pickle=False))
    from tests.parity import quantisers_pytorch

    return quantisers_pytorch.fixtures()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [*GRIDS, "channels"])
def test_fake_quantize_to_the_bit(dtype, name, theirs):
    with jax.enable_x64(True):
        actual = quantisers.fake_quantize(dtype, {**GRIDS, "channels": CHANNELS}[name])
    if dtype == "float64" and name in GRIDS:
        # Of one scale PyTorch's last product is of float32, whatever x is.
        actual["y"] = actual["y"].astype("float32").astype("float64")
    comparison.assert_identical(actual, select(theirs, f"{dtype}.fake_quantize_{name}."))


@pytest.mark.parametrize("name", LEARNED)
def test_lsq_where_its_convention_is_pytorchs(name, theirs):
    actual = quantisers.lsq("float32", LEARNED[name])
    expected = select(theirs, f"float32.lsq_{name}.")
    np.testing.assert_array_equal(actual["x_bar"], expected["x_bar"])
    comparison.assert_agree(actual, expected, comparison.RELATIVE["float32"])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("hard", [False, True])
def test_gumbel_softmax(dtype, hard, theirs):
    expected = select(theirs, f"{dtype}.gumbel_softmax_{hard}.")
    with jax.enable_x64(dtype == "float64"):
        actual = quantisers.gumbel_softmax(dtype, hard, expected.pop("noise"))
    comparison.assert_agree(actual, expected, comparison.RELATIVE[dtype])
    if hard:
        np.testing.assert_array_equal(actual["y"], np.rint(expected["y"]))
