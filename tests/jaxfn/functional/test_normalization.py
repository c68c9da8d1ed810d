from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

import jaxfn
from tests.jaxfn.functional.oracles import (
    assert_close,
    compiled,
    cotangent,
    dtypes_of_sums,
    exact,
    value_and_gradients,
)

pytestmark = pytest.mark.numbers

NAN, INF = np.nan, np.inf


def plain_rms_norm(x, scale=None, epsilon=1e-6):
    y = x * lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + epsilon)
    return y if scale is None else y * scale


def plain_layer_norm(x, scale=None, bias=None, epsilon=1e-6):
    y = x - jnp.mean(x, -1, keepdims=True)
    y = y * lax.rsqrt(jnp.var(x, -1, keepdims=True) + epsilon)
    y = y if scale is None else y * scale
    return y if bias is None else y + bias


NORMS = {"rms_norm": (jaxfn.rms_norm, plain_rms_norm, 1)}
NORMS["layer_norm"] = (jaxfn.layer_norm, plain_layer_norm, 2)
each_norm = pytest.mark.parametrize(("norm", "plain", "parameters"), NORMS.values(), ids=NORMS)


def draw(*shapes, dtype="float32"):
    rng = np.random.RandomState(0)
    return [jnp.asarray(rng.standard_normal(shape), dtype) for shape in shapes]


def gradient(norm, x):
    return jax.grad(lambda x: jnp.vdot(norm(x), cotangent(x)))(x)


@pytest.mark.present_checkpoint
@each_norm
@pytest.mark.parametrize(("dtype", "size"), [("bfloat16", 2), ("float32", 4)])
def test_kept_are_x_in_its_own_dtype_the_scale_and_one_number_a_row(
    norm, plain, parameters, dtype, size
):
    (x,) = draw((4, 6), dtype=dtype)
    vectors = draw(*[(6,)] * parameters)
    kept = jax.tree.leaves(jax.vjp(norm, x, *vectors)[1])
    found = sorted((leaf.shape, leaf.dtype.name) for leaf in kept)
    assert found == sorted([((4, 6), dtype), ((6,), "float32"), ((4, 1), "float32")])
    assert sum(leaf.nbytes for leaf in kept) == 24 * size + 24 + 16


@pytest.mark.present_checkpoint
def test_a_gradient_that_is_not_needed_costs_nothing():
    x, scale, bias = draw((4, 6), (6,), (6,))
    of_scale = jax.tree.leaves(jax.vjp(lambda scale: jaxfn.rms_norm(x, scale), scale)[1])
    assert sorted(leaf.shape for leaf in of_scale) == [(4, 1), (4, 6)]
    of_x = str(jax.make_jaxpr(jax.grad(lambda x: jaxfn.layer_norm(x, scale, bias).sum()))(x))
    assert "f32[6] = reduce_sum" not in of_x
    assert not any(leaf.ndim for leaf in jax.tree.leaves(jax.vjp(lambda b: b + x, bias)[1]))


@each_norm
@pytest.mark.parametrize("dtypes", ["bfloat16 float32", "float32 bfloat16", "float16 float64"])
def test_the_result_has_the_dtype_that_jax_promotes_to(norm, plain, parameters, dtypes):
    with jax.enable_x64(True):
        of_x, of_vectors = dtypes.split()
        args = [*draw((3, 5), dtype=of_x), *draw(*[(5,)] * parameters, dtype=of_vectors)]
        y, *gradients = compiled(norm)(cotangent(jax.eval_shape(plain, *args)), *args)
        assert y.dtype == jnp.result_type(*args)
        assert [g.dtype for g in gradients] == [a.dtype for a in args]
        assert_close([y], exact(plain, args, np.ones((3, 5)))[:1], float(jnp.finfo(y.dtype).eps))


@each_norm
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_no_less_exact_than_the_plain_form(norm, plain, parameters, dtype):
    args = [3 + 5 * draw((32, 96))[0], *draw(*[(96,)] * parameters)]
    args = [a.astype(dtype) for a in args]
    y_bar = cotangent(args[0])
    expected = exact(plain, args, y_bar)
    errors = [
        [
            np.max(np.abs(np.asarray(a, np.float64) - e))
            for a, e in zip(compiled(form)(y_bar, *args), expected, strict=True)
        ]
        for form in (norm, plain)
    ]
    assert all(ours <= 1.5 * theirs for ours, theirs in zip(*errors, strict=True)), errors


@each_norm
def test_sums_are_taken_in_float32(norm, plain, parameters):
    args = draw((4, 6), *[(6,)] * parameters, dtype="bfloat16")
    found = dtypes_of_sums(lambda *a: value_and_gradients(norm, a, cotangent(args[0])), *args)
    assert {*found} == {"f32"}


@each_norm
def test_any_shape(norm, plain, parameters):
    shapes = [(3,), (2, 1), (0, 4), (2, 0), (2, 3, 4)]
    with jax.enable_x64(True):
        args = [draw(s, *[s[-1:]] * parameters, dtype="float64") for s in shapes]
        # With a small ε a row of one feature has a gradient of rounding alone.
        forms = [functools.partial(form, epsilon=0.1) for form in (norm, plain)]

        @jax.jit  # one program
        def both(args):
            return [[value_and_gradients(form, a, cotangent(a[0])) for form in forms] for a in args]

        for (actual, expected), given in zip(both(args), args, strict=True):
            assert [array.shape for array in actual[1:]] == [array.shape for array in given]
            assert_close(actual, expected, 1e-13)


