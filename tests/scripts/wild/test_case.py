"""Short ways to write a case down."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np

from scripts.wild.case import INVERTIBLE, arrays, by, get, normal, of, positive_definite


def test_get_of_a_nested_name():
    assert get("jax:numpy.sin") is importlib.import_module("jax.numpy").sin


def test_of_and_by():
    case = of("jax.numpy:sin", [1.0], order=1)()
    assert case.fun is jnp.sin
    assert case.options == {"order": 1}
    case = by(lambda: jnp.cos, [1.0])()
    assert case.fun is jnp.cos
    assert case.args[0].dtype == jnp.float32


def test_arrays():
    values = arrays(([1.0, 2.0], 0.5, np.array([1, 2], np.int32), "same", 3))
    assert [value.dtype for value in values[:3]] == [jnp.float32, jnp.float32, jnp.int32]
    assert all(isinstance(value, jax.Array) for value in values[:3])
    assert values[3:] == ("same", 3)


def test_example_arrays():
    assert normal(2, 3).shape == (2, 3)
    assert normal(2, complex_=True).dtype == np.complex64
    assert (normal(3) == normal(3)).all()
    assert (normal(3) != normal(3, seed=1)).all()
    assert np.linalg.eigvalsh(positive_definite(3)).min() > 1
    assert abs(np.linalg.det(INVERTIBLE)) > 0.1
