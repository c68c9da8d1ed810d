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
X = jnp.array([1.0, -2.0])

# Each operation with what it makes of a cotangent.
OPERATIONS = {
    "reverse_gradient": (lambda x: jaxfn.reverse_gradient(x, 2.0), lambda g: -2 * g),
    "scale_gradient": (lambda x: jaxfn.scale_gradient(x, 0.5), lambda g: 0.5 * g),
    "clip_gradient": (lambda x: jaxfn.clip_gradient(x, -1, 2), lambda g: np.clip(g, -1, 2)),
    "clip_gradient_norm": (
        lambda x: jaxfn.clip_gradient_norm(x, 1.5),
        lambda g: g * min(1, 1.5 / max(np.linalg.norm(g.ravel()), 1e-30)),
    ),
}
each_operation = pytest.mark.parametrize(
    ("operation", "passed"), OPERATIONS.values(), ids=OPERATIONS
)


def pull(operation, x, y_bar):
    @jax.jit
    def both(x, y_bar):
        y, vjp = jax.vjp(operation, x)
        return y, vjp(y_bar)[0]

    return both(x, y_bar)


@each_operation
@pytest.mark.parametrize("dtype", FLOATS)
def test_the_value_is_the_input_and_the_gradient_as_told(operation, passed, dtype):
    with jax.enable_x64(True):
        x = jnp.asarray([NAN, INF, -INF, 0.0, -0.0, 1.0], dtype)
        y_bar = jnp.asarray([4.0, -3.0, 0.0, 1.0, -0.5, 0.25], dtype)
        y, x_bar = pull(operation, x, y_bar)
        chex.assert_trees_all_equal_dtypes(x, y, x_bar)
        np.testing.assert_array_equal(*(np.asarray(a, np.float64) for a in (y, x)))
        assert np.signbit(np.asarray(y, np.float64))[4]
        expected = passed(np.asarray(y_bar, np.float64))
        tolerance = float(jnp.finfo(dtype).eps)
        np.testing.assert_allclose(np.asarray(x_bar, np.float64), expected, rtol=tolerance)


@settings(deadline=None, max_examples=8)
@given(
    y_bar=hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
        elements=st.floats(-100, 100, width=32, allow_subnormal=False),
    ),
    name=st.sampled_from([*OPERATIONS]),
)
def test_any_shape(y_bar, name):
    operation, passed = OPERATIONS[name]
    y, x_bar = pull(operation, jnp.ones(y_bar.shape), jnp.asarray(y_bar))
    assert y.shape == x_bar.shape == y_bar.shape
    expected = passed(y_bar.astype(np.float64))
    np.testing.assert_allclose(x_bar, expected, rtol=1e-5, atol=1e-30)


@pytest.mark.parametrize("operation", [jaxfn.scale_gradient, jaxfn.reverse_gradient])
def test_a_traced_scale(operation):
    sign = 1 if operation is jaxfn.scale_gradient else -1

    @jax.jit
    def gradients(x, scale):
        return jax.grad(lambda x, scale: jnp.sum(operation(x, scale) ** 2), (0, 1))(x, scale)

    x_bar, scale_bar = gradients(X, 0.25)
    chex.assert_trees_all_equal(x_bar, sign * 0.5 * X)
    assert scale_bar == 0
    # On a schedule, within a scan.
    steps = lambda x: jax.lax.scan(lambda h, s: (operation(h, s), s), x, jnp.array([0.5, 3.0]))[0]  # noqa: E731
    chex.assert_trees_all_equal(jax.jit(jax.grad(lambda x: steps(x).sum()))(X), jnp.full(2, 1.5))
    x_bars = jax.vmap(jax.grad(lambda x, s: operation(x, s).sum()), (None, 0))(X, jnp.arange(3.0))
    chex.assert_trees_all_equal(x_bars, sign * jnp.repeat(jnp.arange(3.0)[:, None], 2, axis=1))
    assert jax.grad(operation)(1.0, jnp.array(3)) == sign * 3  # an integer, too


