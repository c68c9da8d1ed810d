"""What functions close over."""

import functools

import jax.numpy as jnp
import numpy as np

from jaxfn.auditing import closures


def make(factor, power, inner=None):
    def fun(x):
        return factor["a"] * x**power + (inner(x) if inner else 0)

    return fun


def test_leaves_of_trees_and_of_functions_within():
    fun = make({"a": 2.0}, 3, functools.partial(make({"a": 5}, 7)))
    found = list(closures.cells(fun))
    assert {2.0, 3, 5, 7} <= {leaf for leaf in found if isinstance(leaf, (int, float))}


def test_replaced_in_trees_and_in_functions_within():
    fun = make({"a": 2.0}, 3, make({"a": 5.0}, 1))
    other = closures.replaced(fun, lambda leaf: 10.0 if leaf == 5.0 else leaf)
    assert fun(2.0) == 26.0
    assert other(2.0) == 36.0
    assert other.__name__ == "fun"


def test_the_same_object_where_nothing_is_replaced():
    fun = make({"a": 2.0}, 3, functools.partial(make({"a": 5.0}, 1)))
    assert closures.replaced(fun, lambda leaf: leaf) is fun


def test_a_function_that_closes_over_itself():
    def again(n):
        return n and again(n - 1)

    assert "again" in closures.written(again)
    assert closures.replaced(again, lambda leaf: leaf) is again


def test_written_tells_static_values_apart():
    one, other = make({"a": 2.0}, 3), make({"a": 2.0}, 4)
    assert closures.written(one) == closures.written(make({"a": 2.0}, 3))
    assert closures.written(one) != closures.written(other)
    assert closures.written(jnp.ones(3)) == closures.written(np.zeros(3, np.float32))
    assert "0x" not in closures.written(object())
