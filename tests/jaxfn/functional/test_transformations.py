"""Every operation of the registry: against both oracles, in every dtype, in second order; and one
operation of each kind of rule under every transformation."""

from __future__ import annotations

import functools
import itertools

import chex
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from jax.typing import DTypeLike

import jaxfn
from scripts.cases import CASES, Case
from tests.jaxfn.functional.oracles import (
    assert_close,
    compiled,
    cotangent,
    exact,
    finite_differences,
    value_and_gradients,
)

pytestmark = pytest.mark.numbers

FLOAT32 = 5e-6


def each_of(cases):
    cases = [*cases]
    return pytest.mark.parametrize("case", cases, ids=[case.name for case in cases])


all_cases = each_of(CASES.values())
transformed_cases = each_of(case for case in CASES.values() if case.every_transformation)


def example(case: Case, dtype: DTypeLike = np.float32, seed: int = 0):
    """Arguments and a cotangent."""
    args = case.args(seed, dtype)
    return args, cotangent(jax.eval_shape(case.operation, *args), seed + 1)


@functools.cache
def expected(name: str) -> list[np.ndarray]:
    """(y, *gradients) of a case's reference at its example inputs."""
    return exact(CASES[name].reference, *example(CASES[name]))


@all_cases
def test_agrees_with_autodiff_of_the_reference_in_float64(case: Case):
    with jax.enable_x64(True):
        args, y_bar = example(case, np.float64)
        actual = compiled(case.operation)(y_bar, *args)
        chex.assert_type([*actual], np.float64)
        assert_close(actual, exact(case.reference, args, y_bar), 1e-14)


@each_of(c for c in CASES.values() if c.linear_in_cotangent and c.finite_differences)
def test_agrees_with_finite_differences_in_float64(case: Case):
    with jax.enable_x64(True):
        args, y_bar = example(case, np.float64)
        _, *gradients = compiled(case.operation)(y_bar, *args)
        differentiated = case.surrogate or case.operation
        assert_close(gradients, finite_differences(differentiated, args, y_bar), 1e-8)


# The other layers ask what the tests above and below, and those of shapes of each module, ask more
# closely; all of them are asked of each operation in the long run.
OWN_LAYERS = ("types", "primal", "linearity", "autodiff")
OF_EACH_KIND = ("linear", "relu", "round_ste", "clip_gradient_norm")


def checked(case: Case, **options):
    return jaxfn.gradcheck(
        case.operation, case.args(), reference=case.reference, **options, **case.declared
    )


@each_of(
    case for case in CASES.values() if case.every_transformation and case.name not in OF_EACH_KIND
)
def test_gradcheck(case: Case):
    report = checked(case, order=1, layers=OWN_LAYERS)
    assert [check.name for check in report.checks] == [*OWN_LAYERS]
    assert report.verdict == "pass"


@each_of(CASES[name] for name in OF_EACH_KIND)
def test_all_of_gradcheck_for_one_of_each_kind(case: Case):
    assert checked(case, order=2).verdict == "pass"


@pytest.mark.long
@pytest.mark.optimized
@all_cases
def test_all_of_gradcheck(case: Case):
    assert checked(case, order=2 if case.every_transformation else 1).verdict == "pass"


@all_cases
def test_each_dtype_comes_within_its_rounding_of_the_float64_reference(case: Case):
    examples = [example(case, dtype) for dtype in (jnp.float32, jnp.bfloat16, jnp.float16)]

    # One program; it rounds each intermediate result, as outside of `jit`.
    @functools.partial(jax.jit, compiler_options={"xla_allow_excess_precision": False})
    def run(examples):
        return [value_and_gradients(case.operation, args, y_bar) for args, y_bar in examples]

    for (args, y_bar), actual in zip(examples, run(examples), strict=True):
        for array, like in zip(actual, (y_bar, *args), strict=True):
            assert (array.shape, array.dtype) == (like.shape, like.dtype)
        tolerance = 2 * float(jnp.finfo(y_bar.dtype).eps)
        assert_close(actual, exact(case.reference, args, y_bar), tolerance, f"{y_bar.dtype}")


@all_cases
def test_reverse_over_reverse(case: Case):
    def loss(arrays):  # weighted: of equal weights a softmax has no gradient but its rounding
        return sum(jnp.vdot(jnp.sin(array), cotangent(array)) for array in arrays)

    def second_order(fun):
        gradients = jax.grad(lambda *args: loss([fun(*args)]), argnums)
        return jax.grad(lambda *args: loss(gradients(*args)), argnums)

    with jax.enable_x64(True):
        args = case.args(dtype=np.float64)
        argnums = tuple(range(len(args)))
        funs = (second_order(case.operation), second_order(case.reference))
        assert_close(*jax.jit(lambda *a: [fun(*a) for fun in funs])(*args), 1e-13)


@transformed_cases
@pytest.mark.parametrize("inner", [True, False], ids=["jit_inside", "jit_outside"])
def test_jit(case: Case, inner: bool):
    args, y_bar = example(case)
    if inner:
        actual = value_and_gradients(jax.jit(case.operation), args, y_bar)
    else:
        actual = compiled(case.operation)(y_bar, *args)
    assert_close(actual, expected(case.name), FLOAT32)


