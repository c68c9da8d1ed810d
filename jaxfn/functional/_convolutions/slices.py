"""A batch of images, a few at a time: what lies between two steps of an operation stays in the
cache, and its memory is that of a few images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxfn.functional._partition import scan


def over_images(
    fun: Callable[..., jax.Array], images: Sequence[jax.Array], length: int
) -> jax.Array:
    """`fun(*images)`, whose result is images, too, for about `length` images at a time."""
    count = images[0].shape[0]
    slices, length = _slices(count, length)
    if slices == 1:
        return fun(*images)
    _, y = scan(lambda _, part: (None, fun(*part)), None, _cut(images, slices, length), ())
    return y.reshape(slices * length, *y.shape[2:])[:count]


def sum_over_images(fun: Callable[..., Any], images: Sequence[jax.Array], length: int) -> Any:
    """`fun(*images)`, a sum over the images, for about `length` of them at a time."""
    slices, length = _slices(images[0].shape[0], length)
    if slices == 1:
        return fun(*images)
    parts = _cut(images, slices, length)
    types = jax.eval_shape(fun, *(part[0] for part in parts))
    start = jax.tree.map(lambda t: jnp.zeros(t.shape, t.dtype), types)

    def step(total: Any, part: Any) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, fun(*part)), None

    return scan(step, start, parts, ())[0]


def _slices(count: int, length: int) -> tuple[int, int]:
    """How many slices there are, and how long they are: all of them equally."""
    slices = -(-count // max(length, 1))
    # Up to twice as many if they come out even: filling up copies the images.
    slices = next((n for n in range(slices, 2 * slices) if count % n == 0), slices)
    return slices, -(-count // slices)


def _cut(images: Sequence[jax.Array], slices: int, length: int) -> tuple[jax.Array, ...]:
    """`[N, ...]` → `[slices, length, ...]`, filled up with zeros, of which every sum is 0."""
    missing = slices * length - images[0].shape[0]
    if missing:
        images = [jnp.pad(x, [(0, missing), *[(0, 0)] * (x.ndim - 1)]) for x in images]
    return tuple(x.reshape(slices, length, *x.shape[1:]) for x in images)
