from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jaxfn
from tests.jaxfn.functional.oracles import assert_close, compiled, cotangent, exact

pytestmark = pytest.mark.numbers

NAN, INF = np.nan, np.inf
_exact = functools.partial(jaxfn.gelu, approximate=False)
_plain_exact = functools.partial(jax.nn.gelu, approximate=False)

ACTIVATIONS = {
    "silu": (jaxfn.silu, jax.nn.silu),
    "gelu": (jaxfn.gelu, jax.nn.gelu),
    "gelu_exact": (_exact, _plain_exact),
}
GATED = {
    "swiglu": (jaxfn.swiglu, lambda gate, up: jax.nn.silu(gate) * up),
    "geglu": (jaxfn.geglu, lambda gate, up: jax.nn.gelu(gate) * up),
    "geglu_exact": (
        functools.partial(jaxfn.geglu, approximate=False),
        lambda gate, up: _plain_exact(gate) * up,
    ),
}
EVERY = ACTIVATIONS | GATED
each_activation = pytest.mark.parametrize(("fun", "plain"), ACTIVATIONS.values(), ids=ACTIVATIONS)
each_gated = pytest.mark.parametrize(("fun", "plain"), GATED.values(), ids=GATED)
each = pytest.mark.parametrize(("name", "fun", "plain"), [(k, *v) for k, v in EVERY.items()])


def inputs(name, shape, dtype="float32"):
    rng = np.random.RandomState(0)
    arrays = [rng.standard_normal(shape) for _ in range(2 if name in GATED else 1)]
    return [jnp.asarray(array, dtype) for array in arrays]


@each_activation
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_limits_at_large_and_special_numbers(fun, plain, dtype):
    with jax.enable_x64(True):
        largest = float(jnp.finfo(dtype).max)
        x = jnp.asarray([-INF, -largest, -1e4, 0.0, -0.0, 1e4, largest, INF, NAN], dtype)
        y, x_bar = (a.astype("float64") for a in compiled(fun)(jnp.ones_like(x), x))
        np.testing.assert_array_equal(y, [-0.0] * 3 + [0.0, -0.0, *x[5:].astype("float64")])
        assert np.signbit(y)[:5].tolist() == [True] * 3 + [False, True]
        np.testing.assert_array_equal(x_bar, [0, 0, 0, 0.5, 0.5, 1, 1, 1, NAN])
        curvature = jax.jit(jax.grad(lambda x: jnp.sum(jax.grad(lambda x: fun(x).sum())(x)[:-1])))(
            x
        )
        np.testing.assert_array_equal(curvature[np.array([0, 1, 2, 5, 6, 7])], np.zeros(6))


@each_activation
def test_an_infinite_gate_passes_what_its_limit_passes(fun, plain):
    gated = {jaxfn.silu: jaxfn.swiglu, jaxfn.gelu: jaxfn.geglu}.get(fun, jaxfn.geglu)
    gate, up = jnp.array([-INF, INF, -1e30, 1e30]), jnp.array([3.0, 2.0, 3.0, 2.0])
    y, gate_bar, up_bar = compiled(gated)(jnp.ones(4), gate, up)
    np.testing.assert_array_equal(y, [0, INF, 0, np.float32(2e30)])
    np.testing.assert_array_equal(gate_bar, [0, 2, 0, 2])
    np.testing.assert_array_equal(up_bar, [0, INF, 0, np.float32(1e30)])


@each
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_no_less_exact_than_the_plain_form(name, fun, plain, dtype):
    args = [6 * array for array in inputs(name, (4096,), dtype)]
    y_bar = cotangent(args[0])
    expected = exact(plain, args, y_bar)
    ours, theirs = (
        [
            np.max(np.abs(np.asarray(a, np.float64) - e))
            for a, e in zip(compiled(form)(y_bar, *args), expected, strict=True)
        ]
        for form in (fun, plain)
    )
    assert all(a <= 1.5 * b for a, b in zip(ours, theirs, strict=True)), (ours, theirs)


def test_gelu_keeps_its_digits_where_tanh_is_near_minus_1():
    x = jnp.linspace(-4.5, -3, 64)
    expected = exact(jax.nn.gelu, [x], jnp.ones_like(x))
    for found, e in zip(compiled(jaxfn.gelu)(jnp.ones_like(x), x), expected, strict=True):
        np.testing.assert_allclose(found, e, rtol=2e-5)


@pytest.mark.present_checkpoint
@each
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_the_inputs_alone_are_kept(name, fun, plain, dtype):
    args = inputs(name, (3, 4), dtype)
    kept = jax.tree.leaves(jax.vjp(fun, *args)[1])
    assert [(leaf.shape, leaf.dtype) for leaf in kept] == [((3, 4), dtype)] * len(args)


