"""A matrix of tokens by classes, a chunk of its tokens at a time."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike

from jaxfn.functional._partition import automatic_devices

# What is held of the matrix at a time, in float32: a step's arithmetic is far more than what it
# takes to start it, and of the logits of many tokens little is held.
CHUNK_BYTES = 16 * 2**20

# The same where a step costs more and memory is faster: on anything but a CPU.
LARGE_CHUNK_BYTES = 256 * 2**20

# In each step the gradient of the weight, in · classes numbers, is read and written for a product
# over the chunk's tokens: of fewer tokens one would wait for the memory.
LEAST_ROWS = 128

# That product is added block by block, while a block is in the cache, of this width at least.
BLOCKS, LEAST_WIDTH = 8, 512


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a matrix is cut: its tokens, `[*shape]`, in `groups` that devices may share among them,
    each group in `chunks` of `rows`, one a step, the last of them filled up with zeros."""

    shape: tuple[int, ...]
    groups: int
    chunks: int
    rows: int

    @property
    def tokens(self) -> int:
        return math.prod(self.shape)

    @property
    def filled(self) -> bool:
        """Whether there are rows that are no token."""
        return self.groups * self.chunks * self.rows > self.tokens

    def split(self, array: jax.Array) -> jax.Array:
        """`[*shape, ...]` → `[chunks, rows, ...]`, or `[chunks, groups, rows, ...]` of several."""
        rest = array.shape[len(self.shape) :]
        array = array.reshape(self.groups, self.tokens // self.groups, *rest)
        missing = self.chunks * self.rows - array.shape[1]
        if missing:
            array = jnp.pad(array, [(0, 0), (0, missing), *[(0, 0)] * len(rest)])
        array = array.reshape(self.groups, self.chunks, self.rows, *rest)
        return array[0] if self.groups == 1 else jnp.moveaxis(array, 1, 0)

    def join(self, array: jax.Array) -> jax.Array:
        """What `split` makes of it is `array`."""
        array = array[None] if self.groups == 1 else jnp.moveaxis(array, 0, 1)
        rest = array.shape[3:]
        array = array.reshape(self.groups, self.chunks * self.rows, *rest)
        return array[:, : self.tokens // self.groups].reshape(*self.shape, *rest)

    def each(self, step: Callable[..., Any], in_axes: Any) -> Callable[..., Any]:
        """`step`, which takes one group, of all groups."""
        return step if self.groups == 1 else jax.vmap(step, in_axes)

    def for_each(self, array: jax.Array) -> jax.Array:
        """A copy for each group, if there are several."""
        if self.groups == 1:
            return array
        return jnp.broadcast_to(array, (self.groups, *array.shape))

    def total(self, array: jax.Array) -> jax.Array:
        """The sum over the groups, of which each has its own."""
        return array if self.groups == 1 else jnp.sum(array, axis=0)


def by_platform(fun: Callable[..., Any], shape: tuple[int, ...], classes: int, *args: Any) -> Any:
    """`fun(layout, *args)` with the layout that is fast where the program will run."""
    small, large = (layout(shape, classes, most) for most in (CHUNK_BYTES, LARGE_CHUNK_BYTES))
    if small == large:
        return fun(small, *args)
    return lax.platform_dependent(
        *args, cpu=functools.partial(fun, small), default=functools.partial(fun, large)
    )


def layout(shape: tuple[int, ...], classes: int, chunk_bytes: int) -> Layout:
    """The layout of a matrix of tokens, `[*shape]`, by classes."""
    # A loop over a dimension that is divided among devices would gather it: each device steps
    # through a group of its own.
    tokens = math.prod(shape)
    groups = math.gcd(tokens, automatic_devices())
    most = max(chunk_bytes // (4 * classes), LEAST_ROWS)
    own = tokens // groups
    least = max(-(-own // most), 1)
    # Up to twice as many chunks if they come out even: filling up copies the tokens.
    chunks = next((n for n in range(least, 2 * least) if own % n == 0), least)
    return Layout(shape, groups, chunks, -(-own // chunks))


def add_product(total: jax.Array, x: jax.Array, d: jax.Array, dtype: DTypeLike) -> jax.Array:
    """`total` + xᵀ d, `[in, classes]`, without a second array of that size where it can be."""
    classes = d.shape[1]
    # Not where the classes may be divided among devices: a block of them would be gathered.
    even = classes % BLOCKS == 0 and classes >= BLOCKS * LEAST_WIDTH and automatic_devices() == 1

    def product(d: jax.Array) -> jax.Array:
        return lax.dot_general(x, d, (((0,), (0,)), ((), ())), preferred_element_type=dtype)

    if not even:
        return total + product(d)
    width = classes // BLOCKS

    def add_block(block: Any, total: jax.Array) -> jax.Array:
        start = block * width
        old = lax.dynamic_slice_in_dim(total, start, width, 1)
        new = old + product(lax.dynamic_slice_in_dim(d, start, width, 1))
        return lax.dynamic_update_slice_in_dim(total, new, start, 1)

    return lax.fori_loop(0, BLOCKS, add_block, total)
