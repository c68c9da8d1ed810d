from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp

import jaxfn

pytestmark = pytest.mark.numbers

FLOATS = ["float16", "bfloat16", "float32", "float64"]
NAN, INF = np.nan, np.inf


def run(operation, x, y_bar) -> tuple[np.ndarray, np.ndarray]:
    @jax.jit
    def both(x, y_bar):
        y, vjp = jax.vjp(operation, x)
        return y, vjp(y_bar)[0]

    y, x_bar = both(x, y_bar)
    chex.assert_trees_all_equal_dtypes(x, y, x_bar)
    return np.asarray(y, np.float64), np.asarray(x_bar, np.float64)


@pytest.mark.optimized
@pytest.mark.parametrize("dtype", FLOATS)
def test_special_values(dtype):
    with jax.enable_x64(True):
        tiny = float(jnp.finfo(dtype).smallest_normal) / 4
        values = [NAN, INF, -INF, 0, -0.0, tiny, -tiny, 1, -1, 1.5, -1.5, 0.25, -0.25]
        x, y_bar = jnp.asarray(values, dtype), jnp.full(13, 4, dtype)
        signs = [NAN, 1, -1, 1, 1, 1, -1, 1, -1, 1, -1, 1, -1]
        passes = [0, 0, 0, 4, 4, 4, 4, 4, 4, 0, 0, 4, 4]
        for operation in (jaxfn.sign_ste, jaxfn.approx_sign, jaxfn.swish_sign):
            y, x_bar = run(operation, x, y_bar)
            np.testing.assert_array_equal(y, signs)
            if operation is jaxfn.sign_ste:
                np.testing.assert_array_equal(x_bar, passes)
            else:  # smooth: no gradient at infinity, the peak at 0
                peak = 20 if operation is jaxfn.swish_sign else 8
                np.testing.assert_array_equal(x_bar[:7], [NAN, 0, 0, *4 * [peak]])
        y, x_bar = run(lambda x: jaxfn.ternary_ste(x, 0.25), x, y_bar)
        np.testing.assert_array_equal(y, [NAN, 1, -1, 0, 0, 0, 0, 1, -1, 1, -1, 0, 0])
        np.testing.assert_array_equal(x_bar, passes)


def test_cotangents_that_are_not_finite_stop_where_the_slope_is_zero():
    y_bar = jnp.array([NAN, INF, -INF, NAN])
    for operation in (jaxfn.sign_ste, jaxfn.ternary_ste):
        _, x_bar = run(operation, jnp.array([-2.0, 1.5, INF, 0.5]), y_bar)
        np.testing.assert_array_equal(x_bar, [0, 0, 0, NAN])


@settings(deadline=None, max_examples=8)
@given(x=hnp.arrays(np.float32, hnp.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=3)))
def test_any_shape_and_bits(x):
    y, x_bar = run(jaxfn.sign_ste, jnp.asarray(x), jnp.ones(x.shape))
    wide = x.astype(np.float64)  # numpy's comparisons know subnormal numbers
    np.testing.assert_array_equal(y, np.where(wide < 0, -1, np.where(wide >= 0, 1, NAN)))
    np.testing.assert_array_equal(x_bar, np.where(np.abs(wide) <= 1, 1, 0))


@pytest.mark.parametrize("clip_value", [0.0, 0.5, 2.0, INF])
def test_the_gradient_passes_up_to_the_clip_value(clip_value):
    x = jnp.array([-3.0, -2.0, -0.5, 0.0, 0.5, 0.75, 2.0, INF])
    _, x_bar = run(lambda x: jaxfn.sign_ste(x, clip_value), x, jnp.ones(8))
    np.testing.assert_array_equal(x_bar, np.abs(x) <= clip_value)


def larq_slope(name: str, x: np.ndarray) -> np.ndarray:
    """The gradients as `larq/quantizers.py` writes them."""
    if name == "ste_sign":
        return np.where(np.abs(x) <= 1, 1, 0)
    if name == "approx_sign":
        return np.where(np.abs(x) <= 1, (1 - np.abs(x)) * 2, 0)
    beta = 5.0
    return beta * (2 - beta * x * np.tanh(beta * x * 0.5)) / (1 + np.cosh(beta * x))


@pytest.mark.parametrize(
    ("operation", "name"),
    [
        (jaxfn.sign_ste, "ste_sign"),
        (jaxfn.approx_sign, "approx_sign"),
        (jaxfn.swish_sign, "swish_sign"),
    ],
)
def test_agrees_with_the_formulas_of_larq(operation, name):
    with jax.enable_x64(True):
        x = jnp.linspace(-3, 3, 61, dtype="float64")
        y, x_bar = run(operation, x, jnp.ones(61))
        np.testing.assert_array_equal(y, np.where(np.asarray(x) < 0, -1, 1))
        np.testing.assert_allclose(x_bar, larq_slope(name, np.asarray(x)), rtol=1e-12, atol=1e-13)


def test_the_slope_of_swish_sign_does_not_overflow():
    x = jnp.array([-1e30, -30.0, -2.0, 30.0, 1e30])
    _, x_bar = run(lambda x: jaxfn.swish_sign(x, 50.0), x, jnp.ones(5))
    np.testing.assert_allclose(x_bar, np.zeros(5), atol=1e-30)
    twice = jax.jit(jax.vmap(jax.grad(jax.grad(jaxfn.swish_sign))))
    second = twice(jnp.array([-INF, -1e30, 0.0, INF]))
    np.testing.assert_array_equal(second, np.zeros(4))


