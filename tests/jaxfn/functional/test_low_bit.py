from __future__ import annotations

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxfn
from tests.jaxfn.functional.oracles import assert_close, dtypes_of_sums

pytestmark = pytest.mark.numbers

FLOATS = ["float16", "bfloat16", "float32", "float64"]
NAN, INF = np.nan, np.inf
weights = functools.partial(jaxfn.dorefa, mode="weights")
eager_and_jit = pytest.mark.parametrize(
    "jit",
    [pytest.param(False, id="eager"), pytest.param(True, id="jit", marks=pytest.mark.optimized)],
)


def pull(fun, *args, y_bar=None) -> tuple[jax.Array, ...]:
    y, vjp = jax.vjp(fun, *args)
    bars = vjp(jnp.ones_like(y) if y_bar is None else y_bar)
    for bar, arg in zip(bars, args, strict=True):
        assert (bar.shape, bar.dtype) == (arg.shape, arg.dtype)
    return y, *bars


def kept(fun, *args) -> list[tuple[tuple[int, ...], int]]:
    """Shape and bytes of an element of what is kept between forward and backward pass."""
    _, vjp = jax.vjp(fun, *args)
    return sorted((leaf.shape, leaf.dtype.itemsize) for leaf in jax.tree.leaves(vjp))


# x in units of α/3, the level of two bits, and the derivatives by x and α.
PACT = [
    (0.0, 0, 1, 0),
    (-0.0, 0, 1, 0),
    (0.5, 0, 1, 0),  # halves go to the even level
    (1.5, 2, 1, 0),
    (2.5, 2, 1, 0),
    (2.75, 3, 1, 0),
    (3.0, 3, 0, 1),
    (3.25, 3, 0, 1),
    (-0.25, 0, 0, 0),
    (-9.0, 0, 0, 0),
    (INF, 3, 0, 1),
    (-INF, 0, 0, 0),
    (NAN, NAN, 0, 0),
]


@pytest.mark.parametrize("dtype", FLOATS)
@eager_and_jit
def test_special_values_of_pact(dtype, jit):
    v, level, of_x, of_alpha = np.array(PACT).T
    with jax.enable_x64(True):
        x, alpha = jnp.asarray(0.5 * v, dtype), jnp.asarray(1.5, dtype)
        fun = functools.partial(pull, functools.partial(jaxfn.pact, bits=2))
        y, x_bar, alpha_bar = (jax.jit(fun) if jit else fun)(x, alpha)
    assert y.dtype == dtype
    np.testing.assert_array_equal(np.asarray(y, np.float64), 0.5 * level)
    np.testing.assert_array_equal(np.asarray(x_bar, np.float64), of_x)
    assert float(alpha_bar) == np.sum(of_alpha)


@settings(deadline=None, max_examples=8)
@given(
    shape=st.sampled_from([(), (0, 2), (3, 4), (2, 1, 3)]),
    bits=st.integers(1, 8),
    alpha=st.floats(0.1, 3),
    seed=st.integers(0, 99),
)
def test_pact_of_any_shape_and_bits(shape, bits, alpha, seed):
    x, y_bar = np.random.RandomState(seed).standard_normal((2, *shape))
    with jax.enable_x64(True):
        fun = functools.partial(jaxfn.pact, bits=bits)
        run = jax.jit(lambda y_bar, *args: pull(fun, *args, y_bar=y_bar))
        actual = run(y_bar, x, np.float64(alpha))
    n = 2**bits - 1
    # Equation 1 of the paper, and where it is x or α.
    clipped = 0.5 * (np.abs(x) - np.abs(x - alpha) + alpha)
    y = np.rint(clipped * n / alpha) * alpha / n
    expected = (y, y_bar * ((x >= 0) & (x < alpha)), np.sum(y_bar * (x >= alpha)))
    assert_close(actual, expected, 1e-14)


@pytest.mark.present_checkpoint
@pytest.mark.parametrize("dtype", FLOATS)
def test_pact_keeps_one_byte_per_element(dtype):
    with jax.enable_x64(True):
        x, alpha = jnp.linspace(-1, 1, 24, dtype=dtype).reshape(4, 6), jnp.asarray(0.5, dtype)
        for fun in (jaxfn.pact, jax.jit(jaxfn.pact)):
            assert kept(fun, x, alpha) == [((4, 6), 1)]
        assert kept(lambda x: jaxfn.pact(x, alpha), x) == [((4, 6), 1)]
        assert kept(lambda alpha: jaxfn.pact(x, alpha), alpha) == [((4, 6), 1)]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_pact_sums_over_sixteen_bit_elements_in_float32(dtype):
    x, alpha = jnp.full(8192, 2, dtype), jnp.ones((), dtype)
    y_bar = jnp.full(8192, 0.25, dtype)  # the sum in the dtype itself would stall
    of_alpha = functools.partial(jaxfn.pact, x)
    for fun, args in ((jaxfn.pact, (x, alpha)), (of_alpha, (alpha,))):
        assert pull(fun, *args, y_bar=y_bar)[-1] == 2048
        assert dtypes_of_sums(jax.vjp(fun, *args)[1], y_bar) == ["f32"]


