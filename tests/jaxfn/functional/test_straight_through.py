from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import jaxfn

pytestmark = pytest.mark.numbers

FLOATS = ["float16", "bfloat16", "float32", "float64"]
NAN, INF = np.nan, np.inf
SPECIAL = np.array([NAN, INF, -INF, 0.0, -0.0, 0.5, 1.5, -0.5, -2.7, 3.2])

# Each operation with the numpy function that its result is.
ROUNDING = {
    "round_ste": (jaxfn.round_ste, np.rint),
    "floor_ste": (jaxfn.floor_ste, np.floor),
    "ceil_ste": (jaxfn.ceil_ste, np.ceil),
    "straight_through": (jaxfn.straight_through(jnp.trunc), np.trunc),
    "clip_ste": (lambda x: jaxfn.clip_ste(x, -0.5, 2), lambda x: np.clip(x, -0.5, 2)),
}
each_rounding = pytest.mark.parametrize(("operation", "exact"), ROUNDING.values(), ids=ROUNDING)


@each_rounding
@pytest.mark.parametrize("dtype", FLOATS)
def test_the_result_is_exact_and_the_gradient_the_identity(operation, exact, dtype):
    with jax.enable_x64(True):
        x = jnp.asarray(SPECIAL, dtype)
        y_bar = jnp.arange(1, 11, dtype=dtype).at[1].set(INF).at[3].set(NAN)
        y, vjp = jax.vjp(operation, x)
        (x_bar,) = vjp(y_bar)
        y_dot = jax.jvp(operation, (x,), (y_bar,))[1]
        chex.assert_trees_all_equal_dtypes(x, y, x_bar, y_dot)
        expected = exact(np.asarray(x, np.float64))
        np.testing.assert_array_equal(np.asarray(y, np.float64), expected)
        zeros = expected == 0
        signs = np.signbit(np.asarray(y, np.float64)[zeros]), np.signbit(expected[zeros])
        np.testing.assert_array_equal(*signs)
        for gradient in (x_bar, y_dot):
            np.testing.assert_array_equal(*(np.asarray(a, np.float64) for a in (gradient, y_bar)))
        assert jax.tree.leaves(vjp) == []  # nothing is kept


@settings(deadline=None, max_examples=8)
@given(
    x=hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
        elements=st.floats(width=32, allow_subnormal=False),  # XLA takes them for zeros
    ),
    name=st.sampled_from([*ROUNDING]),
)
def test_any_shape(x, name):
    operation, exact = ROUNDING[name]
    y, vjp = jax.vjp(operation, jnp.asarray(x))
    np.testing.assert_array_equal(y, exact(x))
    np.testing.assert_array_equal(vjp(jnp.ones_like(y))[0], np.ones_like(x))


def test_halves_go_to_the_even_neighbour():
    assert jaxfn.round_ste(jnp.array([0.5, 1.5, 2.5, -0.5])).tolist() == [0, 2, 2, 0]


def test_bounds_may_be_traced_and_have_no_gradient():
    def loss(x, low, high):
        return jnp.sum(jaxfn.clip_ste(x, low, high))

    x = jnp.array([-3.0, 0.0, 3.0])
    value, gradients = jax.jit(jax.value_and_grad(loss, (0, 1, 2)))(x, -1.0, 2.0)
    assert value == 1
    chex.assert_trees_all_equal(gradients, (jnp.ones(3), jnp.zeros(()), jnp.zeros(())))


def test_only_the_first_argument_has_a_gradient():
    def scaled_floor(x, step, *, offset, mode):
        assert mode == "down"
        return jnp.floor(x / step) * step + offset

    def fun(x, step, offset):
        through = jaxfn.straight_through(scaled_floor)
        return jnp.sum(through(x, step, offset=offset, mode="down") ** 2)

    x = jnp.array([0.3, 1.2])
    value, gradients = jax.jit(jax.value_and_grad(fun, (0, 1, 2)))(x, 0.25, 1.0)
    np.testing.assert_allclose(value, 1.25**2 + 2.0**2)
    chex.assert_trees_all_close(gradients, (2 * jnp.array([1.25, 2.0]), 0.0, 0.0))