@transformed_cases
def test_vmap_over_each_set_of_arguments(case: Case):
    examples = [case.args(seed) for seed in range(3)]
    y_bars = np.stack([example(case, seed=seed)[1] for seed in range(3)])
    stacked = [np.stack(arrays) for arrays in zip(*examples, strict=True)]
    sets = [*itertools.product([True, False], repeat=len(stacked))]

    def choose(batched, stacked, single):
        return [s if b else a for b, s, a in zip(batched, stacked, single, strict=True)]

    def one(y_bar, *args):
        return value_and_gradients(case.operation, args, y_bar)

    @jax.jit  # one program: as many as there are sets would take three times as long to compile
    def run(y_bars, stacked, single):
        return [
            jax.vmap(one, (0, *(0 if b else None for b in batched)))(
                y_bars, *choose(batched, stacked, single)
            )
            for batched in sets
        ]

    for batched, actual in zip(sets, run(y_bars, stacked, examples[0]), strict=True):
        loop = [
            exact(case.reference, choose(batched, own, examples[0]), y_bar)
            for own, y_bar in zip(examples, y_bars, strict=True)
        ]
        assert_close(actual, [np.stack(x) for x in zip(*loop, strict=True)], FLOAT32, f"{batched}")


@transformed_cases
def test_scan(case: Case):
    examples = [case.args(seed) for seed in range(3)]
    args = [np.stack(arrays) for arrays in zip(*examples, strict=True)]

    def loss(*args):
        step = lambda total, a: (total + jnp.sum(jnp.sin(case.operation(*a))), None)  # noqa: E731
        return jax.lax.scan(step, 0.0, args)[0]

    def gradients(args):
        y = jax.eval_shape(case.operation, *args)
        y, *_ = exact(case.reference, args, cotangent(y))
        return exact(case.reference, args, np.cos(y))[1:]

    actual = jax.jit(jax.grad(loss, tuple(range(len(args)))))(*args)
    loop = [gradients(args) for args in examples]
    assert_close(actual, [np.stack(x) for x in zip(*loop, strict=True)], FLOAT32)


@transformed_cases
def test_checkpoint(case: Case):
    args, y_bar = example(case)
    policies = (None, jax.checkpoint_policies.dots_saveable)
    funs = [jax.checkpoint(case.operation, policy=policy) for policy in policies]
    actual = jax.jit(lambda *a: [value_and_gradients(fun, a, y_bar) for fun in funs])(*args)
    for results, policy in zip(actual, policies, strict=True):
        assert_close(results, expected(case.name), FLOAT32, f"{policy}")


@transformed_cases
def test_cond(case: Case):
    args, y_bar = example(case)

    def fun(taken, *args):
        return jax.lax.cond(taken, case.operation, lambda *a: 0 * case.operation(*a), *args)

    @jax.jit
    def run(taken, *args):
        return value_and_gradients(lambda *a: fun(taken, *a), args, y_bar)

    taken, other = run(True, *args), run(False, *args)
    assert_close(taken, expected(case.name), FLOAT32)
    chex.assert_trees_all_equal(other, tuple(np.zeros_like(array) for array in taken))


@transformed_cases
def test_export(case: Case):
    args, y_bar = example(case)
    exported = jax.export.export(compiled(case.operation), platforms=("cpu", "cuda", "tpu"))(
        y_bar, *args
    )
    assert_close(exported.call(y_bar, *args), expected(case.name), FLOAT32)


@each_of(c for c in CASES.values() if c.every_transformation and c.per_example)
def test_shard_map_with_its_default_checks(case: Case):
    args, y_bar = example(case)
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,))
    specs = tuple(P("data") if b else P() for b in case.batched)
    in_specs, argnums = (P("data"), *specs), tuple(range(1, len(args) + 1))

    def loss(y_bar, *args):
        return jax.lax.psum(jnp.vdot(case.operation(*args), y_bar), "data")

    sharded = jax.shard_map(loss, mesh=mesh, in_specs=in_specs, out_specs=P())
    gradients = {
        "grad inside": jax.shard_map(
            jax.grad(loss, argnums), mesh=mesh, in_specs=in_specs, out_specs=specs
        ),
        "grad outside": jax.grad(sharded, argnums),
    }
    run = jax.jit(lambda *a: {place: fun(*a) for place, fun in gradients.items()})
    for place, actual in run(y_bar, *args).items():
        assert_close(actual, expected(case.name)[1:], FLOAT32, place)


@transformed_cases
def test_batch_sharded_on_two_devices(case: Case):
    args, y_bar = example(case)
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,))

    def place(array, batched):
        return jax.device_put(array, NamedSharding(mesh, P("data") if batched else P()))

    placed = [place(a, b) for a, b in zip(args, case.batched, strict=True)]
    actual = compiled(case.operation)(place(y_bar, y_bar.ndim > 0), *placed)
    assert_close(actual, expected(case.name), FLOAT32)


@pytest.mark.parametrize("name", ["linear", "linear_no_bias", "relu", "relu_half_at_zero"])
@pytest.mark.parametrize("axis", ["batch", "features"])
def test_explicit_sharding(name: str, axis: str):
    case = CASES[name]
    shapes = {"linear": [(4, 6), (6, 8), (8,)]}.get(name.split("_")[0], [(4, 6)])
    layout = {"batch": [P("data"), P(), P()], "features": [P(), P(None, "data"), P("data")]}[axis]
    rng = np.random.RandomState(0)
    args = [jnp.asarray(rng.standard_normal(s), np.float32) for s in shapes[: len(case.shapes)]]
    y_bar = cotangent(jax.eval_shape(case.operation, *args))
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
    assert_close(actual, exact(case.reference, args, y_bar)[1:], FLOAT32)


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
    autodiff = jax.grad(lambda *a: twice(jaxfn.autodiff(operation), *a), (0, 1, 2))
    assert_close(actual, jax.jit(autodiff)(x, weight, bias), FLOAT32)
    only_bias = jax.grad(lambda b: (jitted(x, weight, b) * jitted(x, weight, 2 * bias)).sum())(bias)
    chex.assert_trees_all_equal(only_bias, jitted(x, weight, 2 * bias).sum((*range(x.ndim - 1),)))
