"""Every operation on meshes: the numbers of one device, gradients sharded as their primals, and
nothing moved between devices that the reference does not move."""

from __future__ import annotations

import collections
import math
import os
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import jaxfn
from scripts.cases import CASES, Case
from tests.jaxfn.functional.oracles import assert_close, compiled, cotangent, exact

COLLECTIVE = re.compile(
    r"= (.*?) (all-reduce|all-gather|all-to-all|reduce-scatter|collective-\w+)(?:-start)?\("
)
SIZES = [size for size in (2, 4, 8) if size <= jax.device_count()]
SIZE = 8  # of each dimension that is divided
MODES = (AxisType.Explicit, AxisType.Auto)
ONE, ROWS, LOGITS = (collections.Counter({"all-reduce": n}) for n in (1, SIZE, SIZE**2))
BESIDES = {
    # The norm's largest element, before the sum, so that no square overflows.
    ("clip_gradient_norm", "batch"): ONE,
    ("clip_gradient_norm", "channels"): ONE,
    ("clip_gradient_norm", "both"): ONE + ONE,
    # Which of equal maxima is the first, in each row; the reference takes all.
    ("gumbel_softmax_hard", "channels"): ROWS,
    ("gumbel_softmax_hard", "both"): ROWS,
    ("onehot_straight_through", "channels"): ROWS,
    ("onehot_straight_through", "both"): ROWS,
    # Of logits that are sums over the devices: they are made a second time.
    ("linear_cross_entropy_none", "input"): LOGITS,
    ("linear_cross_entropy_none", "both by input"): LOGITS,
}
LAYERS = ("linear", "conv2d", "max_pool2d", "relu_max_pool2d")
NORMS = ("rms_norm", "layer_norm")
GROUPED = ("conv2d_grouped", "conv2d_depthwise")  # their channels stay as they are
each_mode = pytest.mark.parametrize("mode", MODES, ids=str)
each_size = pytest.mark.parametrize("devices", SIZES)


def moved(program: str) -> collections.Counter:
    """How many numbers each kind of collective of a compiled program takes part in moving."""
    sizes = collections.Counter()
    for types, kind in COLLECTIVE.findall(program):
        for shape in re.findall(r"\w\d+\[([\d,]*)\]", types):
            sizes[kind] += math.prod(int(size) for size in shape.split(",") if size)
    return sizes


def placements(case: Case) -> dict[str, list[P]]:
    """Along which dimension each argument is divided."""
    ranks = [len(shape) for shape in case.shapes]
    found = {"batch": [P("data") if b else P() for b in case.batched]}
    # A vector beside a batch of the same width belongs to its channels.
    if (all(case.batched) or case.name.startswith(NORMS)) and ranks[0] > 1:
        found["channels"] = [P(*[None] * (rank - 1), "data") for rank in ranks]
    if case.name in GROUPED:
        return found
    if case.name.startswith(("linear", "conv2d")):
        by_output = [P(), P(*[None] * (ranks[1] - 1), "data"), P("data")]
        last = P(*[None] * (ranks[0] - 1), "data")
        by_input = [last, P(*[None] * (ranks[1] - 2), "data", None), P()]
        found |= {"output": by_output[: len(ranks)], "input": by_input[: len(ranks)]}
    if "channels" in found:
        found["both"] = [
            P("data", *[None] * (rank - 2), "model") if batched else P("model")
            for rank, batched in zip(ranks, case.batched, strict=True)
        ]
    if "output" in found:
        by_output = [P("data"), P(*[None] * (ranks[1] - 1), "model"), P("model")]
        last = P("data", *[None] * (ranks[0] - 2), "model")
        by_input = [last, P(*[None] * (ranks[1] - 2), "model", None), P()]
        found |= {"both": by_output[: len(ranks)], "both by input": by_input[: len(ranks)]}
    return found


def refused(case: Case, placement: str, mode: AxisType) -> bool:
    """Whether `jax.lax` asks for the result's sharding, on an explicit mesh."""
    by_output = placement in ("output", "both") and case.name.startswith("conv2d")
    by_input = placement.endswith("input") and not case.name.startswith("linear_cross_entropy")
    asked = by_input or by_output
    return mode == AxisType.Explicit and asked


