"""Modules of Flax: split, as an argument, closed over; modules that change their state."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxfn.verification import gradcheck
from tests.jaxfn.verification.test_gradcheck import X, ruled

LAYERS = "types", "determinism", "autodiff"


class Scaled(nnx.Module):
    """Its rule gives the scale so many times its gradient."""

    def __init__(self, factor):
        self.scale = nnx.Param(jnp.array([1.0, 2, 3]))
        self.rule = ruled(lambda s, x: s * x, lambda s, x, g: (factor * g * x, g * s))

    def __call__(self, x):
        return self.rule(self.scale[...], x)


class Counting(nnx.Module):
    def __init__(self):
        self.count = nnx.BatchStat(jnp.zeros(()))

    def __call__(self, x):
        self.count[...] += 1
        return jnp.sin(x)


def asked(fun, *args):
    return gradcheck(fun, args, layers=LAYERS, raise_exception=False)


@pytest.mark.parametrize(("factor", "verdict"), [(1.0, "pass"), (2.0, "fail")])
def test_split_and_as_an_argument(factor, verdict):
    module = Scaled(factor)
    graph, state = nnx.split(module)
    assert asked(lambda state, x: nnx.merge(graph, state)(x), state, X).verdict == verdict
    report = asked(lambda module, x: module(x), module, X)
    assert report.verdict == verdict
    assert "scale" in report.diagnosis or verdict == "pass"


def test_closed_over():
    module = Scaled(1.0)
    assert asked(lambda x: module(x), X).verdict == "pass"
    np.testing.assert_array_equal(module.scale[...], [1, 2, 3])


def test_a_module_that_changes_its_state():
    module = Counting()
    with pytest.raises(ValueError, match="changes the state of a module that it closes over") as e:
        asked(lambda x: module(x), X)
    assert "make the module an argument" in str(e.value)
    assert asked(lambda module, x: module(x), module, X).verdict == "pass"
    assert module.count[...] == 0
