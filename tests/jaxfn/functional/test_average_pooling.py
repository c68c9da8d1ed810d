from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxfn
from tests.jaxfn.functional import by_numpy
from tests.jaxfn.functional.oracles import assert_close, cotangent, value_and_gradients
from tests.jaxfn.functional.test_pooling import count, pools

pytestmark = pytest.mark.numbers


@settings(deadline=None, max_examples=12)
@given(
    pool=pools(),
    shape=st.tuples(st.integers(1, 3), st.integers(3, 6), st.integers(3, 6), st.integers(1, 3)),
    ceil_mode=st.booleans(),
    counts_pads=st.booleans(),
)
def test_any_window_stride_and_padding(pool, shape, ceil_mode, counts_pads):
    window, stride, pads = pool
    x = jnp.asarray(np.random.RandomState(0).standard_normal(shape), "float32")
    options = {"padding": pads, "ceil_mode": ceil_mode, "count_include_pad": counts_pads}

    def ours(x):
        return jaxfn.avg_pool2d(x, window, stride=stride, **options)

    y_bar = cotangent(jax.eval_shape(ours, x))
    sizes = zip(shape[1:3], window, stride, pads, (1, 1), strict=True)
    assert [*y_bar.shape[1:3]] == [count(*of, ceil_mode) for of in sizes]
    actual = jax.jit(lambda x: value_and_gradients(ours, [x], y_bar))(x)
    expected = by_numpy.avg_pool2d(x, y_bar, window, stride, pads, counts_pads)
    assert_close(actual, expected, 1e-5)


# A CPU sums the first position by position, the second tile by tile, and the third as JAX does.
@pytest.mark.parametrize(
    ("window", "stride", "pads"),
    [
        ((3, 3), (1, 1), ((1, 1), (1, 1))),
        ((4, 3), (4, 3), ((0, 0), (0, 0))),
        ((8, 8), (8, 8), ((0, 0), (0, 0))),
    ],
)
def test_both_modes_and_nothing_of_x_is_kept(window, stride, pads):
    x = jnp.asarray(np.random.RandomState(0).standard_normal((5, 8, 8, 3)), "float32")

    def ours(x):
        return jaxfn.avg_pool2d(x, window, stride=stride, padding=pads)

    @jax.jit
    def of_all(x):
        y, vjp = jax.vjp(ours, x)
        return y, jax.jvp(ours, (x,), (x,))[1], vjp(y)[0], jax.linear_transpose(ours, x)(y)[0]

    y, tangent, gradient, transposed = of_all(x)
    np.testing.assert_array_equal(tangent, y)  # it is linear
    np.testing.assert_array_equal(gradient, transposed)
    expected = by_numpy.avg_pool2d(x, y, window, stride, pads, True)
    assert_close((y, gradient), expected, 1e-6)
    kept = jax.eval_shape(lambda x: jax.vjp(ours, x)[1], x)
    assert all(5 not in leaf.shape for leaf in jax.tree.leaves(kept))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_sixteen_bit_sums_are_taken_in_float32(dtype):
    x = jnp.ones((1, 64, 64, 1), dtype)  # whose sum would stall at 256 or 2048
    assert jaxfn.avg_pool2d(x, 64).item() == 1


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"window": 5}, ValueError, "avg_pool2d: expected a window no larger"),
        ({"padding": 2}, ValueError, r"avg_pool2d: expected padding less than the window \[2, 2\]"),
        ({"count_include_pad": 1}, TypeError, "expected count_include_pad to be a bool, got int"),
        ({"kernel_size": 2}, TypeError, "avg_pool2d: expected window, got kernel_size"),
    ],
)
def test_wrong_calls(kwargs, error, message):
    with pytest.raises(error, match=message):
        jaxfn.avg_pool2d(jnp.ones((1, 4, 4, 1)), **kwargs)