def test_what_the_function_closes_over_has_no_gradient():
    def loss(x, step):
        return jaxfn.straight_through(lambda x: jnp.floor(x / step) * step)(x)

    assert jax.grad(jax.jit(loss), (0, 1))(0.7, 0.5) == (1, 0)


def test_the_function_itself_is_never_differentiated():
    def on_the_host(x):
        return jax.pure_callback(np.trunc, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    through = jaxfn.straight_through(on_the_host)
    y, y_dot = jax.jit(lambda x: jax.jvp(through, (x,), (x,)))(jnp.array([1.5, -2.5]))
    assert (y.tolist(), y_dot.tolist()) == ([1, -2], [1.5, -2.5])
    assert jax.grad(lambda x: through(x).sum())(jnp.array([1.5])).tolist() == [1]


def test_the_name_and_the_documentation_stay():
    assert jaxfn.straight_through(jnp.trunc).__name__ == "trunc"
    assert jaxfn.straight_through(jnp.trunc).__doc__ == jnp.trunc.__doc__


def test_derivatives_of_derivatives_go_straight_through():
    # y³ has the derivatives 3y² and 6y, as if y were x.
    cube = lambda x: jaxfn.round_ste(x) ** 3  # noqa: E731
    assert jax.grad(cube)(1.8) == 12
    assert jax.grad(jax.grad(cube))(1.8) == jax.hessian(cube)(1.8) == 12


@each_rounding
def test_the_rule_is_used(operation, exact):
    (rule, *_) = jaxfn.custom_rules(operation, jnp.ones(3))
    assert rule.kind == "custom_jvp"
    plain = jaxfn.autodiff(operation, custom_jvp=True)
    slope = 1.0 if exact(0.25) == 0.25 else 0.0
    assert jax.grad(plain)(0.25) == slope


def test_a_wrong_rule_fails():
    x = jnp.array([0.2, -1.7])
    report = jaxfn.gradcheck(
        jaxfn.round_ste, (x,), surrogate=lambda x: 1.001 * x, order=1, raise_exception=False
    )
    assert report.verdict == "fail"
    assert "0.999001 times" in report.diagnosis


@pytest.mark.parametrize("name", ["round_ste", "floor_ste", "ceil_ste"])
@pytest.mark.parametrize(
    ("x", "message"),
    [
        (jnp.arange(3), "{}: expected x of dtype float16, .*, got int32"),
        (jnp.array([1j]), "{}: expected x of dtype .*, got complex64"),
        ([1.0], "{}: expected x to be an array, got list"),
    ],
)
def test_wrong_inputs(name, x, message):
    with pytest.raises(TypeError, match=message.format(name)):
        getattr(jaxfn, name)(x)


X = jnp.ones(2)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: jaxfn.straight_through(3), TypeError, "fun to be callable, got int"),
        (
            lambda: jaxfn.straight_through(jnp.sign)(jnp.arange(2)),
            TypeError,
            "straight_through: expected the first argument of fun of dtype float16, .* got int32",
        ),
        (
            lambda: jaxfn.straight_through(jnp.sum)(X),
            ValueError,
            r"of its first argument, float32\[2\], got float32\[\]",
        ),
        (
            lambda: jaxfn.straight_through(jnp.isnan)(X),
            ValueError,
            r"of its first argument, float32\[2\], got bool\[2\]",
        ),
        (
            lambda: jaxfn.straight_through(lambda x: (x, x))(X),
            TypeError,
            "expected fun to return an array, got tuple",
        ),
        (lambda: jaxfn.clip_ste(jnp.arange(2), 0, 1), TypeError, "clip_ste: expected x of dtype"),
        (lambda: jaxfn.clip_ste(X, 1, 0), ValueError, "low at most high, got low 1 and high 0"),
        (lambda: jaxfn.clip_ste(X, NAN, 0), ValueError, "low to be a number, got nan"),
        (lambda: jaxfn.clip_ste(X, 0, X), TypeError, r"high to be .*, got float32\[2\]"),
        (lambda: jaxfn.clip_ste(X, "0", 1), TypeError, "low to be a number .*, got str"),
        (lambda: jaxfn.clip_ste(X, True, 1), TypeError, "low to be a number .*, got bool"),
    ],
)
def test_wrong_calls(call, error, message):
    with pytest.raises(error, match=message):
        call()
