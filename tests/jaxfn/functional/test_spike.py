from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from jax.tree_util import Partial

import jaxfn
from jaxfn.functional.surrogates import BY_NAME

pytestmark = pytest.mark.numbers

FLOATS = ["float16", "bfloat16", "float32", "float64"]
NAN, INF = np.nan, np.inf


def gradient(x, surrogate):
    return step_and_gradient(x, surrogate)[1]


def step_and_gradient(x, surrogate):
    @jax.jit
    def both(x):
        y, vjp = jax.vjp(lambda x: jaxfn.heaviside(x, surrogate), x)
        return y, vjp(jnp.ones_like(x))[0]

    return both(x)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("jit", [False, pytest.param(True, marks=pytest.mark.optimized)])
def test_the_step_at_special_values(dtype, jit):
    with jax.enable_x64(True):
        tiny = float(jnp.finfo(dtype).smallest_normal) / 4
        x = jnp.asarray([NAN, INF, -INF, 0, -0.0, tiny, -tiny, 1, -1], dtype)
        y = (jax.jit(jaxfn.heaviside) if jit else jaxfn.heaviside)(x)
        assert y.dtype == x.dtype
        expected = [NAN, 1, 0, 0, 0, 1, 0, 1, 0]
        np.testing.assert_array_equal(np.asarray(y, np.float64), expected)


@pytest.mark.parametrize("name", BY_NAME)
@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_the_gradient_at_special_values(name, dtype):
    with jax.enable_x64(True):
        top = float(jnp.finfo(dtype).max)
        x = jnp.asarray([NAN, INF, -INF, top, -top, 0, -0.0], dtype)
        x_bar = np.asarray(gradient(x, name), np.float64)
        peak = float(BY_NAME[name]()(jnp.zeros((), "float32")).astype(dtype))
        # The box compares, and nan is not within it.
        expected = [0 if name == "boxcar" else NAN, 0, 0, 0, 0, peak, peak]
        np.testing.assert_allclose(x_bar, expected, atol=1e-9)
        assert gradient(x, name).dtype == x.dtype


@settings(deadline=None, max_examples=8)
@given(
    x=hnp.arrays(np.float32, hnp.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=3)),
    name=st.sampled_from([*BY_NAME]),
)
def test_any_shape_and_bits(x, name):
    y, x_bar = step_and_gradient(jnp.asarray(x), name)
    wide = x.astype(np.float64)  # numpy's comparisons know subnormal numbers
    np.testing.assert_array_equal(y, np.where(np.isnan(wide), NAN, wide > 0))
    np.testing.assert_allclose(x_bar, jax.jit(BY_NAME[name]())(jnp.asarray(x)), rtol=1e-6)


def test_names_objects_and_own_functions():
    x = jnp.array([-0.75, 0.0, 0.3])
    chex.assert_trees_all_equal(gradient(x, "atan"), gradient(x, jaxfn.surrogates.atan()))
    sharper = gradient(x, jaxfn.surrogates.atan(alpha=8.0))
    np.testing.assert_allclose(sharper, 4 / (1 + (4 * np.pi * x) ** 2), rtol=1e-6)
    chex.assert_trees_all_equal(gradient(x, jnp.cos), jnp.cos(x))
    own = Partial(lambda x, width: jnp.exp(-jnp.abs(x) / width), width=0.5)
    np.testing.assert_allclose(gradient(x, own), np.exp(-2 * np.abs(x)), rtol=1e-6)


def test_an_own_surrogate_is_given_float32_at_least():
    given = []

    def surrogate(x):
        given.append(x.dtype)
        return jnp.ones_like(x)

    assert gradient(jnp.ones(2, "bfloat16"), surrogate).dtype == "bfloat16"
    assert given == ["float32"]


