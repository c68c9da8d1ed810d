from __future__ import annotations

import functools

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
eager_and_jit = pytest.mark.parametrize(
    "jit",
    [pytest.param(False, id="eager"), pytest.param(True, id="jit", marks=pytest.mark.optimized)],
)

three_bits = functools.partial(jaxfn.fake_quantize, quant_min=-4, quant_max=3)


def pull(fun, x, y_bar=None) -> tuple[jax.Array, jax.Array]:
    y, vjp = jax.vjp(fun, x)
    (x_bar,) = vjp(jnp.ones_like(y) if y_bar is None else y_bar)
    assert (y.shape, y.dtype) == (x_bar.shape, x_bar.dtype) == (x.shape, x.dtype)
    return y, x_bar


def kept(fun, *args) -> list[tuple[tuple[int, ...], int]]:
    """Shape and bytes of an element of what is kept between forward and backward pass."""
    _, vjp = jax.vjp(fun, *args)
    return [(leaf.shape, leaf.dtype.itemsize) for leaf in jax.tree.leaves(vjp)]


# x / scale, the level, and whether the gradient passes; levels from −4 to 3.
SPECIAL = [
    (0.0, 0, 1),
    (-0.0, 0, 1),
    (-0.25, 0, 1),  # rounds to 0, not to −0
    (0.5, 0, 1),  # halves go to the even level
    (1.5, 2, 1),
    (-0.5, 0, 1),
    (-1.5, -2, 1),
    (2.5, 2, 1),
    (3.0, 3, 1),
    (3.25, 3, 1),  # past the last level, but it rounds to it
    (3.5, 3, 0),  # to 4
    (-4.5, -4, 1),  # to −4
    (-4.75, -4, 0),
    (30000.0, 3, 0),
    (INF, 3, 0),
    (-INF, -4, 0),
    (NAN, -4, 0),
]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("zero_point", [0, -1])
@eager_and_jit
def test_special_values(dtype, zero_point, jit):
    with jax.enable_x64(True):
        v, level, slope = np.array(SPECIAL).T
        x = jnp.asarray(0.5 * (v - zero_point), dtype)
        fun = functools.partial(three_bits, scale=0.5, zero_point=zero_point)
        y, x_bar = pull(jax.jit(fun) if jit else fun, x, jnp.full(x.shape, 3, dtype))
    # The zero point moves every value by a whole level, so halves stay halves, and even odd.
    moved = np.rint(v - zero_point) + zero_point
    inside = (moved >= -4) & (moved <= 3)
    level = level if zero_point == 0 else np.where(np.isnan(v), -4, np.clip(moved, -4, 3))
    slope = slope if zero_point == 0 else inside
    np.testing.assert_array_equal(np.asarray(y, np.float64), 0.5 * (level - zero_point))
    np.testing.assert_array_equal(np.asarray(x_bar, np.float64), 3 * slope)
    assert not np.signbit(np.asarray(y, np.float64)[np.asarray(y) == 0]).any()


def test_special_cotangents_stop_where_the_slope_is_zero():
    y_bar = jnp.array([NAN, INF, -INF, NAN, INF])
    x = jnp.array([-9.0, 9.0, NAN, 0.0, 1.0])
    chex.assert_trees_all_equal(
        pull(functools.partial(three_bits, scale=1.0), x, y_bar)[1], jnp.array([0, 0, 0, NAN, INF])
    )


@settings(deadline=None, max_examples=15)
@given(
    x=hnp.arrays(
        np.float32,
        st.sampled_from([(1,), (0, 2), (2, 3), (2, 1, 3)]),
        elements=st.floats(width=32, allow_subnormal=False),
    ),
    bits=st.integers(1, 8),
    scale=st.floats(0.015625, 16, width=32),
    zero_point=st.integers(-2, 3),
    axis=st.sampled_from([None, 0, -1]),
)
def test_any_shape_scale_and_range(x, bits, scale, zero_point, axis):
    low, high = -(2**bits), 2**bits + 1
    scales = np.float32(scale) if axis is None else np.linspace(scale, 2 * scale, x.shape[axis])
    scales = np.asarray(scales, np.float32)
    fun = functools.partial(
        jaxfn.fake_quantize, zero_point=zero_point, quant_min=low, quant_max=high, axis=axis
    )
    y, x_bar = jax.jit(lambda x, scales: pull(lambda x: fun(x, scales), x))(x, scales)
    if axis is not None:
        scales = scales.reshape([-1 if i == axis % x.ndim else 1 for i in range(x.ndim)])
    with np.errstate(all="ignore"):
        q = np.rint(x * (np.float32(1) / scales)) + np.float32(zero_point)
        clipped = np.where(np.isnan(q), np.float32(low), np.clip(q, low, high))
        np.testing.assert_array_equal(y, (clipped - np.float32(zero_point)) * scales)
        np.testing.assert_array_equal(x_bar, (low <= q) & (q <= high))


