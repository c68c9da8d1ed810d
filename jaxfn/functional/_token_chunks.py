"""A matrix of tokens by classes, a chunk of its tokens at a time."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxfn._jax_internals import mesh_axes, vary_over

# What one device holds of the matrix at a time, in float32: a step's arithmetic is far more than
# what it takes to start it, and the chunk is read a few times while it is in the cache.
CHUNK_BYTES = 16 * 2**20

# In each step the gradient of the weight, in · classes numbers, is read and written for a product
# over the chunk's tokens; with fewer of them the memory would be what one waits for.
LEAST_ROWS = 64


@dataclasses.dataclass(frozen=True)
class Layout:
    """How tokens are cut: `groups` that devices may share among them, `chunks` of each, one a
    step, of `rows` tokens; the last chunk of a group may be filled up with zeros."""

    tokens: int
    groups: int
    chunks: int
    rows: int

    def split(self, array: jax.Array) -> jax.Array:
        """`[tokens, ...]` → `[chunks, groups, rows, ...]`."""
        rest = array.shape[1:]
        array = array.reshape(self.groups, self.tokens // self.groups, *rest)
        missing = self.chunks * self.rows - array.shape[1]
        if missing:
            array = jnp.pad(array, [(0, 0), (0, missing), *[(0, 0)] * len(rest)])
        return jnp.moveaxis(array.reshape(self.groups, self.chunks, self.rows, *rest), 1, 0)

    def join(self, array: jax.Array) -> jax.Array:
        """`[chunks, groups, rows, ...]` → `[tokens, ...]`."""
        rest = array.shape[3:]
        array = jnp.moveaxis(array, 0, 1).reshape(self.groups, self.chunks * self.rows, *rest)
        return array[:, : self.tokens // self.groups].reshape(self.tokens, *rest)

    @property
    def filled(self) -> bool:
        """Whether there are rows that are no token."""
        return self.groups * self.chunks * self.rows > self.tokens


def layout(tokens: int, classes: int) -> Layout:
    """The layout for a matrix of tokens by classes."""
    # A scan over a dimension that is divided among devices would gather it: each device steps
    # through a group of its own.
    groups = math.gcd(tokens, _automatic_devices()) or 1
    most = max(CHUNK_BYTES // (4 * max(classes, 1)), LEAST_ROWS)
    own = tokens // groups
    least = max(-(-own // most), 1)
    # Up to twice as many chunks if they come out even: filling up copies the tokens.
    chunks = next((n for n in range(least, 2 * least) if own % n == 0), least)
    return Layout(tokens, groups, chunks, -(-own // chunks))


def _automatic_devices() -> int:
    """Among how many devices the compiler may divide an array."""
    mesh = jax.sharding.get_abstract_mesh()
    return math.prod(mesh.shape[axis] for axis in mesh.auto_axes)


def scan(body: Callable[[Any, Any], Any], carry: Any, chunks: Any, constants: Any) -> Any:
    """`lax.scan`; inside `shard_map` the carry differs along the axes that anything else does."""
    axes = frozenset[Any]().union(
        *(mesh_axes(jax.typeof(leaf)) for leaf in jax.tree.leaves((chunks, constants)))
    )
    carry = jax.tree.map(lambda leaf: vary_over(leaf, axes), carry)
    return lax.scan(body, carry, chunks)
