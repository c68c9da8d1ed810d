"""Training on several devices: the batch in equal parts, the parameters whole on each.

The gradient of a mean over B images is the mean of the gradients over D parts of B/D:
ḡ = 1/D Σ_d ḡ_d. Each device computes its ḡ_d by the program that one device runs on B/D images,
and one all-reduce takes the mean. (Left to XLA's partitioner, the slices of
`jaxfn.microbatched_value_and_grad`, which mix the batch with another dimension, have each device
gather the whole batch, and images are not computed with the batch last.)

The order of the images and their shifts do not depend on the number of devices, so the losses
differ by rounding alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from scripts.command.program import UserError, check
from scripts.training.step import EvaluateFn, Params, mean_classified

Tree = TypeVar("Tree")

AXIS = "data"


def make_mesh(devices: int | None, mesh: str | None) -> Mesh | None:
    """The mesh that `--devices` or `--mesh` asks for; None if neither is given and there is one
    process.

    Of several processes all devices take part, each process with equally many.

    Args:
      devices: how many, the first ones that JAX finds.
      mesh: the same as "data=N".

    Raises:
      UserError: if a flag makes no sense here.
    """
    if devices is not None and mesh is not None:
        raise UserError("expected --devices or --mesh, got both")
    if mesh is not None:
        devices = _parsed(mesh)
    there = jax.devices()
    if devices is None:
        if jax.process_count() == 1:
            return None
        devices = len(there)
    flag = f"--devices {devices}" if mesh is None else f"--mesh {mesh}"
    check(devices >= 1, f"{flag}: expected at least 1 device")
    kind = there[0].platform
    hint = f"; JAX_NUM_CPU_DEVICES={devices} makes as many of a CPU" if kind == "cpu" else ""
    check(
        devices <= len(there),
        f"{flag}: expected at most the {len(there)} {kind} devices that JAX finds{hint}",
    )
    check(
        jax.process_count() == 1 or devices == len(there),
        f"{flag}: expected all {len(there)} devices of the {jax.process_count()} processes",
    )
    return jax.make_mesh((devices,), (AXIS,), (AxisType.Auto,), devices=there[:devices])


def _parsed(mesh: str) -> int:
    form = re.fullmatch(r"(\w+)=(\d+)", mesh)
    if form is None:
        raise UserError(f"--mesh {mesh}: expected {AXIS}=N, N the number of devices")
    axis, size = form.groups()
    check(axis == AXIS, f"--mesh {mesh}: expected the axis {AXIS}, got {axis!r}")
    return int(size)


def check_batch(batch_size: int, accumulate: int, mesh: Mesh) -> None:
    """Raises `UserError` if the batch has no equal parts, each of `accumulate` equal parts."""
    parts = f"the {mesh.size} devices"
    if accumulate > 1:
        parts += f" × --accumulate {accumulate}"
    check(
        batch_size % (mesh.size * accumulate) == 0,
        f"--batch-size {batch_size}: expected a multiple of {parts}",
    )


def replicated(mesh: Mesh) -> NamedSharding:
    """Whole on each device."""
    return NamedSharding(mesh, P())


def replicate(tree: Tree, mesh: Mesh) -> Tree:
    """The arrays of `tree`, whole on each device; of several processes each has the same ones."""

    def put(leaf: jax.Array) -> jax.Array:
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            data = put(jax.random.key_data(leaf))
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
        # Not device_put, with which several processes compare what each of them has.
        return jax.make_array_from_process_local_data(
            replicated(mesh), np.asarray(leaf), leaf.shape
        )

    return jax.tree.map(put, tree)


def data_parallel(mean: Callable[..., Tree], mesh: Mesh) -> Callable[..., Tree]:
    """The same function of the whole batch, computed in equal parts on the devices.

    Args:
      mean: `mean(params, *batch)`, a tree of arrays each of which is a mean over the batch, the
        first dimension of every array in `batch`, such as a loss and its gradient.
      mesh: the devices, along the axis "data".

    Returns:
      `mean` under `jit`: params and results whole on each device, the batch in parts.
    """

    def part(params: Params, *batch: jax.Array) -> Tree:
        return lax.pmean(mean(params, *batch), AXIS)

    def whole(params: Params, *batch: jax.Array) -> Tree:
        specs = (P(), *[P(AXIS)] * len(batch))
        # Without check_vma, for which a sum that starts at zeros, as over the slices of a large
        # batch, would have to say that it differs between the devices.
        return jax.shard_map(part, mesh=mesh, in_specs=specs, out_specs=P(), check_vma=False)(
            params, *batch
        )

    return whole


def data_parallel_evaluate(
    evaluate: EvaluateFn, mesh: Mesh, summarize: Callable[..., Any] = mean_classified
) -> EvaluateFn:
    """`evaluate`, in equal parts on the devices, under `jit`. What is missing to equal parts is
    filled up with examples that are not counted; `summarize(outputs, *data)` gives the metrics."""

    def part(params: Params, *data: jax.Array) -> jax.Array:
        return evaluate(params, *data)[1]

    def whole(params: Params, *data: jax.Array) -> tuple[Any, jax.Array]:
        count = len(data[0])
        missing = -count % mesh.size
        filled = (jnp.pad(a, [(0, missing), *[(0, 0)] * (a.ndim - 1)]) for a in data)
        specs = (P(), *[P(AXIS)] * len(data))
        parts = jax.shard_map(part, mesh=mesh, in_specs=specs, out_specs=P(AXIS), check_vma=False)
        outputs = parts(params, *filled)[:count]
        return summarize(outputs, *data), outputs

    return whole
