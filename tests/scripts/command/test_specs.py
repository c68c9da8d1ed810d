"""Arrays and functions written as text."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scripts.command.program import UserError
from scripts.command.specs import load_function, parse_array


def test_load_of_a_nested_name():
    assert load_function("jax:numpy.sin") is jax.numpy.sin


@pytest.mark.parametrize(
    ("spec", "shape", "dtype"),
    [
        ("f32[4,3]", (4, 3), "float32"),
        (" bf16[ 2, 3 ] ", (2, 3), "bfloat16"),
        ("f32[]", (), "float32"),
        ("f32", (), "float32"),
        ("i32[3]", (3,), "int32"),
        ("bool[2]", (2,), "bool"),
        ("c64[2]", (2,), "complex64"),
        ("float16[0,2]", (0, 2), "float16"),
        ("key", (), "key<fry>"),
        ("key[2,3]", (2, 3), "key<fry>"),
    ],
)
def test_arrays_are_read(spec, shape, dtype):
    array = parse_array(spec, np.random.RandomState(0))
    assert (array.shape, str(array.dtype)) == (shape, dtype)
    if dtype == "int32":
        assert set(array.tolist()) <= {0, 1}


def test_arrays_of_64_bits_need_x64():
    with pytest.raises(UserError, match="JAX would make float32 of float64"):
        parse_array("f64[2]", np.random.RandomState(0))
    with jax.enable_x64(True):
        assert parse_array("f64[2]", np.random.RandomState(0)).dtype == jnp.float64
    with pytest.raises(UserError, match="at most"):
        parse_array("f32[99999,99999]", np.random.RandomState(0))