@each_gated
def test_an_input_that_needs_no_gradient_costs_nothing(fun, plain):
    gate, up = inputs("swiglu", (3, 4))
    for_up = jax.tree.leaves(jax.vjp(lambda up: fun(gate, up), up)[1])
    assert [leaf.shape for leaf in for_up] == [(3, 4)]
    assert_close(jax.vjp(lambda up: fun(gate, up), up)[1](up), [plain(gate, up)], 1e-6)
    for_gate = jax.vjp(lambda gate: fun(gate, up), gate)[1](up)
    assert_close(for_gate, exact(plain, [gate, up], up)[1:2], 1e-6)


@pytest.mark.present_checkpoint
@pytest.mark.parametrize(
    ("fun", "functions"),
    [
        (jaxfn.silu, {"logistic": 1}),
        (jaxfn.gelu, {"logistic": 1}),
        (_exact, {"erfc": 1, "exp": 1}),
        (jaxfn.swiglu, {"logistic": 1}),
        (jaxfn.geglu, {"logistic": 1}),
    ],
)
def test_a_derivative_takes_as_few_functions_as_can_be(fun, functions):
    args = inputs("swiglu" if fun in (jaxfn.swiglu, jaxfn.geglu) else "silu", (3,))
    vjp = jax.vjp(fun, *args)[1]
    backward = str(jax.make_jaxpr(vjp)(args[0]))
    every = ("logistic", "tanh", "exp", "erf", "erfc", "div", "pow")
    counts = {name: backward.count(f"= {name} ") for name in every}
    assert {name: count for name, count in counts.items() if count} == functions


@each
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 1, 3)])
def test_any_shape(name, fun, plain, shape):
    args = inputs(name, shape)
    y, *gradients = jax.eval_shape(compiled(fun), args[0], *args)
    assert {array.shape for array in (y, *gradients)} == {shape}


@each
def test_the_rule_is_used(name, fun, plain):
    (rule,) = jaxfn.custom_rules(fun, *inputs(name, (3,)))
    assert rule.kind == "custom_jvp"


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (
            lambda x: jaxfn.swiglu(x, x[0]),
            ValueError,
            r"swiglu: expected up \[2, 3\] to match gate, got up \[3\]",
        ),
        (
            lambda x: jaxfn.geglu(x, x.astype("bfloat16")),
            TypeError,
            "geglu: expected up of gate's dtype float32, got bfloat16",
        ),
        (lambda x: jaxfn.swiglu(None, x), TypeError, "expected gate to be an array, got NoneType"),
        (lambda x: jaxfn.silu(x.astype(int)), TypeError, "silu: expected x of dtype"),
        (lambda x: jaxfn.gelu(x, approximate=1), TypeError, "approximate to be a bool, got int"),
        (lambda x: jaxfn.geglu(x, x, approximate="tanh"), TypeError, "to be a bool, got str"),
    ],
)
def test_wrong_calls(call, kind, message):
    with pytest.raises(kind, match=message):
        call(jnp.ones((2, 3)))


def layers(norm, gate):
    """Value and gradients of layers h + gate(norm(h)·G, norm(h)·U)·D, a weight each for a step."""

    def step(h, weights):
        scale, g, u, d = weights
        x = norm(h, scale)
        return h + gate(x @ g, x @ u) @ d, None

    def loss(weights, h):
        return jnp.sum(jnp.square(lax.scan(step, h, weights)[0]))

    return jax.jit(jax.value_and_grad(loss, (0, 1)))


def plain_rms_norm(x, scale):
    return x * lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-6) * scale


def plain_layer_norm(x, scale):
    centred = x - jnp.mean(x, -1, keepdims=True)
    return centred * lax.rsqrt(jnp.var(x, -1, keepdims=True) + 1e-6) * scale


@pytest.mark.present_checkpoint
@pytest.mark.optimized
@pytest.mark.parametrize(
    ("ours", "plain"),
    [
        ((jaxfn.rms_norm, jaxfn.swiglu), (plain_rms_norm, GATED["swiglu"][1])),
        ((jaxfn.layer_norm, jaxfn.geglu), (plain_layer_norm, GATED["geglu"][1])),
    ],
    ids=["rms_norm and swiglu", "layer_norm and geglu"],
)
def test_layers_take_three_quarters_of_the_memory(ours, plain):
    tokens, width, hidden, depth = 128, 32, 88, 6
    rng = np.random.RandomState(0)
    shapes = ((depth, width), *[(depth, width, hidden)] * 2, (depth, hidden, width))
    weights = [jnp.asarray(rng.standard_normal(s) / math.sqrt(width), "float32") for s in shapes]
    h = jnp.asarray(rng.standard_normal((tokens, width)), "float32")
    programs = [layers(*parts).lower(weights, h).compile() for parts in (ours, plain)]
    held = [program.memory_analysis().temp_size_in_bytes for program in programs]
    assert held[0] <= 0.75 * held[1], held
    results = [jax.tree.leaves(program(weights, h)) for program in programs]
    assert_close(*results, 1e-5)