@pytest.mark.optimized
def test_the_inverse_of_the_scale_is_multiplied_as_in_pytorch():
    # In float32 1.55 / 0.1 is just below 15.5, and 1.55 · (1 / 0.1) is 15.5, rounded to 16.
    x, scale = np.float32([1.55]), np.float32(0.1)
    by_inverse = np.rint(x * (1 / scale)) * scale
    assert np.rint(x / scale) * scale != by_inverse
    for fun in (jaxfn.fake_quantize, jax.jit(jaxfn.fake_quantize)):
        np.testing.assert_array_equal(fun(jnp.asarray(x), jnp.asarray(scale)), by_inverse)


@pytest.mark.present_checkpoint
@pytest.mark.parametrize("dtype", FLOATS)
def test_one_byte_per_element_is_kept(dtype):
    with jax.enable_x64(True):
        x = jnp.linspace(-1, 1, 24, dtype=dtype).reshape(4, 6)
        scale = jnp.full(6, 0.1, dtype)
        fun = functools.partial(three_bits, axis=1)
        assert kept(lambda x: fun(x, scale), x) == [((4, 6), 1)]
        assert kept(jax.jit(fun), x, scale) == [((4, 6), 1)]


@pytest.mark.present_checkpoint
def test_in_a_scan_one_byte_per_element_and_step_is_kept():
    def layers(x):
        return jax.lax.scan(lambda h, _: (three_bits(h, 0.25), None), x, length=7)[0]

    assert kept(layers, jnp.ones((4, 6))) == [((7, 4, 6), 1)]


def test_scale_and_zero_point_get_no_gradient():
    x, scale = jnp.linspace(-2, 2, 6), jnp.float32(0.25)
    chex.assert_trees_all_equal(jax.grad(lambda s: three_bits(x, s).sum())(scale), 0.0 * scale)
    zero_point = jnp.array(1)
    bars = jax.vjp(three_bits, x, scale, zero_point)[1](jnp.ones(6))
    chex.assert_trees_all_equal(bars[:2], (jnp.array([0, 1, 1, 1, 0, 0.0]), 0.0 * scale))
    assert bars[2].dtype == jax.dtypes.float0


def test_forward_mode_and_second_derivatives():
    x = jnp.array([-3.0, -0.4, 0.3, 0.7, 3.0])
    fun = functools.partial(three_bits, scale=0.25)
    x_dot = jnp.arange(1.0, 6.0)
    expected = jnp.array([0.0, 2.0, 3.0, 4.0, 0.0])
    chex.assert_trees_all_equal(jax.jvp(fun, (x,), (x_dot,)), (fun(x), expected))
    # (Σ y²)'' = 2 (y')²: the mask is a constant.
    hessian = jax.jit(jax.hessian(lambda x: jnp.sum(fun(x) ** 2)))(x)
    chex.assert_trees_all_equal(hessian, jnp.diag(2.0 * (expected > 0)))


def test_the_rule_is_used():
    (rule,) = jaxfn.custom_rules(jaxfn.fake_quantize, jnp.ones(3), jnp.float32(1))
    assert (rule.kind, rule.name) == ("custom_jvp", "_fake_quantize")


X = jnp.ones((2, 3))


