"""Every operation of the registry: against both oracles, in every dtype, under every
transformation."""

from __future__ import annotations

import itertools

import chex
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import jaxfn
from scripts.cases import CASES, Case
from tests.jaxfn.functional.oracles import (
    assert_close,
    cotangent,
    finite_differences,
    value_and_gradients,
)

FLOAT32 = 5e-6

all_cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


@pytest.fixture(scope="module")
def expected() -> dict[str, tuple[jax.Array, ...]]:
    """(y, *gradients) of each case's reference at its example inputs, in float32."""
    return {
        case.name: value_and_gradients(
            case.reference, case.args(), cotangent(case.reference(*case.args()))
        )
        for case in CASES.values()
    }


@all_cases
def test_agrees_with_autodiff_of_the_reference_in_float64(case: Case):
    with jax.enable_x64(True):
        args = case.args(dtype=np.float64)
        y_bar = cotangent(case.reference(*args))
        actual = value_and_gradients(case.operation, args, y_bar)
        chex.assert_type([*actual], np.float64)
        assert_close(actual, value_and_gradients(case.reference, args, y_bar), 1e-14)


@all_cases
def test_agrees_with_finite_differences_in_float64(case: Case):
    with jax.enable_x64(True):
        args = case.args(dtype=np.float64)
        y_bar = cotangent(case.operation(*args))
        _, *gradients = value_and_gradients(case.operation, args, y_bar)
        assert_close(gradients, finite_differences(case.operation, args, y_bar), 1e-8)


@all_cases
def test_gradcheck(case: Case):
    assert jaxfn.gradcheck(case.operation, case.args(), reference=case.reference).verdict == "pass"


@all_cases
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_each_dtype_comes_within_its_rounding_of_the_float64_reference(case: Case, dtype):
    args = case.args(dtype=dtype)
    y_bar = cotangent(case.operation(*args))
    actual = value_and_gradients(case.operation, args, y_bar)
    for array, primal in zip(actual[1:], args, strict=True):
        assert (array.shape, array.dtype) == (primal.shape, primal.dtype)
    assert actual[0].dtype == dtype
    with jax.enable_x64(True):
        wide = [jnp.asarray(np.asarray(a, np.float64)) for a in (*args, y_bar)]
        exact = value_and_gradients(case.reference, wide[:-1], wide[-1])
        assert_close(actual, exact, 2 * float(jnp.finfo(dtype).eps))


@all_cases
def test_reverse_over_reverse(case: Case):
    def second_order(fun):
        def squared_gradients(*args):
            gradients = jax.grad(lambda *a: jnp.sum(jnp.sin(fun(*a))), argnums)(*args)
            return sum(jnp.sum(g**2) for g in gradients)

        return jax.grad(squared_gradients, argnums)

    with jax.enable_x64(True):
        args = case.args(dtype=np.float64)
        argnums = tuple(range(len(args)))
        assert_close(
            second_order(case.operation)(*args), second_order(case.reference)(*args), 1e-13
        )


@all_cases
@pytest.mark.parametrize("inner", [True, False], ids=["jit_inside", "jit_outside"])
def test_jit(case: Case, inner: bool, expected):
    args, y_bar = case.args(), cotangent(expected[case.name][0])
    if inner:
        actual = value_and_gradients(jax.jit(case.operation), args, y_bar)
    else:
        actual = jax.jit(lambda *a: value_and_gradients(case.operation, a, y_bar))(*args)
    assert_close(actual, expected[case.name], FLOAT32)


@all_cases
def test_vmap_over_each_set_of_arguments(case: Case):
    size = 3
    examples = [case.args(seed) for seed in range(size)]
    y_bars = jnp.stack([cotangent(case.reference(*examples[0]), seed) for seed in range(size)])
    count = len(examples[0])
    for batched in itertools.product([True, False], repeat=count):
        args = [
            jnp.stack([e[i] for e in examples]) if b else examples[0][i]
            for i, b in enumerate(batched)
        ]

        def one(y_bar, *args):
            return value_and_gradients(case.operation, args, y_bar)

        in_axes = (0, *(0 if b else None for b in batched))
        actual = jax.jit(jax.vmap(one, in_axes))(y_bars, *args)
        loop = [
            value_and_gradients(
                case.reference,
                [a[k] if b else a for a, b in zip(args, batched, strict=True)],
                y_bars[k],
            )
            for k in range(size)
        ]
        assert_close(actual, [jnp.stack(x) for x in zip(*loop, strict=True)], FLOAT32)


@all_cases
def test_scan(case: Case):
    examples = [case.args(seed) for seed in range(3)]
    args = [jnp.stack(x) for x in zip(*examples, strict=True)]

    def loss(fun, *args):
        step = lambda total, a: (total + jnp.sum(jnp.sin(fun(*a))), None)  # noqa: E731
        return jax.lax.scan(step, 0.0, args)[0]

    def loop(*args):
        return sum(jnp.sum(jnp.sin(case.reference(*(a[k] for a in args)))) for k in range(3))

    argnums = tuple(range(len(args)))
    actual = jax.grad(lambda *a: loss(case.operation, *a), argnums)(*args)
    assert_close(actual, jax.grad(loop, argnums)(*args), FLOAT32)


@all_cases
@pytest.mark.parametrize("policy", [None, jax.checkpoint_policies.dots_saveable])
def test_checkpoint(case: Case, policy, expected):
    args, y_bar = case.args(), cotangent(expected[case.name][0])
    fun = jax.checkpoint(case.operation, policy=policy)
    actual = jax.jit(lambda *a: value_and_gradients(fun, a, y_bar))(*args)
    assert_close(actual, expected[case.name], FLOAT32)


