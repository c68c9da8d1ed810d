"""Loops and meshes: what an operation that steps through an array in parts has to know of how the
array is divided among devices."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, TypeVar

import jax
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec

from jaxfn._jax_internals import mesh_axes, vary_over

Tree = TypeVar("Tree")


def automatic_devices() -> int:
    """Among how many devices the compiler may divide an array."""
    mesh = jax.sharding.get_abstract_mesh()
    return math.prod(mesh.shape[axis] for axis in mesh.auto_axes)


def automatically(fun: Callable[..., Any], args: Any, out_specs: Any) -> Any:
    """`fun(*args)`; on an explicit mesh the compiler divides what is inside, and what comes out is
    divided as `out_specs` say."""
    meshes = [jax.typeof(leaf).sharding.mesh for leaf in jax.tree.leaves(args)]
    mesh = next((mesh for mesh in meshes if mesh.explicit_axes), None)
    if mesh is None:
        return fun(*args)
    out = jax.tree.map(functools.partial(NamedSharding, mesh), out_specs, is_leaf=_is_spec)
    with jax.sharding.use_abstract_mesh(mesh):
        return jax.sharding.auto_axes(fun, axes=mesh.explicit_axes, out_sharding=out)(*args)


def _is_spec(value: Any) -> bool:
    return isinstance(value, PartitionSpec)


def varying(tree: Tree, like: Any) -> Tree:
    """The arrays of `tree`; inside `shard_map` each differs along the axes of any of `like`."""
    axes = frozenset[Any]().union(*(mesh_axes(jax.typeof(leaf)) for leaf in jax.tree.leaves(like)))
    return jax.tree.map(lambda leaf: vary_over(leaf, axes), tree)


def scan(body: Callable[[Any, Any], Any], carry: Any, xs: Any, constants: Any) -> Any:
    """`lax.scan`, whose carry differs between devices as `xs` and `constants` do."""
    return lax.scan(body, varying(carry, (xs, constants)), xs)
