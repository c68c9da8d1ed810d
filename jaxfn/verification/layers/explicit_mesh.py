"""The rule on an explicit mesh of two devices, where JAX says of each array how it is sharded.

There an operation that does not know how its result is sharded raises, as a reshape may that merges
a divided dimension with another; and a gradient is sharded as what it is the gradient of.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxfn.verification.layers.variants import GROUPS, Points, Variant, group_name
from jaxfn.verification.subject.coordinates import cotangents, flatten_gradient
from jaxfn.verification.subject.programs import Engine

AXIS = "devices"
PREFIX = "an explicit mesh with "
DEVICES = 2


def divisions(points: Points) -> list[Variant]:
    """The leading dimension divided of every argument that can be, and of each one alone."""
    subject = points.subject
    shapes = [leaf.shape for leaf in subject.arguments.leaves]
    even = {k for k, shape in enumerate(shapes) if shape and shape[0] and shape[0] % DEVICES == 0}

    def division(name: str, divided: tuple[int, ...]) -> Variant:
        return Variant(f"{PREFIX}{name}", lambda at: None, varying=divided, explicit=True)

    alone = {g: tuple(k for k in g if k in even) for g in points.groups[:GROUPS]}
    found = [
        division(f"{group_name(subject, g)} divided", some) for g, some in alone.items() if some
    ]
    if len(found) > 1:
        found.insert(0, division("every argument divided", tuple(sorted(even))))
    return found


def mesh_of_two() -> Mesh:
    """The first two devices, as an explicit mesh."""
    devices = jax.devices()[:DEVICES]
    return jax.make_mesh((DEVICES,), (AXIS,), axis_types=(AxisType.Explicit,), devices=devices)


def gradients_there(points: Points, engine: Engine, layout: Variant) -> Callable[[Points], Any]:
    """The gradients at the first point, one row; to be run where the mesh is set."""
    mesh, arguments, divided = mesh_of_two(), points.subject.arguments, layout.varying or ()

    def run(at: Points) -> Any:
        specs = [PartitionSpec(*[AXIS] * (k in divided)) for k in range(len(arguments.leaves))]
        arrays = [
            jax.sharding.reshard(array, NamedSharding(mesh, spec))
            for array, spec in zip(at.one(0), specs, strict=True)
        ]
        call = engine.of_leaves([jnp.asarray(p[0]) for p in at.integers])
        outputs, pullback = jax.vjp(call, arrays)
        gammas = [
            jax.sharding.reshard(gamma, jax.typeof(y).sharding)
            for gamma, y in zip(cotangents(at.gamma(0), outputs), outputs, strict=True)
        ]
        (gradients,) = pullback(gammas)
        # JAX itself has looked whether each gradient is sharded as what it is the gradient of.
        whole = [jax.sharding.reshard(g, NamedSharding(mesh, PartitionSpec())) for g in gradients]
        return flatten_gradient(whole, arguments.leaves, engine.dtype)[None]

    return run
