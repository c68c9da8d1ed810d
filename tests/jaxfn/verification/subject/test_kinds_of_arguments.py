"""Arguments as people have them, given and closed over: what reaches a rule is checked."""

import collections
import dataclasses
import enum
import functools
from typing import Any, NamedTuple

import flax.linen
import flax.struct
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from flax import nnx
from jax.experimental import sparse

from jaxfn.verification import gradcheck
from tests.jaxfn.verification.subject.test_holders import Tree
from tests.jaxfn.verification.test_gradcheck import ruled

X = jnp.array([0.5, -1.25])
W = jnp.array([1.0, 2.0])
LAYERS = "autodiff", "closure"
# A gradient of the weight that is so many times what it should be.
wrong = ruled(lambda w, x: w * x, lambda w, x, g: (1.001 * g * x, g * w))
right = ruled(lambda w, x: w * x, lambda w, x, g: (g * x, g * w))


class Mode(enum.Enum):
    PLAIN = 1


class Point(NamedTuple):
    w: Any
    n: int = 2


@flax.struct.dataclass
class Struct:
    w: Any
    power: int = flax.struct.field(pytree_node=False, default=2)


class Scaled(nnx.Module):
    def __init__(self, rule):
        self.layers = nnx.List([nnx.Dict(scale=nnx.Param(W))])
        self.norm = nnx.BatchNorm(2, rngs=nnx.Rngs(0))
        self.drop, self.rule = nnx.Dropout(0.5, rngs=nnx.Rngs(1)), rule

    def __call__(self, x):
        two = jnp.array([[1.0], [2.5]])
        return self.drop(self.norm(two * self.rule(self.layers[0]["scale"][...], x)))

    def scaled(self, x):
        return self.rule(self.layers[0]["scale"][...], x)


class Linen(flax.linen.Module):
    rule: Any

    @flax.linen.compact
    def __call__(self, x):
        return self.rule(self.param("w", lambda key: W), x)


@dataclasses.dataclass
class Plain:
    rule: Any
    w: Any

    def __call__(self, x):
        return self.rule(self.w, x)


def key_of_each_kind(rule):
    keys = jax.random.key(0), jax.random.PRNGKey(0), jax.random.split(jax.random.key(1), 2)

    def fun(new, old, many, w, x):
        noise = jax.vmap(jax.random.normal)(many)
        return rule(w, x) * (2 + jax.random.uniform(new) + jax.random.uniform(old)) + noise

    return fun, (*keys, W, X)


def what_stays(rule):
    mesh = jax.make_mesh((1,), ("data",))
    stays = "mode", Mode.PLAIN, None, slice(0, 2), jnp.float32, np.dtype("int8"), mesh, len

    def fun(stays, strings, w, x):
        kind, mode, nothing, part, dtype, _, mesh, size = stays
        assert (kind, mode, nothing) == ("mode", Mode.PLAIN, None)
        assert mesh.size == size(strings) - 1
        return rule(w[part], x[part]).astype(dtype)

    return fun, (stays, np.array(["a", "b"]), W, X)


def steered(rule):
    def fun(w, x, steps, again):
        for _ in range(steps):
            x = x + 1
        return rule(w, x) if again else x

    return fun, (W, X, np.int32(2), np.bool_(True))


# Of each kind: the function with its arguments, by the rule, and what the weight is called.
GIVEN = {
    "nnx": (lambda r: (lambda m, x: m(x), (Scaled(r), X)), "m.layers[0].scale"),
    "linen": (lambda r: (Linen(r).apply, ({"params": {"w": W}}, X)), "variables['params']['w']"),
    "registered": (lambda r: (lambda t, x: r(t.act(t.weight), x), (Tree(W), X)), "t.weight"),
    "struct": (lambda r: (lambda d, x: r(d.w, x) * d.power, (Struct(W), X)), "d.w"),
    "named tuple": (lambda r: (lambda p, x: r(p.w, x) * p.n, (Point(W), X)), "p.w"),
    "keys of dictionaries": (
        lambda r: (
            lambda d, x: r(d["a", 1][3], x),
            (collections.OrderedDict({("a", 1): {3: W}}), X),
        ),
        "d[('a', 1)][3]",
    ),
    "sparse": (
        lambda r: (lambda m, x: r(m.data, x), (sparse.BCOO.fromdense(jnp.diag(W)), X)),
        "m.data",
    ),
    "numpy": (
        lambda r: (lambda w, x: r(w, x), (np.array([1, 9, 2], ">f4")[::2], np.array(X))),
        "w",
    ),
    "float64": (lambda r: (r, (np.float64(2), np.array(1.5))), "w"),
    "bfloat16": (lambda r: (lambda w, x: r(w, x), (*[np.ones(2, ml_dtypes.bfloat16)] * 2,)), "w"),
    "strings among results": (lambda r: (lambda w, x: {"y": r(w, x), "s": "a"}, (W, X)), "w"),
    "random keys": (key_of_each_kind, "w"),
    "what stays": (what_stays, "w"),
    "numbers that steer": (steered, "w"),
}
CLOSED = {
    "nnx instance": (lambda r: Scaled(r).scaled, "layers[0].scale"),
    "partial": (lambda r: functools.partial(Linen(r).apply, {"params": {"w": W}}), "['w']"),
    "linen bound": (lambda r: Linen(r).bind({"params": {"w": W}}), "['params']['w']"),
    "jitted": (lambda r: jax.jit(lambda x, w=W: r(w, x)), "w"),
    "plain object": (lambda r: Plain(r, W), "w"),
}


def asked(fun, args):
    return gradcheck(fun, args, layers=LAYERS, raise_exception=False)


@pytest.mark.parametrize("kind", GIVEN)
def test_given(kind):
    make, name = GIVEN[kind]
    report = asked(*make(wrong))
    assert report.verdict == "fail"
    assert f" the gradient of {name} (" in report.diagnosis


@pytest.mark.parametrize("kind", ["nnx", "what stays", "numbers that steer", "random keys"])
def test_right_ones_pass(kind):
    assert asked(*GIVEN[kind][0](right)).verdict == "pass"


@pytest.mark.parametrize("kind", CLOSED)
def test_closed_over(kind):
    make, name = CLOSED[kind]
    report = asked(make(wrong), (X,))
    assert report.verdict == "fail"
    assert f"{name} (scale" in report.diagnosis


@pytest.mark.parametrize("kind", ["nnx instance", "jitted"])
def test_right_ones_that_are_closed_over_pass(kind):
    report = asked(CLOSED[kind][0](right), (X,))
    assert (report.verdict, report.scope) == ("pass", ())
    assert report.check("closure").verdict == "pass"


def test_an_object_that_is_no_pytree():
    report = asked(lambda plain, x: plain(x), (Plain(wrong, W), X))
    assert "gradient of plain.w (scale" in report.diagnosis
    assert any("plain, a Plain, is no pytree" in note for note in report.notes)


def test_it_is_said_which_numbers_were_held():
    notes = asked(*steered(right)).notes
    assert sum("is used as a number of Python's" in note for note in notes) == 2