def test_tangents_are_scaled_too():
    assert jax.jvp(jaxfn.reverse_gradient, (X,), (X,))[1].tolist() == [-1, 2]
    # x² is x·x, and every derivative through y has its factor: (y²)'' = 2·s².
    assert jax.hessian(lambda x: jaxfn.scale_gradient(x, 3.0) ** 2)(5.0) == 18


def test_a_small_scale_is_not_lost_in_16_bits():
    y_bar = jnp.full(2, 2.0**15, "float16")
    _, x_bar = pull(lambda x: jaxfn.scale_gradient(x, 2.0**-30), X.astype("float16"), y_bar)
    assert x_bar.tolist() == [2.0**-15, 2.0**-15]


def test_nothing_of_the_input_is_kept():
    x = jnp.ones((4, 6))
    for operation, _ in OPERATIONS.values():
        kept = jax.tree.leaves(jax.vjp(operation, x)[1])
        assert all(leaf.shape == () for leaf in kept)


def test_clipping_at_special_cotangents():
    y_bar = jnp.array([NAN, INF, -INF, 0.0, -1.0, 2.0, 2.5])
    _, x_bar = pull(lambda x: jaxfn.clip_gradient(x, -1.0, 2.0), jnp.ones(7), y_bar)
    np.testing.assert_array_equal(x_bar, [NAN, 2, -1, 0, -1, 2, 2])


def test_traced_bounds_have_no_gradient():
    def loss(x, low, high, most):
        return jnp.sum(jaxfn.clip_gradient(jaxfn.clip_gradient_norm(x, most), low, high) ** 2)

    gradients = jax.jit(jax.grad(loss, (0, 1, 2, 3)))(X, -1.0, 0.5, 0.7)
    norm = np.hypot(0.5, 1.0)
    np.testing.assert_allclose(gradients[0], np.array([0.5, -1.0]) * 0.7 / norm, rtol=1e-6)
    assert gradients[1:] == (0, 0, 0)


