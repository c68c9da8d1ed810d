from __future__ import annotations

import inspect
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxfn
from jaxfn.functional.surrogates import BY_NAME

pytestmark = pytest.mark.numbers

# The peak and the area of each, as functions of its parameter; the defaults are those documented.
PEAK_AND_AREA = {
    "sigmoid": (lambda alpha: alpha / 4, lambda alpha: 1, 4),
    "atan": (lambda alpha: alpha / 2, lambda alpha: 1, 2),
    "fast_sigmoid": (lambda slope: 1, lambda slope: 2 / slope, 25),
    "triangular": (lambda slope: 1, lambda slope: 1 / slope, 1),
    "boxcar": (lambda width: 1 / width, lambda width: 1, 2),
    "gaussian": (lambda sigma: 1 / np.sqrt(2 * np.pi) / sigma, lambda sigma: 1, 0.5),
}


def test_every_surrogate_has_a_row_here():
    assert [*PEAK_AND_AREA] == [*BY_NAME]
    for name, surrogate in BY_NAME.items():
        assert getattr(jaxfn.surrogates, name) is surrogate
        assert re.search(r"^Peak \S+,", inspect.getdoc(surrogate), re.MULTILINE)
        sections = re.findall(r"^(\w+):", inspect.getdoc(surrogate), re.MULTILINE)
        assert sections == ["Args", "Returns", "Raises", "Source"]


@pytest.mark.parametrize("name", BY_NAME)
@pytest.mark.parametrize("parameter", [None, 3.0])
def test_peak_area_and_symmetry(name, parameter):
    peak, area, default = PEAK_AND_AREA[name]
    surrogate = BY_NAME[name]() if parameter is None else BY_NAME[name](parameter)
    with jax.enable_x64(True):
        # x = t³/(1 − t²): dense around 0, and far out.
        t = np.linspace(0, 1, 20_001)[:-1]
        x = np.concatenate([-(t**3 / (1 - t**2))[:0:-1], t**3 / (1 - t**2)])
        s = np.asarray(surrogate(jnp.asarray(x)))
        np.testing.assert_array_equal(s, s[::-1])
        assert s.min() >= 0
        expected = parameter or default
        np.testing.assert_allclose(s.max(), peak(expected), rtol=1e-12)
        np.testing.assert_allclose(np.trapezoid(s, x), area(expected), rtol=2e-3)


@pytest.mark.parametrize("name", BY_NAME)
def test_a_surrogate_is_a_pytree_of_its_parameter(name):
    assert jax.tree.leaves(BY_NAME[name](3.0)) == [3.0]
    leaves, structure = jax.tree.flatten(BY_NAME[name](2.0))
    x = jnp.array([0.2])
    np.testing.assert_array_equal(structure.unflatten(leaves)(x), BY_NAME[name](2.0)(x))


@pytest.mark.parametrize("name", BY_NAME)
@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (0, ValueError, "to be positive and finite, got 0"),
        (-1.5, ValueError, "to be positive and finite, got -1.5"),
        (np.nan, ValueError, "to be positive and finite, got nan"),
        (jnp.float32(np.inf), ValueError, "to be positive and finite, got inf"),
        ("4", TypeError, "to be a number or a scalar array, got str"),
        (jnp.ones(2), TypeError, r"to be a number or a scalar array, got float32\[2\]"),
    ],
)
def test_wrong_parameters(name, value, error, message):
    (parameter,) = inspect.signature(BY_NAME[name]).parameters
    with pytest.raises(error, match=f"{name}: expected {parameter} {message}"):
        BY_NAME[name](value)
