"""The arrays of a closure that go into a rule: found in the traced program, and replaced."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxfn.verification.subject.closures import closed_inputs, rebound

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


def test_without_a_name():
    layers = [WEIGHT + 2]
    assert found(lambda x: dense(layers[0], x)) == [("dense", "")]
    (closed,) = closed_inputs(fun := lambda x: dense(layers[0], x), jax.make_jaxpr(fun)(X))
    assert str(closed) == "an array float32[3, 2]"


def test_what_goes_into_no_rule():
    integers = jnp.array([2, 0])
    assert found(lambda x: WEIGHT @ x) == []
    assert found(lambda x: dense(x[integers[:1]][:, None], x[:1])) == []


def test_replaced():
    fun = of_its_closure()
    other = rebound(fun, {"weight": jnp.ones((1, 2))})
    np.testing.assert_array_equal(other(X), [-0.5])
    np.testing.assert_array_equal(fun(X), (WEIGHT + 1) @ X)
    other = rebound(lambda x: dense(WEIGHT, x), {"WEIGHT": jnp.ones((1, 2))})
    np.testing.assert_array_equal(other(X), [-0.5])


def test_modules_that_a_function_names_are_no_arrays():
    assert found(lambda x: jnp.asarray(np.float32(1)) * dense(WEIGHT, x)) == [("dense", "WEIGHT")]
