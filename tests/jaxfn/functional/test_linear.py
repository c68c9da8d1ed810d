from __future__ import annotations

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxfn
from scripts.cases.layers import linear_reference
from tests.jaxfn.functional import by_numpy
from tests.jaxfn.functional.oracles import assert_close, compiled, exact, value_and_gradients

pytestmark = pytest.mark.numbers

SUBSETS = [s for n in (1, 2, 3) for s in itertools.combinations(("x", "weight", "bias"), n)]
FLOATS = ["float16", "bfloat16", "float32", "float64"]


def normal(*shape: int, dtype="float32", seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.RandomState(seed).standard_normal(shape), dtype)


def pullback(wanted: tuple[str, ...]):
    """The pullback of `linear` by the inputs in `wanted`, the others held fixed."""
    given = {"x": normal(4, 3), "weight": normal(3, 5), "bias": normal(5)}
    fixed = {name: value for name, value in given.items() if name not in wanted}
    _, vjp = jax.vjp(
        lambda chosen: jaxfn.linear(**fixed, **chosen), {name: given[name] for name in wanted}
    )
    return vjp


@pytest.mark.parametrize("wanted", SUBSETS, ids="+".join)
def test_only_what_the_wanted_gradients_need_is_kept(wanted):
    kept = sorted(leaf.shape for leaf in jax.tree.leaves(pullback(wanted)) if leaf.size)
    # x is a factor of the weight's gradient, and the other way round; the bias needs neither.
    factors = {"x": (3, 5), "weight": (4, 3)}
    assert kept == sorted(factors[name] for name in wanted if name in factors)


@pytest.mark.parametrize("wanted", SUBSETS, ids="+".join)
def test_only_the_wanted_gradients_are_computed(wanted):
    jaxpr = jax.make_jaxpr(pullback(wanted))(normal(4, 5))
    names = [eqn.primitive.name for eqn in jaxpr.eqns]
    assert names.count("dot_general") == len({"x", "weight"} & set(wanted))
    assert names.count("reduce_sum") == ("bias" in wanted)


@pytest.mark.parametrize("wanted", SUBSETS, ids="+".join)
def test_the_gradient_of_a_jitted_loss_holds_no_product_for_a_fixed_input(wanted):
    fixed = {"x": normal(4, 3), "weight": normal(3, 5), "bias": normal(5)}

    @jax.jit
    def gradient(chosen, fixed):
        return jax.grad(lambda chosen: jnp.sum(jnp.sin(jaxfn.linear(**fixed, **chosen))))(chosen)

    chosen = {name: fixed.pop(name) for name in wanted}
    jaxpr = jax.make_jaxpr(gradient)(chosen, fixed)
    # One product forward, one for each of x and weight that needs a gradient.
    assert str(jaxpr).count("dot_general[") == 1 + len({"x", "weight"} & set(wanted))


def test_the_rule_is_used():
    (rule,) = jaxfn.custom_rules(jaxfn.linear, normal(4, 3), normal(3, 5))
    assert (rule.kind, rule.name) == ("custom_vjp", "_linear")


def test_without_bias_its_gradient_is_none():
    def loss(x, weight, bias):
        return jnp.sum(jaxfn.linear(x, weight, bias))

    assert jax.grad(loss, (0, 1, 2))(normal(4, 3), normal(3, 5), None)[2] is None


@settings(deadline=None, max_examples=20)
@given(
    batch=st.lists(st.integers(0, 3), max_size=3),
    sizes=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    use_bias=st.booleans(),
)
def test_any_leading_dimensions(batch, sizes, use_bias):
    n, m = sizes
    args = [normal(*batch, n), normal(n, m, seed=1)] + [normal(m, seed=2)] * use_bias
    y_bar = normal(*batch, m, seed=3)
    assert_close(compiled(jaxfn.linear)(y_bar, *args), by_numpy.linear(args, y_bar), 1e-5)


@pytest.mark.parametrize("shape", [(0, 3), (1, 3), (3,), (2, 0, 3), (2, 1, 4, 3)], ids=str)
@pytest.mark.parametrize("out", [0, 1, 5])
def test_empty_and_single(shape, out):
    args = (normal(*shape), normal(3, out), normal(out))
    y_bar = normal(*shape[:-1], out, seed=1)
    assert_close(compiled(jaxfn.linear)(y_bar, *args), by_numpy.linear(args, y_bar), 1e-6)


def test_no_input_features_gives_the_bias():
    y = jaxfn.linear(jnp.zeros((4, 0)), jnp.zeros((0, 2)), jnp.array([1.0, 2.0]))
    chex.assert_trees_all_equal(y, jnp.broadcast_to(jnp.array([1.0, 2.0]), (4, 2)))


@pytest.mark.parametrize("dtypes", list(itertools.product(FLOATS, repeat=3)), ids="-".join)
def test_mixed_dtypes(dtypes):
    with jax.enable_x64(True):
        args = [
            normal(*shape, dtype=dtype, seed=i)
            for i, (shape, dtype) in enumerate(zip([(4, 3), (3, 5), (5,)], dtypes, strict=True))
        ]
        dtype = jnp.result_type(*dtypes)
        y_bar = normal(4, 5, dtype=dtype, seed=3)
        y, *gradients = value_and_gradients(jaxfn.linear, args, y_bar)
        assert y.dtype == dtype
        for gradient, arg in zip(gradients, args, strict=True):
            assert (gradient.shape, gradient.dtype) == (arg.shape, arg.dtype)
        expected = exact(linear_reference, args, y_bar)
        for actual, e in zip((y, *gradients), expected, strict=True):
            # The result is rounded once, to its own dtype; a float32 sum adds its rounding.
            eps = float(max(jnp.finfo(actual.dtype).eps, jnp.finfo(dtype).eps / 4))
            assert_close([actual], [e], eps)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("jit", [False, pytest.param(True, marks=pytest.mark.optimized)])
