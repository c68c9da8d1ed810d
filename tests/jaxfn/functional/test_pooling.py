from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import jaxfn
from tests.jaxfn.functional import by_numpy
from tests.jaxfn.functional.oracles import assert_close, compiled, cotangent, value_and_gradients

pytestmark = pytest.mark.numbers


@st.composite
def pools(draw):
    """Window, stride and padding (less than the window) for a small image."""
    window = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    pads = tuple(
        (draw(st.integers(0, size - 1)), draw(st.integers(0, size - 1))) for size in window
    )
    return window, stride, pads


def count(size, window, stride, pad, dilation, ceil_mode):
    """How many windows PyTorch has in one direction."""
    room = size + sum(pad) - dilation * (window - 1) - 1
    if not ceil_mode:
        return room // stride + 1
    windows = -(-room // stride) + 1
    return windows - ((windows - 1) * stride >= size + pad[0])


@settings(deadline=None, max_examples=16)
@given(
    operation=st.sampled_from([jaxfn.max_pool2d, jaxfn.relu_max_pool2d]),
    pool=pools(),
    shape=st.tuples(
        st.integers(1, 4), st.integers(3, 6), st.integers(3, 6), st.sampled_from([2, 17])
    ),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    ceil_mode=st.booleans(),
    seed=st.integers(0, 9),
)
def test_any_window_stride_and_padding_ties_included(
    operation, pool, shape, dilation, ceil_mode, seed
):
    window, stride, pads = pool
    sizes = [*zip(shape[1:3], window, stride, pads, dilation, strict=True)]
    assume(all(n + sum(pad) > d * (k - 1) for n, k, _, pad, d in sizes))
    # Three values on some thirty places: nearly every window holds a tie.
    x = jnp.asarray(np.random.RandomState(seed).randint(-1, 2, size=shape), "float32")
    steps = {"stride": stride, "padding": pads, "dilation": dilation, "ceil_mode": ceil_mode}
    relu = operation is jaxfn.relu_max_pool2d

    def ours(x):
        return operation(x, window, **steps)

    try:
        y_bar = cotangent(jax.eval_shape(ours, x))
    except ValueError as refusal:  # spread over more than the image, a window may see none of it
        assert dilation != (1, 1) and "holds an element of x" in str(refusal)  # noqa: PT017, PT018
        return
    assert [*y_bar.shape[1:3]] == [count(*of, ceil_mode) for of in sizes]

    def all_of(x):
        indexed = () if relu else jaxfn.max_pool2d(x, window, return_indices=True, **steps)
        return value_and_gradients(ours, [x], y_bar), indexed

    actual, indexed = jax.jit(all_of)(x)
    expected = by_numpy.max_pool2d(x, y_bar, window, stride, pads, relu=relu, dilation=dilation)
    assert_close(actual, expected[:2], 1e-6)
    if not relu:
        chex.assert_trees_all_equal(indexed[0], actual[0])
        np.testing.assert_array_equal(indexed[1], expected[2])


@pytest.mark.parametrize(("window", "channels"), [((2, 3), 2), ((9, 8), 2), ((6, 6), 17)])
def test_places_and_the_gradient_beside_them(window, channels):
    """By the rule, and of windows that are left to JAX, with a nan and with -inf alone."""
    x = np.random.RandomState(0).randint(-2, 3, (2, 12, 13, channels)).astype(np.float32)
    x[0, 5, 6, 0], x[1, :, :, 1] = np.nan, -np.inf

    def ours(x):
        options = {"stride": (2, 3), "padding": 1, "ceil_mode": True, "return_indices": True}
        return jaxfn.max_pool2d(x, window, **options)

    (y, vjp, places) = jax.vjp(ours, x, has_aux=True)
    (x_bar,) = vjp(y_bar := cotangent(y))
    assert places.dtype == jnp.int32
    pixels = x.reshape(2, -1, channels)
    taken = np.take_along_axis(pixels, np.asarray(places).reshape(2, -1, channels), axis=1)
    np.testing.assert_array_equal(taken.reshape(y.shape), y)
    expected = np.zeros_like(pixels)
    batch, channel = np.meshgrid(range(2), range(channels), indexing="ij")
    for row in range(y.shape[1] * y.shape[2]):
        of_row = np.asarray(places).reshape(2, -1, channels)[:, row]
        np.add.at(
            expected, (batch, of_row, channel), np.asarray(y_bar).reshape(2, -1, channels)[:, row]
        )
    np.testing.assert_allclose(x_bar, expected.reshape(x.shape), 1e-5, 1e-5)


def test_what_is_left_of_a_small_image_gets_a_window_as_in_pytorch():
    x = jnp.arange(4.0).reshape(1, 2, 2, 1)
    assert jaxfn.max_pool2d(x, 3, ceil_mode=True).item() == 3
    assert jaxfn.avg_pool2d(x, 3, stride=2, ceil_mode=True).item() == 1.5
    with pytest.raises(ValueError, match="no larger than the padded image"):
        jaxfn.max_pool2d(x, 3, stride=1, ceil_mode=True)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_ties_go_to_the_first_maximum_in_row_major_order(dtype):
    x = jnp.array([[0, 5, 1, 1], [5, 5, 1, 1]], dtype).reshape(1, 2, 4, 1)
    gradient = jax.jit(jax.grad(lambda x: jaxfn.max_pool2d(x).sum()))(x)
    expected = jnp.array([[0, 1, 1, 0], [0, 0, 0, 0]], dtype).reshape(x.shape)
    chex.assert_trees_all_equal(gradient, expected)


def test_same_padding():
    x = jnp.arange(35.0).reshape(1, 5, 7, 1)
    y = jaxfn.max_pool2d(x, 2, padding="SAME")
    np.testing.assert_array_equal(
        y[0, :, :, 0], [[8, 10, 12, 13], [22, 24, 26, 27], [29, 31, 33, 34]]
    )
    chex.assert_trees_all_equal(y, jaxfn.max_pool2d(x, (2, 2), stride=2, padding=((0, 1), (0, 1))))


def test_negative_images_are_not_raised_to_the_padding():
    x = -jnp.ones((1, 2, 2, 1))
    chex.assert_trees_all_equal(
        jaxfn.max_pool2d(x, 2, stride=1, padding=1), -jnp.ones((1, 3, 3, 1))
    )


@pytest.mark.parametrize("channels", [1, 20], ids=["batch last", "channels last"])
def test_a_nan_is_the_maximum_and_the_last_one_has_the_gradient(channels):
    window = jnp.array([[jnp.nan, 1, 5, 2], [jnp.nan, 7, jnp.inf, jnp.nan]])
    x = jnp.broadcast_to(window[None, :, :, None], (1, 2, 4, channels))
    for operation in (jaxfn.max_pool2d, jaxfn.relu_max_pool2d):
        y, vjp = jax.vjp(operation, x)
        assert jnp.isnan(y).all()
        expected = jnp.array([[0.0, 0, 0, 0], [1, 0, 0, 1]])
        (gradient,) = vjp(jnp.ones_like(y))
        np.testing.assert_array_equal(gradient[0, :, :, 0], expected)


def test_infinities():
    # A window of -inf alone: its gradient stays on the image, not on the padding before it.
    x = jnp.full((1, 2, 2, 1), -jnp.inf)
    y, vjp = jax.vjp(lambda x: jaxfn.max_pool2d(x, 2, stride=1, padding=1), x)
    assert (y == -jnp.inf).all()
    assert vjp(jnp.ones_like(y))[0].sum() == 9
    clipped, vjp = jax.vjp(jaxfn.relu_max_pool2d, x)
    assert (clipped.item(), vjp(jnp.ones_like(clipped))[0].sum()) == (0, 0)


@pytest.mark.parametrize("operation", [jaxfn.max_pool2d, jaxfn.relu_max_pool2d])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_kept_is_one_byte_per_pooled_element(operation, dtype):
    vjp = jax.jit(lambda x: jax.vjp(operation, x)[1])(jnp.ones((8, 30, 30, 6), dtype))
    assert sum(leaf.nbytes for leaf in jax.tree.leaves(vjp)) == 8 * 15 * 15 * 6


def test_relu_max_pool2d_is_max_pool2d_of_relu():
    x = jnp.asarray(np.random.RandomState(0).standard_normal((4, 9, 8, 3)), "float32")
    y_bar = cotangent(jax.eval_shape(jaxfn.max_pool2d, x))
    forms = (
        jaxfn.relu_max_pool2d,
        lambda x: jaxfn.max_pool2d(jaxfn.relu(x)),
        lambda x: jaxfn.relu(jaxfn.max_pool2d(x)),
    )
    fused, *others = jax.jit(lambda x: [value_and_gradients(f, [x], y_bar) for f in forms])(x)
    for apart in others:
        chex.assert_trees_all_equal(fused, apart)


@pytest.mark.parametrize("operation", [jaxfn.max_pool2d, jaxfn.relu_max_pool2d])
def test_a_window_of_many_positions(operation):
    x = jnp.asarray(np.random.RandomState(0).standard_normal((2, 12, 11, 2)), "float32")
    y_bar = np.ones((2, 4, 3, 2), np.float32)
    actual = compiled(lambda x: operation(x, 9, stride=1))(y_bar, x)
    relu = operation is jaxfn.relu_max_pool2d
    assert_close(actual, by_numpy.max_pool2d(x, y_bar, (9, 9), (1, 1), relu=relu)[:2], 1e-6)


@pytest.mark.parametrize("operation", [jaxfn.max_pool2d, jaxfn.relu_max_pool2d])
def test_a_window_of_many_positions_with_dilation(operation):
    """JAX has no gradient for it."""
    x = np.random.RandomState(0).randint(-9, 9, size=(2, 18, 19, 2)).astype(np.float32)
    y_bar = np.ones((2, 4, 5, 2), np.float32)
    steps = {"stride": 1, "padding": 1, "dilation": 2}
    actual = compiled(lambda x: operation(x, 9, **steps))(y_bar, x)
    relu, pads = operation is jaxfn.relu_max_pool2d, ((1, 1), (1, 1))
    expected = by_numpy.max_pool2d(x, y_bar, (9, 9), (1, 1), pads, relu=relu, dilation=(2, 2))
    assert_close(actual, expected[:2], 1e-6)


@pytest.mark.parametrize("window", [2, 9], ids=["by the rule", "many positions"])
def test_places_have_no_gradient_and_map_over_images(window):
    x = jnp.asarray(np.random.RandomState(0).standard_normal((3, 9, 10, 2)), "float32")

    def loss(x):
        y, places = jaxfn.max_pool2d(x[None], window, stride=1, return_indices=True)
        return jnp.sum(y**2 + places), places[0]

    def alone(x):
        return jnp.sum(jaxfn.max_pool2d(x, window, stride=1) ** 2)

    gradient, places = jax.jit(jax.vmap(jax.grad(loss, has_aux=True)))(x)
    chex.assert_trees_all_close(gradient, jax.jit(jax.grad(alone))(x), rtol=1e-6)
    chex.assert_trees_all_equal(
        places, jaxfn.max_pool2d(x, window, stride=1, return_indices=True)[1]
    )


def test_on_a_cpu_no_image_is_copied_to_be_padded():
    def gradient(x):
        return jax.grad(lambda x: jaxfn.max_pool2d(x, 3, stride=2, padding=1).sum())(x)

    x = jnp.ones((2, 9, 9, 17))
    assert "f32[2,11,11,17] = pad" in str(jax.make_jaxpr(gradient)(x))  # on other platforms
    assert (
        "2x11x11x17" not in jax.jit(gradient).trace(x).lower(lowering_platforms=("cpu",)).as_text()
    )


def test_an_empty_batch():
    y, gradient = value_and_gradients(
        jaxfn.max_pool2d, [jnp.zeros((0, 4, 4, 2))], jnp.zeros((0, 2, 2, 2))
    )
    assert (y.shape, gradient.shape) == ((0, 2, 2, 2), (0, 4, 4, 2))


@pytest.mark.parametrize(
    ("x", "kwargs", "error", "message"),
    [
        (jnp.ones((4, 4, 1)), {}, ValueError, r"max_pool2d: expected x \[N, H, W, C\], got x \[4"),
        (jnp.ones((1, 4, 4, 1), int), {}, TypeError, "expected x of dtype .*, got int32"),
        (None, {}, TypeError, "max_pool2d: expected x to be an array, got NoneType"),
        (jnp.ones((1, 4, 4, 1)), {"window": 0}, ValueError, "window .* at least 1, got 0"),
        (jnp.ones((1, 4, 4, 1)), {"window": 5}, ValueError, "no larger than the padded image"),
        (jnp.ones((1, 4, 4, 1)), {"stride": 0}, ValueError, "stride .* at least 1, got 0"),
        (jnp.ones((1, 4, 4, 1)), {"stride": "2"}, TypeError, "expected stride .* got '2'"),
        (jnp.ones((1, 4, 4, 1)), {"padding": 2}, ValueError, r"less than the window \[2, 2\]"),
        (jnp.ones((8, 1, 28, 28)), {}, ValueError, "looks like NCHW; images are NHWC: jnp.move"),
        (jnp.ones((1, 4, 4, 1)), {"strides": 2}, TypeError, "expected stride, got strides"),
        (jnp.ones((1, 4, 4, 1)), {"window_shape": 2}, TypeError, "window, got window_shape"),
        (jnp.ones((1, 4, 4, 1)), {"kernel_size": 2}, TypeError, "window, got kernel_size"),
        (jnp.ones((1, 4, 4, 1)), {"padding": "FULL"}, ValueError, "got 'FULL'"),
        (jnp.ones((1, 4, 4, 1)), {"dilation": 4}, ValueError, r"got window \[5, 5\]"),
        (
            jnp.ones((1, 4, 4, 1)),
            {"dilation": 7, "padding": 2},
            ValueError,
            r"less than the window \[8, 8\], so that each window holds an element of x, got 2",
        ),
        (jnp.ones((1, 4, 4, 1)), {"ceil_mode": 1}, TypeError, "ceil_mode to be a bool, got int"),
        (jnp.ones((1, 4, 4, 1)), {"return_indices": None}, TypeError, "bool, got NoneType"),
    ],
)
def test_wrong_calls(x, kwargs, error, message):
    with pytest.raises(error, match=message):
        jaxfn.max_pool2d(x, **kwargs)