@pytest.mark.parametrize(
    ("y_bar", "expected"),
    [
        ([0.0, 0.0], [0, 0]),
        ([0.3, 0.4], [0.3, 0.4]),  # within
        ([0.6, -0.8], [0.6, -0.8]),  # at the norm itself
        ([3.0, 4.0], [0.6, 0.8]),
        ([3e30, 4e30], [0.6, 0.8]),  # whose squares overflow
        ([3e-30, 0.0], [3e-30, 0.0]),
        ([INF, 1.0], [NAN, 0]),
        ([NAN, 1.0], [NAN, NAN]),
    ],
)
def test_the_norm(y_bar, expected):
    _, x_bar = pull(lambda x: jaxfn.clip_gradient_norm(x, 1.0), X, jnp.array(y_bar))
    np.testing.assert_allclose(x_bar, expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_the_norm_of_16_bits_is_taken_in_more(dtype):
    y_bar = jnp.full(1000, 1.0, dtype)
    _, x_bar = pull(lambda x: jaxfn.clip_gradient_norm(x, 1.0), jnp.ones_like(y_bar), y_bar)
    assert x_bar.dtype == dtype
    np.testing.assert_allclose(np.asarray(x_bar, float), 1000**-0.5, rtol=1e-2)


def test_a_most_of_zero_stops_the_gradient():
    for y_bar in ([0.0, 0.0], [3.0, 4.0]):
        _, x_bar = pull(lambda x: jaxfn.clip_gradient_norm(x, 0), X, jnp.array(y_bar))
        assert x_bar.tolist() == [0, 0]


def test_the_norm_of_a_tree_is_that_of_all_its_leaves():
    x = {"kernel": jnp.ones((2, 2), "bfloat16"), "more": [jnp.array(1.0), jnp.ones((0, 3))]}
    y_bar = {"kernel": jnp.full((2, 2), 6, "bfloat16"), "more": [jnp.array(-9.0), jnp.ones((0, 3))]}
    y, x_bar = pull(lambda x: jaxfn.clip_gradient_norm(x, 5.0), x, y_bar)
    chex.assert_trees_all_equal(y, x)
    chex.assert_trees_all_equal_shapes_and_dtypes(x, x_bar)
    factor = 5 / 15  # √(4·36 + 81) = 15
    np.testing.assert_allclose(np.asarray(x_bar["kernel"], float), 6 * factor)
    np.testing.assert_allclose(x_bar["more"][0], -9 * factor, rtol=1e-6)
    assert jaxfn.clip_gradient_norm({}, 1.0) == {}


def test_the_derivative_of_the_clipped_gradient():
    def gradient(g, most):
        return pull(lambda x: jaxfn.clip_gradient_norm(x, most), jnp.zeros_like(g), g)[1]

    def plain(g, most):
        return g * jnp.minimum(1, most / jnp.linalg.norm(g))

    with jax.enable_x64(True):
        g = jnp.array([3.0, -4.0])
        for most in (1.0, 10.0):
            actual, expected = (jax.jacrev(f)(g, most) for f in (gradient, plain))
            np.testing.assert_allclose(actual, expected, atol=1e-15)
        # At zero, where the norm has no derivative, the gradient passes.
        np.testing.assert_array_equal(jax.jacrev(gradient)(jnp.zeros(2), 1.0), np.eye(2))


def test_what_passes_through_the_result_in_second_order_is_clipped_again():
    # The gradient of x³/3 is y², not clipped where it is small; that of y², 2y, is clipped to 0.5.
    cubic = lambda x: jaxfn.clip_gradient(x, -0.5, 0.5) ** 3 / 3  # noqa: E731
    assert jax.grad(jax.grad(cubic))(0.4) == np.float32(0.5)
    assert jax.grad(jax.grad(cubic))(0.125) == 0.25


@pytest.mark.parametrize("name", ["clip_gradient", "clip_gradient_norm"])
def test_forward_mode_needs_the_rules_removed(name):
    operation, _ = OPERATIONS[name]
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(operation, (X,), (X,))
    chex.assert_trees_all_equal(jax.jvp(jaxfn.autodiff(operation), (X,), (X,))[1], X)


@each_operation
def test_the_rule_is_used(operation, passed):
    (rule, *_) = jaxfn.custom_rules(operation, X)
    assert rule.kind == ("custom_vjp" if "clip" in rule.name else "custom_jvp")
    assert jax.grad(lambda x: jaxfn.autodiff(operation, custom_jvp=True)(x).sum())(X)[0] == 1


def test_a_rule_that_is_not_reversed_fails():
    report = jaxfn.gradcheck(
        jaxfn.reverse_gradient, (X,), surrogate=lambda x: x, order=1, raise_exception=False
    )
    assert report.verdict == "fail"
    assert "sign" in report.diagnosis


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: jaxfn.reverse_gradient(jnp.arange(2)), TypeError, "reverse_gradient: expected x"),
        (lambda: jaxfn.reverse_gradient(X, X), TypeError, r"scale to be .*, got float32\[2\]"),
        (lambda: jaxfn.scale_gradient([1.0], 2), TypeError, "scale_gradient: expected x .* list"),
        (lambda: jaxfn.scale_gradient(X, "2"), TypeError, "scale to be a number .*, got str"),
        (lambda: jaxfn.scale_gradient(X, NAN), ValueError, "scale to be finite, got nan"),
        (lambda: jaxfn.clip_gradient(jnp.arange(2), 0, 1), TypeError, "clip_gradient: expected x"),
        (lambda: jaxfn.clip_gradient(X, 1, -1), ValueError, "low at most high, got low 1 and"),
        (lambda: jaxfn.clip_gradient(X, None, 1), TypeError, "low to be .*, got NoneType"),
        (
            lambda: jaxfn.clip_gradient_norm({"w": X, "n": jnp.arange(2)}, 1),
            TypeError,
            r"clip_gradient_norm: expected x\['n'\] of dtype .*, got int32",
        ),
        (lambda: jaxfn.clip_gradient_norm([X, None], 1), TypeError, r"x\[1\] to be .* NoneType"),
        (lambda: jaxfn.clip_gradient_norm(X, -1.0), ValueError, "max_norm to be at least 0"),
        (lambda: jaxfn.clip_gradient_norm(X, X), TypeError, r"max_norm to be .*, got float32\[2\]"),
    ],
)
def test_wrong_calls(call, error, message):
    with pytest.raises(error, match=message):
        call()
