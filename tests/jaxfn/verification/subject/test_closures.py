"""The arrays of a closure that go into a rule: found in the traced program, and replaced."""

import types
from collections import deque

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfn.verification.subject.closures import closed_inputs, of_constants

X, WEIGHT = np.array([0.5, -1], np.float32), jnp.array([[1.0, 2], [3, 4], [5, 6]])


@jax.custom_vjp
def dense(w, x):
    return w @ x


dense.defvjp(lambda w, x: (w @ x, (w, x)), lambda r, g: (jnp.outer(g, r[1]), r[0].T @ g))


def found(fun):
    return [(c.rule, c.name) for c in closed_inputs(fun, jax.make_jaxpr(fun)(X))]


def of_its_closure():
    weight = WEIGHT + 1
    return lambda x: dense(weight, x)


def test_of_the_closure_and_of_the_module():
    assert found(of_its_closure()) == [("dense", "weight")]
    assert found(lambda x: dense(WEIGHT, x)) == [("dense", "WEIGHT")]
    assert found(lambda x: jax.jit(dense)(2 * WEIGHT, x)) == [("dense", "WEIGHT")]


def test_in_containers_and_without_a_name():
    layers = [WEIGHT + 2]
    assert found(lambda x: dense(layers[0], x)) == [("dense", "layers[0]")]
    hidden = deque(layers)
    (closed,) = closed_inputs(fun := lambda x: dense(hidden[0], x), jax.make_jaxpr(fun)(X))
    assert str(closed) == "an array float32[3, 2]"
    assert closed.holder is None


def test_inside_of_a_jitted_function():
    weight = WEIGHT + 3
    fun = jax.jit(lambda x: dense(weight, x))
    (closed,) = closed_inputs(fun, jax.make_jaxpr(fun)(X))
    assert (closed.name, closed.holder) == ("weight", None)


def test_of_an_argument_that_is_no_variable():
    plain = types.SimpleNamespace(weight=WEIGHT)
    traced = jax.make_jaxpr(lambda x: dense(plain.weight, x))(X)
    (closed,) = closed_inputs(len, traced, [(plain, "plain")])
    assert (closed.name, closed.holder is WEIGHT) == ("plain.weight", True)


def test_what_goes_into_no_rule():
    integers = jnp.array([2, 0])
    assert found(lambda x: WEIGHT @ x) == []
    assert found(lambda x: dense(x[integers[:1]][:, None], x[:1])) == []


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit, lambda f: lambda x: jax.jit(f)(x) * 1])
def test_the_program_with_other_constants(wrap):
    fun = wrap(of_its_closure())
    traced = jax.make_jaxpr(fun)(X)
    program = of_constants(traced, closed_inputs(fun, traced))
    (out,) = program([jnp.ones((3, 2))], X)
    np.testing.assert_array_equal(out, [-0.5] * 3)
    np.testing.assert_array_equal(fun(X), (WEIGHT + 1) @ X)


def test_modules_that_a_function_names_are_no_arrays():
    assert found(lambda x: jnp.asarray(np.float32(1)) * dense(WEIGHT, x)) == [("dense", "WEIGHT")]