def test_the_values_of_flax():
    x, scale, bias = draw((3, 8), (8,), (8,))
    layers = (nnx.RMSNorm(8, rngs=nnx.Rngs(0)), nnx.LayerNorm(8, rngs=nnx.Rngs(0)))
    for layer in layers:
        layer.scale[...] = scale
    layers[1].bias[...] = bias
    assert_close([jaxfn.rms_norm(x, scale)], [layers[0](x)], 1e-6)
    assert_close([jaxfn.layer_norm(x, scale, bias)], [layers[1](x)], 1e-6)
    large = jnp.array([[1e30, 1.0], [INF, 1.0], [NAN, 1.0]])
    plain = nnx.RMSNorm(2, rngs=nnx.Rngs(0))
    np.testing.assert_array_equal(jaxfn.rms_norm(large), plain(large))


def test_special_rows():
    x = jnp.array([[3.0, 4.0], [1e30, 1.0], [INF, 1.0], [NAN, 1.0], [0.0, 0.0]])
    y, x_bar = jaxfn.rms_norm(x), gradient(jaxfn.rms_norm, x)
    np.testing.assert_array_equal(y[1:], [[0, 0], [NAN, 0], [NAN, NAN], [0, 0]])
    np.testing.assert_array_equal(x_bar[1], [0, 0])
    assert np.isnan(x_bar[2:4]).all()
    # Of zeros r is 1/√ε.
    np.testing.assert_allclose(x_bar[4], 1000 * cotangent(x)[4], rtol=1e-6)
    y, x_bar = jaxfn.layer_norm(x), gradient(jaxfn.layer_norm, x)
    np.testing.assert_array_equal(y[1:], [[0, -0.0], [NAN, NAN], [NAN, NAN], [0, 0]])
    np.testing.assert_array_equal(x_bar[1], [0, 0])
    assert np.isnan(x_bar[2:4]).all()
    alone = gradient(jaxfn.layer_norm, x[:1])
    np.testing.assert_array_equal(x_bar[0], alone[0])


def test_large_and_small_numbers_keep_their_digits():
    (x,) = draw((1, 8))
    for size in (1e-15, 1e15, 1e18):
        for norm, epsilon in ((jaxfn.rms_norm, 1e-36), (jaxfn.layer_norm, 1e-36)):
            scaled = lambda x, n=norm, e=epsilon: n(x, epsilon=e)  # noqa: E731
            small, large = gradient(scaled, x), gradient(scaled, size * x)
            np.testing.assert_allclose(size * large, small, rtol=2e-4, atol=1e-5)


def test_a_constant_row_and_one_with_a_large_mean():
    rows = jnp.full((1, 6), 0.1)
    np.testing.assert_allclose(jaxfn.layer_norm(rows, bias=jnp.ones(6)), np.ones((1, 6)), atol=2e-5)
    y_bar = cotangent(rows)
    x_bar = gradient(jaxfn.layer_norm, rows)
    np.testing.assert_allclose(x_bar, 1000 * (y_bar - jnp.mean(y_bar)), rtol=1e-4, atol=1e-2)
    far = 1000 + draw((2, 64))[0]
    expected = exact(plain_layer_norm, [far], cotangent(far))
    assert_close(compiled(jaxfn.layer_norm)(cotangent(far), far), expected, 2e-4)


@each_norm
def test_the_rule_is_used(norm, plain, parameters):
    args = draw((2, 3), *[(3,)] * parameters)
    (rule,) = jaxfn.custom_rules(norm, *args)
    assert (rule.kind, rule.name) == ("custom_jvp", f"_{norm.__name__}")


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (
            lambda x: jaxfn.rms_norm(x, jnp.ones(5)),
            ValueError,
            r"rms_norm: expected scale \[6\] to match x \[..., 6\], got scale \[5\]",
        ),
        (
            lambda x: jaxfn.layer_norm(x, None, jnp.ones((1, 6))),
            ValueError,
            r"layer_norm: expected bias \[6\] to match x \[..., 6\], got bias \[1, 6\]",
        ),
        (lambda x: jaxfn.rms_norm(1.0), ValueError, r"expected x \[..., features\], got x \[\]"),
        (lambda x: jaxfn.rms_norm(x.astype(int)), TypeError, "expected x of dtype .* got int32"),
        (lambda x: jaxfn.layer_norm(x, [1] * 6), TypeError, "expected scale to be an array, got"),
        (lambda x: jaxfn.rms_norm(x, epsilon=0), ValueError, "expected epsilon to be positive"),
        (lambda x: jaxfn.layer_norm(x, epsilon=x), TypeError, "expected epsilon to be a Python"),
    ],
)
def test_wrong_calls(call, kind, message):
    with pytest.raises(kind, match=message):
        call(jnp.ones((2, 6)))
