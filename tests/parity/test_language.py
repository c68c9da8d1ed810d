"""Operations of language models against PyTorch 2.13.0: from fixtures, and live."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from tests.parity import comparison, language
from tests.parity.make_fixtures import FOLDER
from tests.parity.test_fixtures import select

pytestmark = pytest.mark.numbers

SOURCES = ["fixture", pytest.param("live", marks=pytest.mark.parity)]


@pytest.fixture(scope="module", params=SOURCES)
def theirs(request) -> dict[str, np.ndarray]:
    if request.param == "fixture":
        return dict(np.load(FOLDER / "language.npz", allow_pickle=False))
    from tests.parity import language_pytorch

    return language_pytorch.fixtures()


@pytest.mark.parametrize("dtype", language.DTYPES)
@pytest.mark.parametrize("name", language.OPERATIONS)
def test_values_and_gradients(name, dtype, theirs):
    with jax.enable_x64(dtype == "float64"):
        actual = language.results(name, dtype)
    comparison.assert_agree(actual, select(theirs, f"{dtype}.{name}."), comparison.RELATIVE[dtype])