def test_special_cotangents_stop_where_the_slope_is_zero():
    y_bar = jnp.array([NAN, 1.0, INF, NAN])
    x = jnp.array([-1.0, 0.5, 0.25, -INF])
    _, x_bar, alpha_bar = pull(jaxfn.pact, x, jnp.float32(1), y_bar=y_bar)
    chex.assert_trees_all_equal((x_bar, alpha_bar), (jnp.array([0, 1, INF, 0]), jnp.float32(0)))
    _, x_bar = pull(jaxfn.dorefa, x, y_bar=y_bar)
    chex.assert_trees_all_equal(x_bar, jnp.array([0, 1, INF, 0]))


def test_forward_mode_and_second_derivatives_of_pact():
    x, alpha = jnp.array([-1.0, 0.25, 0.75, 2.0]), jnp.float32(1.0)
    fun = functools.partial(jaxfn.pact, bits=2)
    tangents = (jnp.arange(1.0, 5.0), jnp.float32(10))
    y, y_dot = jax.jvp(fun, (x, alpha), tangents)
    chex.assert_trees_all_equal((y, y_dot), (fun(x, alpha), jnp.array([0.0, 2.0, 3.0, 10.0])))
    chex.assert_trees_all_equal(
        jax.jvp(lambda alpha: fun(x, alpha), (alpha,), tangents[1:])[1],
        jnp.array([0.0, 0.0, 0.0, 10.0]),
    )
    second = jax.jit(jax.hessian(lambda *args: jnp.sum(fun(*args) ** 2), (0, 1)))(x, alpha)
    ends = jnp.array([0.0, 2.0, 2.0, 0.0])
    chex.assert_trees_all_equal(second, ((jnp.diag(ends), 0 * x), (0 * x, jnp.float32(2.0))))


# x and its level of two bits times 3, and the derivative.
DOREFA = [
    (0.0, 0, 1),
    (-0.0, 0, 1),
    (0.125, 0, 1),
    (0.5, 2, 1),  # 1.5 goes to the even level
    (0.75, 2, 1),
    (1.0, 3, 1),
    (1.125, 3, 0),
    (-0.125, 0, 0),
    (INF, 3, 0),
    (-INF, 0, 0),
    (NAN, NAN, 0),
]


@pytest.mark.parametrize("dtype", FLOATS)
@eager_and_jit
def test_special_values_of_dorefa(dtype, jit):
    x, level, slope = np.array(DOREFA).T
    with jax.enable_x64(True):
        fun = functools.partial(pull, jaxfn.dorefa)
        y, x_bar = (jax.jit(fun) if jit else fun)(jnp.asarray(x, dtype))
        expected = (jnp.asarray(level) / 3).astype(dtype)
    assert y.dtype == dtype
    eps = float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(np.asarray(y, float), np.asarray(expected, float), rtol=eps)
    np.testing.assert_array_equal(np.asarray(x_bar, np.float64), slope)


def larq(x: np.ndarray, bits: int, mode: str) -> tuple[np.ndarray, np.ndarray]:
    """Value and slope, element by element, by the formulas of larq's `DoReFa`."""
    n = 2**bits - 1

    def quantize_k(value: float) -> float:
        return round(value * n) / n  # Python's round, too, is to even

    if mode == "activations":
        pairs = [(quantize_k(min(max(v, 0.0), 1.0)), float(0 <= v <= 1)) for v in x.flat]
    else:
        dividend = max((abs(np.tanh(v)) for v in x.flat), default=0.0)
        pairs = []
        for v in x.flat:
            normed = np.tanh(v) / (2 * dividend) + 0.5 if dividend else 0.5
            slope = 1 / (np.cosh(v) ** 2 * dividend) if dividend else 0.0
            pairs.append((2 * quantize_k(normed) - 1, slope))
    y, slope = np.array(pairs, np.float64).reshape(-1, 2).T
    return y.reshape(x.shape), slope.reshape(x.shape)