@all_cases
def test_cond(case: Case, expected):
    args, y_bar = case.args(), cotangent(expected[case.name][0])

    def fun(taken, *args):
        return jax.lax.cond(taken, case.operation, lambda *a: 0 * case.operation(*a), *args)

    def run(taken, *args):
        return value_and_gradients(lambda *a: fun(taken, *a), args, y_bar)

    run = jax.jit(run)
    assert_close(run(True, *args), expected[case.name], FLOAT32)
    chex.assert_trees_all_equal(run(False, *args), jax.tree.map(jnp.zeros_like, run(True, *args)))


@all_cases
def test_export(case: Case, expected):
    args, y_bar = case.args(), cotangent(expected[case.name][0])
    fun = jax.jit(lambda y_bar, *a: value_and_gradients(case.operation, a, y_bar))
    exported = jax.export.export(fun, platforms=("cpu", "cuda", "tpu"))(y_bar, *args)
    assert_close(exported.call(y_bar, *args), expected[case.name], FLOAT32)


@all_cases
@pytest.mark.parametrize("grad_inside", [True, False], ids=["grad_inside", "grad_outside"])
def test_shard_map_with_its_default_checks(case: Case, grad_inside: bool, expected):
    args, y_bar = case.args(), cotangent(expected[case.name][0])
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,))
    specs = tuple(P("data") if b else P() for b in case.batched)
    argnums = tuple(range(1, len(args) + 1))

    def loss(y_bar, *args):
        return jax.lax.psum(jnp.vdot(case.operation(*args), y_bar), "data")

    if grad_inside:
        gradients = jax.shard_map(
            jax.grad(loss, argnums), mesh=mesh, in_specs=(P("data"), *specs), out_specs=specs
        )
    else:
        sharded = jax.shard_map(loss, mesh=mesh, in_specs=(P("data"), *specs), out_specs=P())
        gradients = jax.grad(sharded, argnums)
    assert_close(jax.jit(gradients)(y_bar, *args), expected[case.name][1:], FLOAT32)


@all_cases
def test_batch_sharded_on_two_devices(case: Case, expected):
    args, y_bar = case.args(), cotangent(expected[case.name][0])
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,))

    def place(array, batched):
        return jax.device_put(array, NamedSharding(mesh, P("data") if batched else P()))

    placed = [place(a, b) for a, b in zip(args, case.batched, strict=True)]
    run = jax.jit(lambda y_bar, *a: value_and_gradients(case.operation, a, y_bar))
    assert_close(run(place(y_bar, True), *placed), expected[case.name], FLOAT32)


@pytest.mark.parametrize("name", ["linear", "linear_no_bias", "relu", "relu_half_at_zero"])
@pytest.mark.parametrize("axis", ["batch", "features"])
def test_explicit_sharding(name: str, axis: str):
    case = CASES[name]
    shapes = {"linear": [(4, 6), (6, 8), (8,)]}.get(name.split("_")[0], [(4, 6)])
    layout = {"batch": [P("data"), P(), P()], "features": [P(), P(None, "data"), P("data")]}[axis]
    rng = np.random.RandomState(0)
    args = [jnp.asarray(rng.standard_normal(s), np.float32) for s in shapes[: len(case.shapes)]]
    y_bar = cotangent(case.reference(*args))
    exact = value_and_gradients(case.reference, args, y_bar)
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Explicit,))
    with jax.set_mesh(mesh):
        placed = [jax.device_put(a, s) for a, s in zip(args, layout, strict=False)]

        @jax.jit
        def gradients(*args):
            def loss(*args):
                y = case.operation(*args)
                return jnp.sum(y * jax.reshard(y_bar, jax.typeof(y).sharding))

            return jax.grad(loss, tuple(range(len(args))))(*args)

        actual = gradients(*placed)
    for gradient, primal in zip(actual, placed, strict=True):
        assert gradient.sharding.is_equivalent_to(primal.sharding, primal.ndim)
    assert_close(actual, exact[1:], FLOAT32)


@pytest.mark.parametrize(
    ("operation", "args"),
    [
        (jaxfn.linear, (np.ones((2, 3)), np.ones((3, 4)), np.ones(4))),
        (jaxfn.conv2d, (np.ones((1, 4, 4, 1)), np.ones((2, 2, 1, 3)), np.ones(3))),
    ],
)
def test_one_jitted_operation_differentiated_for_different_inputs(operation, args):
    """JAX traces it once, and runs its forward rule for each set of inputs before any backward
    rule."""
    x, weight, bias = (jnp.asarray(a, "float32") for a in args)
    jitted = jax.jit(operation)

    def twice(operation, x, weight, bias):
        fixed = operation(jax.lax.stop_gradient(x), weight, bias)
        return (operation(x, weight, bias) * fixed + operation(x, 2 * weight, 1.0 * bias)).sum()

    actual = jax.grad(lambda *a: twice(jitted, *a), (0, 1, 2))(x, weight, bias)
    expected = jax.grad(lambda *a: twice(jaxfn.autodiff(operation), *a), (0, 1, 2))(x, weight, bias)
    assert_close(actual, expected, FLOAT32)
    only_bias = jax.grad(lambda b: (jitted(x, weight, b) * jitted(x, weight, 2 * bias)).sum())(bias)
    chex.assert_trees_all_equal(only_bias, jitted(x, weight, 2 * bias).sum((*range(x.ndim - 1),)))