def test_sixteen_bit_sums_accumulate_in_float32(dtype, jit):
    # A sum of 8192 halves in the dtype itself would stall at 128 (bfloat16) or 1024 (float16).
    def full(value, *shape):
        return jnp.asarray(np.full(shape, value), dtype)

    n, fun = 8192, jax.jit(jaxfn.linear) if jit else jaxfn.linear
    y, vjp = jax.vjp(fun, full(1, 2, n), full(0.5, n, 3), full(0, 3))
    assert np.all(np.asarray(y, np.float32) == n / 2)
    assert np.all(np.asarray(vjp(full(1, 2, 3))[0], np.float32) == 1.5)
    _, vjp = jax.vjp(fun, full(1, n, 2), full(1, 2, 3), full(0, 3))
    _, weight_bar, bias_bar = vjp(full(0.5, n, 3))
    assert np.all(np.asarray(weight_bar, np.float32) == n / 2)
    assert np.all(np.asarray(bias_bar, np.float32) == n / 2)


def test_the_bias_is_added_before_rounding():
    # 256 + 1 and 257 - 1/2 round to 256 in bfloat16; rounded after each sum this would be 256 too.
    x = jnp.array([[256.0, 1.0]], "bfloat16")
    y = jaxfn.linear(x, jnp.ones((2, 1), "bfloat16"), jnp.ones(1, "bfloat16"))
    assert y.item() == 258.0


@pytest.mark.parametrize("which", list(itertools.product([False, True], repeat=3)), ids=str)
def test_complex(which):
    def draw(shape, is_complex, seed):
        rng = np.random.RandomState(seed)
        real, imaginary = rng.standard_normal((2, *shape)).astype(np.float32)
        return jnp.asarray(real + 1j * imaginary if is_complex else real)

    shapes = [(4, 3), (3, 5), (5,)]
    args = [draw(s, c, i) for i, (s, c) in enumerate(zip(shapes, which, strict=True))]
    y_bar = draw((4, 5), any(which), 5)
    actual = compiled(jaxfn.linear)(y_bar, *args)
    chex.assert_trees_all_equal_dtypes(actual, (y_bar, *args))
    expected = by_numpy.linear(args, y_bar)
    for array, wide in zip(actual, expected, strict=True):
        np.testing.assert_allclose(array, wide, rtol=1e-5, atol=1e-6)


def test_an_output_that_the_loss_ignores_has_zero_gradients():
    def loss(w):
        y = jaxfn.linear(normal(4, 3), w, normal(5))
        return jnp.sum(w) + 0.0 * jnp.sum(jax.lax.stop_gradient(y))

    chex.assert_trees_all_equal(jax.grad(loss)(normal(3, 5)), jnp.ones((3, 5)))


def test_forward_mode_needs_the_rules_removed():
    args = (normal(4, 3), normal(3, 5), normal(5))
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(jaxfn.linear, args, args)
    tangent = jax.jvp(jaxfn.autodiff(jaxfn.linear), args, args)[1]
    assert_close([tangent], [jax.jvp(linear_reference, args, args)[1]], 1e-6)


@pytest.mark.parametrize(
    ("args", "error", "message"),
    [
        (
            (normal(2, 784), normal(512, 10)),
            ValueError,
            r"linear: expected weight \[784, out\] to match x \[..., 784\], got weight \[512, 10\]",
        ),
        (
            (normal(2, 784), normal(10, 784)),
            ValueError,
            r"got weight \[10, 784\], looks like PyTorch's \[out, in\]: weight\.T",
        ),
        ((jnp.float32(1), normal(3, 4)), ValueError, r"expected x \[..., in\], got x \[\]"),
        ((normal(2, 3), normal(3)), ValueError, r"expected weight \[3, out\], got weight \[3\]"),
        (
            (normal(2, 3), normal(3, 4), normal(1)),
            ValueError,
            r"expected bias \[4\] to match weight \[3, 4\], got bias \[1\]",
        ),
        ((normal(2, 3), normal(3, 4), normal(1, 4)), ValueError, r"got bias \[1, 4\]"),
        (
            (jnp.ones((2, 3), int), normal(3, 4)),
            TypeError,
            r"expected x of dtype float16, .* or complex128, got int32",
        ),
        ((normal(2, 3), jnp.ones((3, 4), bool)), TypeError, "expected weight of dtype .* got bool"),
        ((normal(2, 3), normal(3, 4), jnp.ones(4, int)), TypeError, "bias of dtype .* got int32"),
        (([[1.0]], normal(1, 4)), TypeError, "linear: expected x to be an array, got list"),
        ((normal(2, 3), None), TypeError, "expected weight to be an array, got NoneType"),
        ((normal(2, 3), normal(3, 4), "b"), TypeError, "expected bias to be an array, got str"),
    ],
)
def test_wrong_calls(args, error, message):
    with pytest.raises(error, match=message):
        jaxfn.linear(*args)
    arrays = [a for a in args if isinstance(a, jax.Array)]
    if len(arrays) == len(args):  # the same at trace time
        with pytest.raises(error, match=message):
            jax.jit(jaxfn.linear)(*args)


def test_numpy_arrays_are_arrays():
    y = jaxfn.linear(np.ones((2, 3), np.float32), np.ones((3, 4), np.float32))
    assert isinstance(y, jax.Array)
    chex.assert_trees_all_equal(y, jnp.full((2, 4), 3.0))
