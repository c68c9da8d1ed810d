from __future__ import annotations

import functools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

import jaxfn
from tests.jaxfn.functional.oracles import assert_close, dtypes_of_sums

pytestmark = pytest.mark.numbers

FLOATS = ["float16", "bfloat16", "float32", "float64"]
NAN, INF = np.nan, np.inf
eager_and_jit = pytest.mark.parametrize(
    "jit",
    [pytest.param(False, id="eager"), pytest.param(True, id="jit", marks=pytest.mark.optimized)],
)


def pull(x, step, y_bar=None, **options) -> tuple[jax.Array, jax.Array, jax.Array]:
    y, vjp = jax.vjp(lambda x, step: jaxfn.lsq(x, step, **options), x, step)
    x_bar, step_bar = vjp(jnp.ones_like(y) if y_bar is None else y_bar)
    assert (y.shape, y.dtype) == (x_bar.shape, x_bar.dtype) == (x.shape, x.dtype)
    assert (step_bar.shape, step_bar.dtype) == (step.shape, step.dtype)
    return y, x_bar, step_bar


def formula(v: np.ndarray, low: int, high: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Level, ∂x and ∂s of each v = x/s, by equations 1 to 3 and 5 of the paper."""
    clipped = np.clip(v, low, high)
    inside = (low < v) & (v < high)
    return np.rint(clipped), inside, np.where(inside, np.rint(clipped) - v, clipped)


def as_the_papers_appendix(x, step, low, high, grad_scale):
    """The paper's pseudocode: gradscale, clip, roundpass."""

    def pass_on(value, gradient_of):
        return lax.stop_gradient(value - gradient_of) + gradient_of

    step = pass_on(step, step * grad_scale)
    v = jnp.clip(x / step, low, high)
    return pass_on(jnp.round(v), v) * step


V = np.array([0, -0.0, 0.25, 0.5, 1.5, 2.5, -0.5, -1.5, 3, 3.25, 3.75, -4, -4.25, 100, INF, -INF])


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("signed", [True, False])
@eager_and_jit
def test_special_values(dtype, signed, jit):
    low, high, bits = (-4, 3, 3) if signed else (0, 3, 2)
    level, inside, d = formula(V, low, high)
    with jax.enable_x64(True):
        fun = functools.partial(pull, bits=bits, signed=signed, axis=0, grad_scale=1.0)
        x, steps = jnp.asarray(0.5 * V, dtype), jnp.full(len(V), 0.5, dtype)
        actual = (jax.jit(fun) if jit else fun)(x, steps)
    for array, expected in zip(actual, (0.5 * level, inside, d), strict=True):
        np.testing.assert_array_equal(np.asarray(array, np.float64), expected)


def test_nan():
    y, x_bar, step_bar = pull(jnp.array([NAN, 1.0]), jnp.float32(1.0), bits=4)
    np.testing.assert_array_equal(y, [NAN, 1])
    np.testing.assert_array_equal(x_bar, [0, 1])
    assert math.isnan(step_bar)


def test_special_cotangents_stop_where_the_slope_is_zero():
    y_bar = jnp.array([NAN, INF, -INF, NAN])
    x = jnp.array([-9.0, 9.0, 9.0, 0.0])
    _, x_bar, _ = pull(x, jnp.float32(1.0), y_bar, bits=3)
    chex.assert_trees_all_equal(x_bar, jnp.array([0, 0, 0, NAN]))


@settings(deadline=None, max_examples=12)
@given(
    shape=st.sampled_from([(1,), (0, 2), (3, 4), (2, 1, 3)]),
    bits=st.integers(1, 8),
    signed=st.booleans(),
    axis=st.sampled_from([None, 0, -1]),
    grad_scale=st.sampled_from([None, 0.5]),
    seed=st.integers(0, 99),
)
def test_any_shape_and_bits(shape, bits, signed, axis, grad_scale, seed):
    bits = bits + 1 if signed else bits
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    rng = np.random.RandomState(seed)
    x, y_bar = rng.standard_normal((2, *shape))
    step = rng.uniform(0.5, 2, () if axis is None else shape[axis]) / high
    options = {"bits": bits, "signed": signed, "axis": axis, "grad_scale": grad_scale}
    with jax.enable_x64(True):
        actual = jax.jit(functools.partial(pull, **options))(x, step, y_bar)
    others = tuple(i for i in range(x.ndim) if axis is None or i != axis % x.ndim)
    spread = np.expand_dims(step, others) if axis is not None else step
    level, inside, d = formula(x / spread, low, high)
    if grad_scale is None:
        grad_scale = 1 / math.sqrt(max(x.size // max(step.size, 1), 1) * high)
    expected = (level * spread, inside * y_bar, grad_scale * np.sum(y_bar * d, others))
    assert_close(actual, expected, 1e-14)


def test_the_papers_pseudocode_has_the_same_gradients_and_second_derivatives():
    with jax.enable_x64(True):
        rng = np.random.RandomState(0)
        x = jnp.asarray(rng.standard_normal((5, 3)))
        step = jnp.array([0.25, 0.5, 1.0])
        grad_scale = 1 / math.sqrt(5 * 1)

        def ours(x, step):
            return jnp.sum(jnp.sin(jaxfn.lsq(x, step, bits=2, axis=1)))

        def theirs(x, step):
            return jnp.sum(jnp.sin(as_the_papers_appendix(x, step, -2, 1, grad_scale)))

        gradients = [jax.jit(jax.grad(f, (0, 1)))(x, step) for f in (ours, theirs)]
        assert_close(*gradients, 1e-14)
        # By forward over reverse and by reverse over reverse.
        for hessian in (jax.hessian, lambda f, i: jax.jacrev(jax.jacrev(f, i), i)):
            both = [hessian(f, (0, 1)) for f in (ours, theirs)]
            second = jax.jit(lambda *a, both=both: [jax.tree.leaves(f(*a)) for f in both])(x, step)
            assert_close(*second, 1e-13)


def test_forward_mode_is_the_transpose_of_reverse_mode():
    x, step = jnp.linspace(-2, 2, 7), jnp.float32(0.4)
    x_dot, step_dot, y_bar = jnp.cos(3 * x), jnp.float32(0.7), jnp.sin(5 * x)
    fun = functools.partial(jaxfn.lsq, bits=3)
    y, y_dot = jax.jvp(fun, (x, step), (x_dot, step_dot))
    chex.assert_trees_all_equal(y, fun(x, step))
    _, x_bar, step_bar = pull(x, step, y_bar, bits=3)
    np.testing.assert_allclose(
        jnp.vdot(y_dot, y_bar), jnp.vdot(x_dot, x_bar) + step_dot * step_bar, rtol=1e-6
    )


@pytest.mark.present_checkpoint
@pytest.mark.parametrize("dtype", FLOATS)
def test_what_is_kept_depends_on_what_is_differentiated(dtype):
    with jax.enable_x64(True):
        x, step = jnp.ones((4, 6), dtype), jnp.asarray(0.5, dtype)

        def kept(fun, *args):
            residuals = jax.tree.leaves(jax.vjp(fun, *args)[1])
            return sorted((leaf.shape, leaf.dtype.name) for leaf in residuals)

        assert kept(lambda x: jaxfn.lsq(x, step), x) == [((4, 6), "bool")]
        inputs = [((), dtype), ((4, 6), dtype)]
        assert kept(jaxfn.lsq, x, step) == inputs
        assert kept(jax.jit(jaxfn.lsq), x, step) == inputs
        assert kept(lambda step: jaxfn.lsq(x, step), step) == inputs


def test_one_jitted_operation_differentiated_for_different_inputs():
    x, step = jnp.linspace(-2, 2, 7), jnp.float32(0.4)
    jitted = jax.jit(jaxfn.lsq)

    def twice(fun, x, step):
        return jnp.sum(fun(lax.stop_gradient(x), step) * fun(x, step) * fun(x, 0.5))

    actual, expected = (
        jax.grad(functools.partial(twice, fun), (0, 1))(x, step) for fun in (jitted, jaxfn.lsq)
    )
    assert_close(actual, expected, 1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("axis", [None, 1])
def test_sixteen_bit_sums_accumulate_in_float32(dtype, axis):
    # Each element adds 1/4; in the dtype itself the sum would stall at 64 or 512.
    x = jnp.full((8192, 2), 0.75, dtype)
    step = jnp.ones(2 if axis else (), dtype)
    step_bar = pull(x, step, bits=2, grad_scale=1.0, axis=axis)[2]
    assert np.all(np.asarray(step_bar, np.float32) == 2048 * (1 if axis else 2))
    _, vjp = jax.vjp(functools.partial(jaxfn.lsq, bits=2, axis=axis), x, step)
    assert {*dtypes_of_sums(vjp, x)} == {"f32"}


def test_a_step_size_of_another_dtype_than_x():
    x, step = jnp.linspace(-1, 1, 8, dtype="bfloat16"), jnp.float32(0.3)
    y, _, step_bar = pull(x, step, bits=3)
    wide = pull(x.astype("float32"), step, bits=3)
    chex.assert_trees_all_equal(y, wide[0].astype("bfloat16"))
    np.testing.assert_allclose(step_bar, wide[2], rtol=1e-6)


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_initial_step_size(dtype):
    with jax.enable_x64(True):
        x = jnp.asarray([[1.0, -2.0, 0.0], [3.0, 2.0, 1.0]], dtype)
        step = jaxfn.lsq_init(x, bits=3)
        assert (step.shape, step.dtype) == ((), x.dtype)
        np.testing.assert_allclose(float(step), 2 * 1.5 / math.sqrt(3), rtol=jnp.finfo(dtype).eps)
        steps = jaxfn.lsq_init(x, bits=2, signed=False, axis=-1)
        expected = 2 * np.array([2, 2, 0.5]) / math.sqrt(3)
        np.testing.assert_allclose(
            np.asarray(steps, np.float64), expected, rtol=float(jnp.finfo(dtype).eps)
        )
        assert jaxfn.lsq_init(jnp.full(8192, 0.5, dtype), bits=2) == 1.0
        assert not np.any(jax.grad(lambda x: jaxfn.lsq_init(x))(x))


def test_the_rule_is_used():
    (rule,) = jaxfn.custom_rules(jaxfn.lsq, jnp.ones(3), jnp.float32(1))
    assert (rule.kind, rule.name) == ("custom_jvp", "_lsq")


def rule(mask, factor):
    """lsq of two bits, with this mask of ẋ and this factor of ṡ."""

    @jax.custom_jvp
    def two_bits(x, step):
        return jnp.round(jnp.clip(x / step, -2, 1)) * step

    @two_bits.defjvp
    def _(primals, tangents):
        v = primals[0] / primals[1]
        x_dot = jnp.where(mask(v), tangents[0], jnp.zeros_like(tangents[0]))
        return two_bits(*primals), x_dot + factor(v) * tangents[1]

    return two_bits


def inside(v):
    return (v > -2) & (v < 1)


def factor(v):
    return jnp.where(inside(v), jnp.round(v) - v, jnp.clip(v, -2, 1))


def integral(x, step):
    """No function of x and s has both gradients; of s alone this one has lsq's."""
    v = x / step
    within = jnp.round(v) * step - x * jnp.log(jnp.abs(step))
    return jnp.where(inside(v), within, jnp.clip(v, -2, 1) * step)


@pytest.mark.parametrize(
    ("fun", "of_x", "of_step"),
    [
        (functools.partial(jaxfn.lsq, bits=2, grad_scale=1.0), "pass", "pass"),
        (rule(inside, factor), "pass", "pass"),
        (rule(lambda v: (v > -2.5) & (v < 1.5), factor), "fail", "pass"),  # fake_quantize's mask
        (rule(inside, lambda v: jnp.round(jnp.clip(v, -2, 1))), "pass", "fail"),  # autodiff's
    ],
    ids=["ours", "right", "wrong_mask", "wrong_factor"],
)
def test_gradcheck_tells_right_rules_from_wrong_ones(fun, of_x, of_step):
    x, step = jnp.linspace(-2.9, 1.9, 9), jnp.float32(0.9)

    def checked(of_one, arg, surrogate):
        options = dict(layers=("linearity", "autodiff"), raise_exception=False)
        return jaxfn.gradcheck(of_one, (arg,), surrogate=surrogate, **options).verdict

    kept = lambda x: jnp.where(inside(x / step), x, 0 * x)  # noqa: E731
    assert checked(lambda x: fun(x, step), x, kept) == of_x
    assert checked(lambda step: fun(x, step), step, lambda step: integral(x, step)) == of_step


X = jnp.ones((2, 3))


@pytest.mark.parametrize(
    ("args", "kwargs", "error", "message"),
    [
        ((jnp.arange(3), 1.0), {}, TypeError, "lsq: expected x of dtype .* got int32"),
        ((X, None), {}, TypeError, "lsq: expected step_size to be an array, got NoneType"),
        ((X, X[0]), {}, ValueError, r"step_size \[\] for all of x \(axis=None\), got step_size"),
        ((X, X), {"axis": 1}, ValueError, r"step_size \[3\] to match axis 1 of x \[2, 3\], got"),
        ((X, 1.0), {"axis": -3}, ValueError, r"axis to be one of x \[2, 3\], got axis -3"),
        ((X, 1.0), {"bits": 1}, ValueError, "lsq: expected bits from 2 to 16, got 1"),
        ((X, 1.0), {"bits": 0, "signed": False}, ValueError, "expected bits from 1 to 16, got 0"),
        ((X, 1.0), {"bits": 2.0}, TypeError, "lsq: expected bits to be an int, got float"),
        ((X, 1.0), {"signed": 1}, TypeError, "lsq: expected signed to be a bool, got int"),
        ((X, 1.0), {"grad_scale": 0.0}, ValueError, "grad_scale to be positive and finite, got 0"),
        ((X, 1.0), {"grad_scale": X}, TypeError, "grad_scale to be a Python number, got ArrayImpl"),
    ],
)
def test_wrong_calls(args, kwargs, error, message):
    with pytest.raises(error, match=message):
        jaxfn.lsq(*args, **kwargs)


@pytest.mark.parametrize(
    ("x", "kwargs", "error", "message"),
    [
        (jnp.arange(3), {}, TypeError, "lsq_init: expected x of dtype .* got int32"),
        (X[:0], {}, ValueError, r"lsq_init: expected x to have elements, got x \[0, 3\]"),
        (X, {"bits": 17}, ValueError, "lsq_init: expected bits from 2 to 16, got 17"),
        (
            X,
            {"axis": 5},
            ValueError,
            r"lsq_init: expected axis to be one of x \[2, 3\], got axis 5",
        ),
    ],
)
def test_wrong_calls_of_the_initial_step_size(x, kwargs, error, message):
    with pytest.raises(error, match=message):
        jaxfn.lsq_init(x, **kwargs)