def mesh_of(devices: int, placement: str, mode: AxisType) -> jax.sharding.Mesh:
    """All devices in a row; for `both`, two for the channels times the others for the batch."""
    if placement.startswith("both"):
        return jax.make_mesh((devices // 2, 2), ("data", "model"), axis_types=(mode,) * 2)
    return jax.make_mesh((devices,), ("data",), axis_types=(mode,))


def example(case: Case) -> tuple[jax.Array, ...]:
    """Arguments whose batch and channels can be divided."""
    rng, arrays = np.random.RandomState(0), []
    for shape, batched in zip(case.shapes, case.batched, strict=True):
        size = [*shape]
        if batched:
            size[0] = SIZE
        # A vector beside x belongs to its channels.
        own = case.name.startswith((*LAYERS, *NORMS)) or case.name.endswith("per_channel")
        is_grouped = case.name in GROUPED
        if (len(size) > 1 or own) and not is_grouped:
            size[-1] = SIZE
        if len(size) > 1 and not batched and not is_grouped:
            size[-2] = SIZE
        arrays.append(jnp.asarray(rng.standard_normal(size), np.float32))
    return case.prepare(*arrays)


def differentiated(fun, mesh, args, specs):
    """(y, *gradients) of `fun` on a mesh, its arguments there, and what the program moves."""
    with jax.set_mesh(mesh):
        placed = [
            jax.device_put(a, NamedSharding(mesh, s)) for a, s in zip(args, specs, strict=True)
        ]
        y = jax.jit(fun)(*placed)
        y_bar = jax.device_put(cotangent(y), y.sharding)
        program = compiled(fun).lower(y_bar, *placed).compile()
        return program(y_bar, *placed), placed, moved(program.as_text())


def looked_at(names):
    return [(name, placement) for name in names for placement in placements(CASES[name])]


def check(name: str, placement: str, devices: int, mode: AxisType) -> None:
    case = CASES[name]
    args, specs = example(case), placements(case)[placement]
    mesh = mesh_of(devices, placement, mode)
    if refused(case, placement, mode):
        with pytest.raises(Exception, match="output sharding"):
            differentiated(case.operation, mesh, args, specs)
        return
    actual, placed, ours = differentiated(case.operation, mesh, args, specs)
    for gradient, primal in zip(actual[1:], placed, strict=True):
        assert (gradient.shape, gradient.dtype) == (primal.shape, primal.dtype)
        assert gradient.sharding.is_equivalent_to(primal.sharding, primal.ndim)
    assert_close(actual, exact(case.reference, args, cotangent(actual[0])), 5e-6)
    automatic = mesh_of(devices, placement, AxisType.Auto)
    _, _, plain = differentiated(case.reference, automatic, args, specs)
    plain += BESIDES.get((name, placement), collections.Counter())
    assert ours <= plain, f"{dict(ours)}, the reference {dict(plain)}"


def check_shard_map(name: str, devices: int) -> None:
    """The batch in parts inside `jax.shard_map`: what is whole on each device gets the sum."""
    case = CASES[name]
    args, specs = example(case), placements(case)["batch"]
    mesh = jax.make_mesh((devices,), ("data",), axis_types=(AxisType.Auto,))

    def inside(fun):
        return jax.shard_map(fun, mesh=mesh, in_specs=tuple(specs), out_specs=P("data"))

    actual, placed, ours = differentiated(inside(case.operation), mesh, args, specs)
    assert_close(actual, exact(case.reference, args, cotangent(actual[0])), 5e-6)
    # At most one number for each that is the same on all devices.
    whole = sum(a.size for a, spec in zip(placed, specs, strict=True) if spec == P())
    assert ours <= collections.Counter({"all-reduce": whole})


@each_mode
@pytest.mark.parametrize(
    "name", [name for name in CASES if name.startswith(LAYERS) and CASES[name].every_transformation]
)
def test_batch_of_a_layer_on_two_devices(name: str, mode: AxisType):
    check(name, "batch", 2, mode)


@each_mode
@pytest.mark.parametrize("placement", ["batch", "channels"])
@pytest.mark.parametrize("name", NORMS)
def test_rows_of_a_norm_that_are_divided(name: str, placement: str, mode: AxisType):
    check(name, placement, 2, mode)


@pytest.mark.long
@each_mode
@each_size
@pytest.mark.parametrize(("name", "placement"), looked_at(CASES))
def test_each_placement(name: str, placement: str, devices: int, mode: AxisType):
    check(name, placement, devices, mode)


def test_a_layer_in_shard_map_sums_what_is_as_large_as_its_parameters():
    check_shard_map("conv2d_relu_max_pool2d", 2)


@pytest.mark.long
@each_size
@pytest.mark.parametrize("name", [name for name in CASES if CASES[name].per_example])
def test_each_in_shard_map(name: str, devices: int):
    check_shard_map(name, devices)


@each_mode
@pytest.mark.parametrize("name", ["gumbel_softmax_hard", "onehot_straight_through"])
def test_classes_that_are_divided(name: str, mode: AxisType):
    check(name, "channels", 2, mode)


@each_mode
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_odd_sizes_strides_and_overlapping_windows(dtype: str, mode: AxisType):
    def fun(x, kernel):
        y = jaxfn.conv2d(x, kernel, stride=2, padding="SAME")
        return jaxfn.max_pool2d(y, 3, stride=2, padding=1)

    rng = np.random.RandomState(0)
    args = [jnp.asarray(rng.standard_normal(s), dtype) for s in ((4, 11, 9, 3), (3, 3, 3, 5))]
    mesh = jax.make_mesh((2,), ("data",), axis_types=(mode,))
    actual, placed, ours = differentiated(fun, mesh, args, [P("data"), P()])
    assert [g.sharding.is_fully_replicated for g in actual[1:]] == [False, True]
    assert ours == {"all-reduce": placed[1].size}
    alone = compiled(fun)(cotangent(actual[0]), *args)
    assert_close(actual, alone, 2 * float(jnp.finfo(dtype).eps))


@pytest.mark.long
def test_on_eight_devices():
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "0", "-m", "", "-k", "not eight", __file__],
        env=os.environ | {"JAX_NUM_CPU_DEVICES": "8"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout


@pytest.mark.parametrize("operation", [jaxfn.linear, jaxfn.conv2d])
def test_an_explicit_mesh_that_is_no_context(operation):
    """As plain JAX in a jit: a bias is summed over the devices."""
    made = jax.make_mesh(
        (2,), ("data",), axis_types=(AxisType.Explicit,), devices=jax.devices()[:2]
    )
    shapes = (
        ((8, 5), (5, 3), (3,)) if operation is jaxfn.linear else ((8, 5, 5, 2), (3, 3, 2, 3), (3,))
    )
    arrays = [np.ones(shape, np.float32) for shape in shapes]
    specs = (P("data"), P(), P())
    placed = [jax.device_put(a, NamedSharding(made, s)) for a, s in zip(arrays, specs, strict=True)]

    def gradients(*args):
        return jax.grad(lambda *args: operation(*args).sum(), argnums=(0, 1, 2))(*args)

    for found, expected in zip(jax.jit(gradients)(*placed), gradients(*arrays), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6)