def test_a_parameter_may_be_traced_and_batched_and_has_no_gradient():
    def loss(x, alpha):
        return jnp.sum(jaxfn.heaviside(x, jaxfn.surrogates.sigmoid(alpha)))

    x, alphas = jnp.array([0.0, 0.1]), jnp.array([1.0, 4.0, 16.0])
    gradients = jax.jit(jax.vmap(jax.grad(loss, (0, 1)), (None, 0)))(x, alphas)
    chex.assert_trees_all_close(gradients[0][:, 0], alphas / 4)
    chex.assert_trees_all_equal(gradients[1], jnp.zeros(3))


def test_second_derivatives_use_the_derivative_of_the_surrogate():
    x = 0.3
    first, second = (jax.jit(f) for f in (jax.grad(jaxfn.heaviside), jax.hessian(jaxfn.heaviside)))
    smooth = lambda x: jax.nn.sigmoid(4 * x)  # noqa: E731
    np.testing.assert_allclose(first(x), jax.grad(smooth)(x), rtol=1e-6)
    np.testing.assert_allclose(second(x), jax.grad(jax.grad(smooth))(x), rtol=1e-5)
    # And y itself is differentiated by the rule: (y²)'' = 2(s² + y s').
    square = jax.jit(jax.hessian(lambda x: jaxfn.heaviside(x) ** 2))(x)
    np.testing.assert_allclose(square, 2 * (first(x) ** 2 + second(x)), rtol=1e-5)


@pytest.mark.parametrize("name", BY_NAME)
@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
def test_the_slope_alone_is_kept(name, dtype):
    with jax.enable_x64(True):
        x = jnp.linspace(-1, 1, 24, dtype=dtype).reshape(4, 6)
        (slope,) = jax.tree.leaves(jax.vjp(lambda x: jaxfn.heaviside(x, name), x)[1])
        assert (slope.shape, slope.dtype) == ((4, 6), x.dtype)


def test_a_neuron_learns_through_time():
    """The membrane potential leaks, integrates its input and is reset by a spike."""

    def spikes(weight, inputs):
        def step(potential, current):
            potential = 0.9 * potential + weight * current
            spike = jaxfn.heaviside(potential - 1, "fast_sigmoid")
            return potential - spike, spike

        return jax.lax.scan(step, jnp.zeros(()), inputs)[1].sum()

    inputs = jnp.full(10, 0.4)
    weights = jax.vmap(jax.value_and_grad(spikes), (0, None))(jnp.array([0.5, 1.0, 2.0]), inputs)
    assert weights[0].tolist() == sorted(weights[0].tolist())
    assert jnp.all(weights[1] > 0)
    fixed = jaxfn.autodiff(lambda w: spikes(w, inputs), custom_jvp=True)
    assert jax.grad(fixed)(1.0) == 0


def test_the_rule_is_used():
    rules = jaxfn.custom_rules(jaxfn.heaviside, jnp.ones(3))
    assert [(rule.kind, rule.name) for rule in rules] == [("custom_jvp", "_heaviside")]


def test_a_wrong_surrogate_fails():
    report = jaxfn.gradcheck(
        lambda x: jaxfn.heaviside(x, "atan"),
        (jnp.array([0.2, -0.4]),),
        surrogate=lambda x: jnp.arctan(np.pi * x / 2),
        order=1,
        raise_exception=False,
    )
    assert report.verdict == "fail"


X = jnp.ones(2)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: jaxfn.heaviside(jnp.arange(2)),
            TypeError,
            "heaviside: expected x of .* got int32",
        ),
        (
            lambda: jaxfn.heaviside(X, "tanh"),
            ValueError,
            "surrogate one of sigmoid, atan, fast_sigmoid, .*, got 'tanh'",
        ),
        (lambda: jaxfn.heaviside(X, 4.0), TypeError, "to be a name or callable, got float"),
        (lambda: gradient(X, jnp.sum), ValueError, r"the shape of x, \[2\], got \[\]"),
        (lambda: gradient(X, lambda x: (x, x)), ValueError, r"the shape of x, \[2\], got tuple"),
        (
            lambda: gradient(jnp.ones(()), jaxfn.surrogates.atan),
            ValueError,
            r"the shape of x, \[\], got Partial",
        ),
    ],
)
def test_wrong_calls(call, error, message):
    with pytest.raises(error, match=message):
        call()