@settings(deadline=None, max_examples=12)
@given(
    shape=st.sampled_from([(), (0, 2), (3, 4), (2, 1, 3)]),
    bits=st.integers(1, 8),
    mode=st.sampled_from(["activations", "weights"]),
    size=st.sampled_from([0.0, 0.5, 3.0]),
    seed=st.integers(0, 99),
)
def test_dorefa_is_larqs(shape, bits, mode, size, seed):
    x, y_bar = np.random.RandomState(seed).standard_normal((2, *shape))
    x = size * x
    with jax.enable_x64(True):
        fun = functools.partial(jaxfn.dorefa, bits=bits, mode=mode)
        actual = jax.jit(lambda x, y_bar: pull(fun, x, y_bar=y_bar))(x, y_bar)
    y, slope = larq(x, bits, mode)
    assert_close(actual, (y, slope * y_bar), 1e-14)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("bits", [1, 2, 8])
def test_the_weights_in_each_dtype(dtype, bits):
    x = jnp.asarray(np.random.RandomState(0).standard_normal(50), dtype)
    actual = pull(functools.partial(weights, bits=bits), x)
    expected = larq(np.asarray(x, np.float64), bits, "weights")
    assert_close(actual, expected, 2 * float(jnp.finfo(dtype).eps))
    assert np.max(np.abs(np.asarray(actual[0], np.float64))) == 1


@pytest.mark.present_checkpoint
@pytest.mark.parametrize("dtype", FLOATS)
def test_what_dorefa_keeps(dtype):
    with jax.enable_x64(True):
        x = jnp.linspace(-1, 1, 24, dtype=dtype).reshape(4, 6)
        assert kept(jaxfn.dorefa, x) == [((4, 6), 1)]
        largest = ((), max(4, x.dtype.itemsize))
        for fun in (weights, jax.jit(weights)):
            assert kept(fun, x) == [largest, ((4, 6), x.dtype.itemsize)]


def test_forward_mode_and_second_derivatives_of_the_weights():
    with jax.enable_x64(True):
        x = jnp.array([-1.0, 0.25, 0.75, 0.5])
        largest = jnp.tanh(1.0)

        def surrogate(x):
            return jnp.tanh(x) / largest

        x_dot = jnp.arange(1.0, 5.0)
        actual = jax.jvp(weights, (x,), (x_dot,))[1]
        assert_close([actual], [jax.jvp(surrogate, (x,), (x_dot,))[1]], 1e-14)
        hessian = jax.jit(jax.hessian(lambda x: jnp.vdot(x_dot, weights(x))))(x)
        slopes = jax.grad(lambda x: jnp.vdot(x_dot, jax.jvp(surrogate, (x,), (jnp.ones(4),))[1]))
        assert_close([hessian], [jnp.diag(slopes(x))], 1e-13)


def test_nan_among_weights_makes_all_of_them_nan():
    y, x_bar = pull(weights, jnp.array([NAN, 1.0]))
    assert np.isnan(y).all()
    assert np.isnan(x_bar).all()


@pytest.mark.parametrize(
    ("fun", "args", "name"),
    [
        (jaxfn.pact, (jnp.ones(3), jnp.float32(1)), "_pact"),
        (jaxfn.dorefa, (jnp.ones(3),), "_dorefa_activations"),
        (weights, (jnp.ones(3),), "_dorefa_weights"),
    ],
)
def test_the_rule_is_used(fun, args, name):
    (rule,) = jaxfn.custom_rules(fun, *args)
    assert (rule.kind, rule.name) == ("custom_jvp", name)


X = jnp.ones((2, 3))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: jaxfn.pact(jnp.arange(3), 1.0), TypeError, "pact: expected x of dtype .* int32"),
        (lambda: jaxfn.pact(X, 1), TypeError, "pact: expected alpha to be an array, got int"),
        (lambda: jaxfn.pact(X, X[0]), ValueError, r"expected alpha \[\] .* got alpha \[3\]"),
        (lambda: jaxfn.pact(X, 1.0, bits=0), ValueError, "pact: expected bits from 1 to 16, got 0"),
        (lambda: jaxfn.dorefa(jnp.arange(3)), TypeError, "dorefa: expected x of dtype .* int32"),
        (lambda: jaxfn.dorefa(X, bits=17), ValueError, "dorefa: expected bits from 1 to 16, got"),
        (lambda: jaxfn.dorefa(X, bits=True), TypeError, "dorefa: expected bits to be an int, got"),
        (
            lambda: jaxfn.dorefa(X, mode="weight"),
            ValueError,
            """dorefa: expected mode "activations" or "weights", got 'weight'""",
        ),
    ],
)
def test_wrong_calls(call, error, message):
    with pytest.raises(error, match=message):
        call()
