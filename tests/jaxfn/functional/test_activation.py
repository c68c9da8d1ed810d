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
SHAPES = [(), (0,), (1,), (4,), (3, 0), (2, 3), (1, 4, 1), (2, 3, 4)]
NAN, INF = np.nan, np.inf


def eager(x, y_bar, grad_at_zero: float) -> tuple[jax.Array, jax.Array]:
    y, vjp = jax.vjp(lambda x: jaxfn.relu(x, grad_at_zero=grad_at_zero), x)
    return y, vjp(y_bar)[0]


jitted = jax.jit(eager, static_argnums=2)


def run(x, y_bar, grad_at_zero: float, jit: bool) -> tuple[np.ndarray, np.ndarray]:
    y, x_bar = (jitted if jit else eager)(x, y_bar, grad_at_zero)
    assert y.dtype == x_bar.dtype == x.dtype
    return np.asarray(y, np.float64), np.asarray(x_bar, np.float64)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("grad_at_zero", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("jit", [False, pytest.param(True, marks=pytest.mark.optimized)])
def test_special_values(dtype, grad_at_zero, jit):
    with jax.enable_x64(True):
        tiny = float(jnp.finfo(dtype).smallest_normal) / 4
        x = np.array([NAN, -NAN, INF, -INF, 0.0, -0.0, tiny, -tiny, 1.0, -1.0])
        y, x_bar = run(jnp.asarray(x, dtype), jnp.asarray([4.0] * 10, dtype), grad_at_zero, jit)
    np.testing.assert_array_equal(y, [NAN, NAN, INF, 0, 0, -0.0, tiny, 0, 1, 0])
    assert list(np.signbit(y[4:6])) == [False, True]
    at_zero = 4 * grad_at_zero
    np.testing.assert_array_equal(x_bar, [4, 4, 4, 0, at_zero, at_zero, 4, 0, 4, 0])


@pytest.mark.parametrize("grad_at_zero", [0.0, 0.25, 1.0])
def test_special_cotangents_stop_where_the_slope_is_zero(grad_at_zero):
    y_bar = jnp.array([NAN, INF, -INF, NAN, INF])
    _, x_bar = run(jnp.array([-1.0, -1.0, -INF, 2.0, 3.0]), y_bar, grad_at_zero, jit=True)
    np.testing.assert_array_equal(x_bar, [0, 0, 0, NAN, INF])


@settings(deadline=None, max_examples=30)
@given(
    x=st.sampled_from(SHAPES).flatmap(lambda shape: hnp.arrays(np.float32, shape)),
    grad_at_zero=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_any_shape_and_bits(x, grad_at_zero):
    y, x_bar = run(jnp.asarray(x), np.ones(x.shape, np.float32), grad_at_zero, jit=True)
    assert y.shape == x_bar.shape == x.shape
    wide = x.astype(np.float64)  # numpy's comparisons know subnormal numbers
    np.testing.assert_array_equal(y, np.where(wide < 0, 0, wide))
    slope = np.where(wide < 0, 0, np.where(wide == 0, grad_at_zero, 1))
    np.testing.assert_array_equal(x_bar, slope)


@settings(deadline=None, max_examples=20)
@given(  # JAX takes subnormal numbers for zeros
    x=hnp.arrays(np.float32, 5, elements=st.floats(-3, 3, width=32, allow_subnormal=False))
)
def test_the_default_convention_is_that_of_jax(x):
    ours, theirs = (jax.vjp(f, jnp.asarray(x)) for f in (jaxfn.relu, jax.nn.relu))
    np.testing.assert_array_equal(*(np.abs(y) for y, _ in (ours, theirs)))  # |-0| = |0|
    y_bar = jnp.arange(5.0)
    chex.assert_trees_all_equal(ours[1](y_bar), theirs[1](y_bar))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("grad_at_zero", [0.0, 0.25, 1.0])
def test_one_byte_per_element_is_kept(dtype, grad_at_zero):
    with jax.enable_x64(True):
        x = jnp.linspace(-1, 1, 24, dtype=dtype).reshape(4, 6)
        _, vjp = jax.vjp(lambda x: jaxfn.relu(x, grad_at_zero=grad_at_zero), x)
        (mask,) = jax.tree.leaves(vjp)
        assert (mask.shape, mask.dtype.itemsize) == ((4, 6), 1)


def test_in_a_scan_one_byte_per_element_and_step_is_kept():
    def layers(x):
        return jax.lax.scan(lambda h, _: (jaxfn.relu(h), None), x, length=7)[0]

    _, vjp = jax.vjp(layers, jnp.ones((4, 6)))
    assert sum(leaf.nbytes for leaf in jax.tree.leaves(vjp)) == 7 * 4 * 6


def test_the_rule_is_used():
    (rule,) = jaxfn.custom_rules(jaxfn.relu, jnp.ones(3))
    assert (rule.kind, rule.name) == ("custom_vjp", "_relu")


def test_forward_mode_needs_the_rules_removed():
    x = jnp.array([-1.0, 2.0])
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(jaxfn.relu, (x,), (x,))
    tangent = jax.jvp(jaxfn.autodiff(jaxfn.relu), (x,), (x,))[1]
    chex.assert_trees_all_equal(tangent, jnp.array([0.0, 2.0]))


@pytest.mark.parametrize(
    ("x", "kwargs", "error", "message"),
    [
        (jnp.arange(3), {}, TypeError, "relu: expected x of dtype float16, .*, got int32"),
        (jnp.array([True]), {}, TypeError, "got bool"),
        (jnp.array([1j]), {}, TypeError, "got complex64"),
        ([1.0], {}, TypeError, "relu: expected x to be an array, got list"),
        (3, {}, TypeError, "expected x to be an array, got int"),
        (jnp.ones(2), {"grad_at_zero": 1.5}, ValueError, r"grad_at_zero in \[0, 1\], got 1.5"),
        (jnp.ones(2), {"grad_at_zero": NAN}, ValueError, r"grad_at_zero in \[0, 1\], got nan"),
        (jnp.ones(2), {"grad_at_zero": "0"}, TypeError, "to be a Python number, got str"),
        (jnp.ones(2), {"grad_at_zero": True}, TypeError, "to be a Python number, got bool"),
        (jnp.ones(2), {"grad_at_zero": jnp.ones(())}, TypeError, "to be a Python number, got"),
    ],
)
def test_wrong_calls(x, kwargs, error, message):
    with pytest.raises(error, match=message):
        jaxfn.relu(x, **kwargs)


def test_a_traced_convention_is_refused():
    with pytest.raises(TypeError, match="relu: expected grad_at_zero to be a Python number, got"):
        jax.jit(lambda z: jaxfn.relu(jnp.ones(2), grad_at_zero=z))(0.5)
