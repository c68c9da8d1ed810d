"""Arguments and functions written as text."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfn.commands.program import UserError
from jaxfn.commands.specs import call_factory, load_function, parse_argument, parse_array


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


@pytest.mark.parametrize(
    "value", [3, -1, 0.5, True, None, "same", (2, 2), ((0, 1), "x"), [1.0], {"a": 2}, b"", 1 + 2j]
)
def test_literals_are_static(value):
    found = parse_argument(f" {value!r} ", np.random.RandomState(0))
    assert found == value
    assert type(found) is type(value)


def test_an_argument_may_be_an_array():
    assert parse_argument("f32[2]", np.random.RandomState(0)).shape == (2,)


@pytest.mark.parametrize("spec", ["same", "f32[4", "1 + f(2)", "(" * 5000, "'a", "", "f31[4]"])
def test_what_is_neither(spec):
    with pytest.raises(UserError, match="expected an array such as 'f32") as caught:
        parse_argument(spec, np.random.RandomState(0))
    assert "\n" not in str(caught.value)


def test_factories(monkeypatch):
    made = {"pair": lambda: [1, {"w": 2}], "array": lambda: np.ones(2), "bad": lambda: [][0]}
    for name, factory in made.items():
        monkeypatch.setattr(np, name, factory, raising=False)
    assert call_factory("numpy:pair") == (1, {"w": 2})
    with pytest.raises(
        UserError, match=r"numpy:array\(\): expected the tuple of arg.* got ndarray"
    ):
        call_factory("numpy:array")
    with pytest.raises(UserError, match=r"numpy:bad\(\): IndexError: list index out of range"):
        call_factory("numpy:bad")
    with pytest.raises(UserError, match="expected a function, got str"):
        call_factory("numpy:__version__")