def test_the_threshold_of_ternary_weight_networks():
    x = np.random.RandomState(0).standard_normal((5, 8)).astype(np.float32)
    threshold = 0.7 * np.abs(x).mean()
    expected = np.where(x > threshold, 1, np.where(x < -threshold, -1, 0))
    y, x_bar = run(lambda x: jaxfn.ternary_ste(x, "mean"), jnp.asarray(x), jnp.ones((5, 8)))
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(x_bar, np.abs(x) <= 1)
    large = jnp.full((3, 5), 60000, "float16")  # whose sum is infinite in 16 bits
    assert jnp.all(jaxfn.ternary_ste(large, "mean") == 1)


def test_parameters_may_be_traced_and_have_no_gradient():
    def loss(x, a, b):
        steps = jaxfn.ternary_ste(x, a, b) + jaxfn.sign_ste(x, b) + jaxfn.swish_sign(x, 10 * b)
        return jnp.sum(steps)

    value, gradients = jax.jit(jax.value_and_grad(loss, (1, 2)))(jnp.array([-0.7, 0.3]), 0.5, 1.0)
    assert value == -1
    assert gradients == (0, 0)


@pytest.mark.present_checkpoint
@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
def test_what_is_kept(dtype):
    with jax.enable_x64(True):
        x = jnp.linspace(-2, 2, 24, dtype=dtype).reshape(4, 6)
        for operation in (jaxfn.sign_ste, jaxfn.ternary_ste):
            for fun in (operation, jax.jit(operation)):
                (mask,) = jax.tree.leaves(jax.vjp(fun, x)[1])
                assert (mask.shape, mask.dtype) == ((4, 6), bool)
        for operation in (jaxfn.approx_sign, jaxfn.swish_sign):
            (slope,) = jax.tree.leaves(jax.vjp(operation, x)[1])
            assert (slope.shape, slope.dtype) == ((4, 6), x.dtype)


@pytest.mark.present_checkpoint
def test_in_a_scan_one_byte_per_element_and_step_is_kept():
    def layers(x):
        return jax.lax.scan(lambda h, _: (jaxfn.sign_ste(h), None), x, length=7)[0]

    _, vjp = jax.vjp(layers, jnp.ones((4, 6)))
    assert sum(leaf.nbytes for leaf in jax.tree.leaves(vjp)) == 7 * 4 * 6


@pytest.mark.optimized
def test_the_mask_compiles_to_a_plain_selection():
    def gradient(x):
        return jax.grad(lambda x: jaxfn.sign_ste(x).sum())(x)

    compiled = jax.jit(gradient).lower(jnp.ones((4, 6))).compile().as_text()
    plain = jax.jit(lambda x: jnp.where(jnp.abs(x) <= 1, 1.0, 0.0)).lower(jnp.ones((4, 6)))
    count = lambda text: text.count(" = ")  # noqa: E731
    assert "opt-barrier" not in compiled
    assert count(compiled) == count(plain.compile().as_text())


@pytest.mark.parametrize(
    "operation", [jaxfn.sign_ste, jaxfn.approx_sign, jaxfn.swish_sign, jaxfn.ternary_ste]
)
def test_the_rule_is_used(operation):
    (rule, *_) = jaxfn.custom_rules(operation, jnp.ones(3))
    assert (rule.kind, rule.name) == ("custom_jvp", f"_{operation.__name__}")
    plain = jaxfn.autodiff(operation, custom_jvp=True)
    assert jax.grad(plain)(0.25) == 0


def test_a_wrong_rule_fails():
    report = jaxfn.gradcheck(
        jaxfn.sign_ste,
        (jnp.array([0.4, -0.7, 1.4]),),
        surrogate=lambda x: jnp.clip(x, -0.9, 0.9),
        order=1,
        raise_exception=False,
    )
    assert report.verdict == "fail"


X = jnp.ones(2)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: jaxfn.sign_ste(jnp.arange(2)), TypeError, "sign_ste: expected x of dtype .*int32"),
        (lambda: jaxfn.approx_sign([1.0]), TypeError, "approx_sign: expected x to be an array"),
        (lambda: jaxfn.swish_sign(jnp.array([True])), TypeError, "swish_sign: expected x .* bool"),
        (lambda: jaxfn.ternary_ste(3), TypeError, "ternary_ste: expected x to be an array"),
        (lambda: jaxfn.sign_ste(X, -1), ValueError, "clip_value to be at least 0, got -1"),
        (lambda: jaxfn.sign_ste(X, NAN), ValueError, "clip_value to be at least 0, got nan"),
        (lambda: jaxfn.sign_ste(X, None), TypeError, "clip_value to be a number .*, got NoneType"),
        (lambda: jaxfn.swish_sign(X, 0.0), ValueError, "beta to be positive and finite, got 0"),
        (lambda: jaxfn.swish_sign(X, X), TypeError, r"beta to be .*, got float32\[2\]"),
        (lambda: jaxfn.ternary_ste(X, -0.1), ValueError, "threshold to be at least 0, got -0.1"),
        (lambda: jaxfn.ternary_ste(X, "max"), ValueError, "a number or \"mean\", got 'max'"),
        (lambda: jaxfn.ternary_ste(X, 0.1, 1j), TypeError, "clip_value to be .*, got complex"),
    ],
)
def test_wrong_calls(call, error, message):
    with pytest.raises(error, match=message):
        call()