@pytest.mark.parametrize(
    ("args", "kwargs", "error", "message"),
    [
        ((jnp.arange(3), 1.0), {}, TypeError, "fake_quantize: expected x of dtype .* got int32"),
        (([1.0], 1.0), {}, TypeError, "expected x to be an array, got list"),
        ((X, jnp.array(1)), {}, TypeError, "expected scale of dtype float16, .* got int32"),
        ((X, X[0]), {}, ValueError, r"scale \[\] for all of x \(axis=None\), got scale \[3\]"),
        ((X, X[0]), {"axis": 0}, ValueError, r"scale \[2\] to match axis 0 of x \[2, 3\], got"),
        ((X, 1.0), {"axis": 1}, ValueError, r"scale \[3\] to match axis 1 .* got scale \[\]"),
        ((X, X[0]), {"axis": 2}, ValueError, r"axis to be one of x \[2, 3\], got axis 2"),
        ((X, X[0]), {"axis": "1"}, TypeError, "expected axis to be an int, got str"),
        ((X, 1.0, 0.0), {}, TypeError, "expected zero_point to be an int, got float"),
        ((X, 1.0, jnp.ones(())), {}, TypeError, "zero_point of dtype int8, .* got float32"),
        ((X, 1.0, 200), {}, ValueError, "expected zero_point from -128 to 127, got 200"),
        ((X, 1.0, jnp.arange(3)), {}, ValueError, r"zero_point \[\] .* got zero_point \[3\]"),
        ((X, 1.0), {"quant_min": 0.5}, TypeError, "expected quant_min to be an int, got float"),
        ((X, 1.0), {"quant_max": 2**30}, ValueError, "quant_max from -8388608 to 8388608, got"),
        ((X, 1.0), {"quant_min": 127}, ValueError, "quant_min < quant_max, got 127 and 127"),
    ],
)
def test_wrong_calls(args, kwargs, error, message):
    with pytest.raises(error, match=message):
        jaxfn.fake_quantize(*args, **kwargs)


@pytest.mark.parametrize("dtype", FLOATS)
def test_stochastic_rounding_keeps_whole_numbers_and_the_mean(dtype):
    with jax.enable_x64(True):
        x = jnp.asarray([-INF, -2.0, -0.75, 0.0, 0.125, 1.5, 3.0, INF, NAN], dtype)
        keys = jax.random.split(jax.random.key(0), 4000)
        y = np.asarray(jax.vmap(lambda key: jaxfn.stochastic_round(key, x))(keys), np.float64)
    whole = [0, 1, 3, 6, 7, 8]
    expected = np.asarray(x, np.float64)[whole]
    np.testing.assert_array_equal(y[:, whole], np.broadcast_to(expected, (4000, 6)))
    for column, (low, mean) in {2: (-1, -0.75), 4: (0, 0.125), 5: (1, 1.5)}.items():
        assert {*y[:, column]} == {low, low + 1}
        assert abs(y[:, column].mean() - mean) < 4 * 0.5 / np.sqrt(4000)


def test_stochastic_rounding_is_fair_next_to_large_whole_numbers():
    # In float32 x + u would be rounded to a multiple of 1/8: too often up.
    x = jnp.full(20_000, 2.0**20 + 0.125)
    up = jaxfn.stochastic_round(jax.random.key(1), x) - 2.0**20
    assert abs(float(up.mean()) - 0.125) < 4 * 0.33 / np.sqrt(20_000)


def test_stochastic_rounding_has_the_identity_s_gradient_and_keeps_nothing():
    key, x = jax.random.key(0), jnp.linspace(-2, 2, 9)
    fun = functools.partial(jaxfn.stochastic_round, key)
    chex.assert_trees_all_equal(pull(fun, x, x)[1], x)
    assert kept(fun, x) == []
    chex.assert_trees_all_equal(jax.jvp(fun, (x,), (x,)), (fun(x), x))
    chex.assert_trees_all_equal(fun(x), jax.jit(fun)(x))
    old = jax.random.PRNGKey(0)
    chex.assert_trees_all_equal(jaxfn.stochastic_round(old, x), fun(x))
    (rule,) = jaxfn.custom_rules(fun, x)
    assert (rule.kind, rule.name) == ("custom_jvp", "_stochastic_round")


@pytest.mark.parametrize(
    ("key", "x", "error", "message"),
    [
        (0, X, TypeError, "stochastic_round: expected key to be one key of jax.random, got int"),
        (X, X, TypeError, "one key of jax.random, got an array of dtype float32"),
        (jax.random.split(jax.random.key(0)), X, ValueError, r"got keys \[2\]"),
        (jax.random.key(0), jnp.arange(3), TypeError, "expected x of dtype .* got int32"),
    ],
)
def test_wrong_calls_of_stochastic_round(key, x, error, message):
    with pytest.raises(error, match=message):
        jaxfn.stochastic_round(key, x)
