"""Images with the batch last, `[C, H, W, N]`: how a CPU computes on images of few channels.

With 1, 6 or 16 channels last, as in `[N, H, W, C]`, a vector register is mostly empty; with the
batch last it is full. An operation transposes at its edges, and within one `jit` the compiler
cancels its transposes with those of the operations beside it. The height and width are the
dimensions 1 and 2 in both layouts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxfn.functional._convolutions.steps import Steps, padded, views_of, window_of
from jaxfn.functional._partition import scan
from jaxfn.functional._rules import explicit_sharding

# With more channels than a register holds numbers (16 of float32), `jax.lax` fills it as well.
MOST_CHANNELS = 16

# A batch of more images is taken in slices of about so many: what an operation computes on the way
# then stays in the cache. All operations take the same, which follows from the batch alone, so that
# between them nothing has to be laid out anew.
_MOST_IMAGES, _SLICE = 256, 128

# A window of more positions is left to `jax.lax`: each one is an operation of its own here.
MOST_POSITIONS = 64


def by_platform(
    batch_last: Callable[..., Any],
    channels_last: Callable[..., Any],
    *arrays: jax.Array,
    channels: int,
    positions: int,
) -> Any:
    """The one of two equal functions of `arrays` that is faster where the program will run.

    Args:
      batch_last: for a CPU.
      channels_last: for everything else, and where it is faster on a CPU, too.
      arrays: what both take, images first.
      channels: the greatest number of channels of an image that takes part.
      positions: how many there are in the window or kernel.
    """
    if not pays_on_cpu(*arrays, channels=channels, positions=positions):
        return channels_last(*arrays)
    return lax.platform_dependent(*arrays, cpu=batch_last, default=channels_last)


def pays_on_cpu(*arrays: jax.Array, channels: int, positions: int) -> bool:
    """Whether a CPU computes on `arrays`, images first, faster with the batch last."""
    return channels <= MOST_CHANNELS and positions <= MOST_POSITIONS and is_free(*arrays)


def is_free(*arrays: jax.Array) -> bool:
    """Whether an operation may lay out `arrays`, images first, as a CPU computes fastest."""
    return (
        not any(a.dtype.name in ("float16", "bfloat16") for a in arrays)
        # The batch may be known only when the program runs; other such sizes are left to JAX.
        and all(isinstance(size, int) for a in arrays for size in a.shape[1:])
        and 0 not in arrays[0].shape
        and all(explicit_sharding(a) is None and not may_be_partitioned(a) for a in arrays)
    )


def may_be_partitioned(x: jax.Array) -> bool:
    """Whether the compiler may divide x among devices, on an automatic mesh.

    It divides dimensions that an operation keeps; where the batch becomes a part of another one, as
    in a matrix of what each position of a kernel sees, every device would gather all images.
    """
    meshes = (jax.typeof(x).sharding.mesh, jax.sharding.get_abstract_mesh())
    return any(mesh.shape[axis] > 1 for mesh in meshes for axis in mesh.auto_axes)


def to_batch_last(x: jax.Array) -> jax.Array:
    """`[N, H, W, C]` → `[C, H, W, N]`."""
    return jnp.transpose(x, (3, 1, 2, 0))


def to_batch_first(x: jax.Array) -> jax.Array:
    """`[C, H, W, N]` → `[N, H, W, C]`."""
    return jnp.transpose(x, (3, 1, 2, 0))


def image_batch_last(x: jax.Array) -> jax.Array:
    """`to_batch_last`, stored, of an image that no other operation leaves with the batch last."""
    # One pixel of all images is what is read together. Images of 32×32 are 4 KiB apart, where a
    # cache finds no room for more than a few of them; with a column more they are not.
    width = x.shape[2]
    (x,) = stored(lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), (0, 0, 0), (0, 1, 0), (0, 0, 0)]))
    return stored(to_batch_last(x)[:, :, :width])[0]


def stored_batch_last(x: jax.Array, needs_gradient: bool) -> jax.Array:
    """`to_batch_last`, stored, of an image that an operation takes."""
    # What needs a gradient comes from other operations, whose transposes cancel this one.
    return stored(to_batch_last(x))[0] if needs_gradient else image_batch_last(x)


def stored(*arrays: jax.Array) -> tuple[jax.Array, ...]:
    """The arrays, each computed once: left to itself the compiler computes an array again wherever
    it is read. The first one is floating, or of positions in a window."""
    if jax.__version_info__ >= (0, 11):
        return lax.optimization_barrier(arrays)
    # XLA up to that of jax 0.10 drops the barrier before it decides what to compute again. It does
    # not look into a conditional, though both of its branches return the same; JAX does, unless
    # they are written differently.
    first = arrays[0][0, 0, 0, 0]
    is_usual = (
        first == first if jnp.issubdtype(first.dtype, jnp.floating) else first < MOST_POSITIONS
    )
    return lax.cond(is_usual, lambda *a: a, lambda *a: tuple(x * 1 for x in a), *arrays)


def in_slices(
    fun: Callable[..., tuple[Any, Any]], images: Sequence[jax.Array], is_first: Sequence[bool]
) -> tuple[Any, Any]:
    """`fun` of images with the batch last, a slice of a large batch at a time.

    What lies between two operations is then all that they keep, laid out slice by slice, and the
    transposes of one cancel with those of the next.

    Args:
      fun: `fun(*images)` → images with the batch last, and sums over the batch; trees of arrays.
      images: `[N, H, W, C]`.
      is_first: for each, whether no other operation leaves it with the batch last.

    Returns:
      The same of the whole batch, the images as `[N, H, W, C]`.
    """
    batch = images[0].shape[0]
    length = _slice_length(batch)
    if length == batch:
        pairs = zip(images, is_first, strict=True)
        results, sums = fun(*(stored_batch_last(x, not first) for x, first in pairs))
        return jax.tree.map(to_batch_first, results), sums

    def laid_out(x: jax.Array, first: bool) -> jax.Array:
        x = x.reshape(-1, length, *x.shape[1:])
        return x if first else jnp.transpose(x, (0, 4, 2, 3, 1))

    def one(parts: Sequence[jax.Array]) -> tuple[Any, Any]:
        pairs = zip(parts, is_first, strict=True)
        return fun(*(image_batch_last(x) if first else x for x, first in pairs))

    def step(total: Any, parts: Sequence[jax.Array]) -> tuple[Any, Any]:
        results, sums = one(parts)
        return jax.tree.map(jnp.add, total, sums), results

    slices = [laid_out(x, first) for x, first in zip(images, is_first, strict=True)]
    _, types = jax.eval_shape(one, [x[0] for x in slices])
    start = jax.tree.map(lambda t: jnp.zeros(t.shape, t.dtype), types)
    sums, results = scan(step, start, slices, images)

    def joined(y: jax.Array) -> jax.Array:
        y = jnp.transpose(y, (0, 4, 2, 3, 1))
        return y.reshape(batch, *y.shape[2:])

    return jax.tree.map(joined, results), sums


def _slice_length(batch: Any) -> int:
    """How many images of a batch make a slice."""
    if not isinstance(batch, int) or batch <= _MOST_IMAGES:
        return batch
    lengths = [n for n in range(_SLICE // 2, _MOST_IMAGES + 1) if batch % n == 0]
    return min(lengths, key=lambda n: abs(n - _SLICE), default=batch)


def correlate(x: jax.Array, kernel: jax.Array, steps: Steps) -> jax.Array:
    """The convolution `[in, H, W, N]`, `[h, w, in, out]` → `[out, H', W', N]`, as one matrix
    product of the kernel with what each of its positions sees."""
    views = views_of(padded(x, steps.pads), window_of(kernel), steps.strides, steps.dilation)
    seen = lax.concatenate(views, 0)
    y = lax.dot_general(
        kernel.reshape(-1, kernel.shape[3]),
        seen.reshape(seen.shape[0], -1),
        (((0,), (0,)), ((), ())),
    )
    return y.reshape(kernel.shape[3], *seen.shape[1:])
