"""The arrays that a function holds: found under their names, replaced wherever they are."""

import dataclasses
import functools
import types
from collections import deque
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxfn.verification.subject.holders import held, rebound

W = jnp.array([1.0, 2.0])


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["weight", "absent"], meta_fields=["act"]
)
@dataclasses.dataclass
class Tree:
    """A module as Equinox has them: arrays, nothing, and what is static."""

    weight: Any
    act: Any = jnp.tanh
    absent: Any = None

    def __call__(self):
        return self.weight


class Layers(nnx.Module):
    def __init__(self):
        self.layers = nnx.List([nnx.Linear(1, 2, use_bias=False, rngs=nnx.Rngs(0))])
        self.layers[0].kernel[...] = W[None]

    def __call__(self):
        return self.layers[0].kernel[0]

    def method(self):
        return self()


class Plain:
    def __init__(self):
        self.weight, self.parts = W, {"a": [W]}

    def __call__(self):
        return self.weight


def closure(value, get):
    def inner():
        return get(value)

    return inner


def default(weight=W):
    return weight


def keyword(*, weight=W):
    return weight


def of_the_module():
    return W


GLOBAL = Tree(W)


def of_a_module_of_layers():
    return GLOBAL()


def outer():
    inner = closure(W, lambda w: w)
    return lambda: inner()


HELD = {
    "array": (closure(W, lambda w: w), "value"),
    "list": (closure([None, W], lambda v: v[1]), "value[1]"),
    "dictionary": (closure({"a": {1: W}}, lambda v: v["a"][1]), "value['a'][1]"),
    "namespace": (closure(types.SimpleNamespace(w=W), lambda v: v.w), "value.w"),
    "registered": (closure(Tree(W), lambda v: v()), "value.weight"),
    "its instance": (Tree(W), "weight"),
    "nnx": (closure(Layers(), lambda v: v()), "value.layers[0].kernel"),
    "its method": (Layers().method, "layers[0].kernel"),
    "state": (closure(nnx.state(nnx.Dict(w=nnx.Param(W))), lambda v: v["w"][...]), "value['w']"),
    "plain object": (closure(Plain(), lambda v: v.weight), "value.weight"),
    "plain instance": (Plain(), "weight"),
    "partial": (functools.partial(lambda weight: weight, W), "weight"),
    "partial by keyword": (functools.partial(lambda *, w: w, w=W), "w"),
    "default": (default, "weight"),
    "keyword's default": (keyword, "weight"),
    "inner function": (outer(), "inner.value"),
    "of the module": (of_the_module, "W"),
    "layers of the module": (of_a_module_of_layers, "GLOBAL.weight"),
}


@pytest.mark.parametrize("kind", HELD)
def test_named_and_replaced(kind):
    fun, name = HELD[kind]
    ((found, array),) = [pair for pair in held(fun).found.values()][:1]
    assert found == name
    np.testing.assert_array_equal(np.ravel(array), W)
    other = rebound(fun, {id(array): 3 * array})
    np.testing.assert_array_equal(other(), 3 * W)
    np.testing.assert_array_equal(fun(), W)


def test_jitted_functions_stay_and_are_looked_into():
    fun = jax.jit(closure(W, lambda w: w))
    walk = held(fun)
    assert [name for name, _ in walk.found.values()] == ["value"]
    assert walk.fixed == {id(W)}
    assert rebound(fun, {id(W): 3 * W}) is fun


def test_what_holds_no_other_array_is_the_same_object():
    for fun, _ in HELD.values():
        assert rebound(fun, {}) is fun


def test_an_object_that_holds_itself():
    plain = Plain()
    plain.itself = plain  # pyright: ignore[reportAttributeAccessIssue]
    assert rebound(plain, {id(W): 3 * W})() is not W


def test_what_is_not_looked_into():
    assert held(closure(deque([W]), len)).found == {}
    assert held(closure(jnp, len)).found == {}
