"""Convolutions in groups as a few without: several groups side by side are one kernel with zeros
where they do not meet. More products, but at the rate of a matrix product."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

# So many channels side by side are computed at full rate; of more, more products would be zeros.
_MERGED_CHANNELS = 64
# Each convolution without groups is a program of its own.
_MOST_CONVOLUTIONS = 32


def merged(kernel: Any, groups: int) -> int:
    """How many groups are taken together: a divisor of their number."""
    channels = max(kernel.shape[2], kernel.shape[3] // groups)
    divisors = [n for n in range(1, groups + 1) if groups % n == 0]
    return max(n for n in divisors if n == 1 or n * channels <= _MERGED_CHANNELS)


def pays(kernel: Any, groups: int) -> bool:
    """Whether there are few enough convolutions for each to be written out."""
    return groups // merged(kernel, groups) <= _MOST_CONVOLUTIONS


def block_diagonal(kernel: jax.Array, groups: int) -> jax.Array:
    """`[h, w, in / groups, out]` → `[h, w, in, out]`, with zeros between the groups."""
    height, width, each, out = kernel.shape
    apart = kernel.reshape(height, width, 1, each, groups, out // groups)
    is_own = jnp.eye(groups, dtype=bool)[:, None, :, None]
    return jnp.where(is_own, apart, 0).reshape(height, width, groups * each, out)


def diagonal(kernel_bar: jax.Array, groups: int) -> jax.Array:
    """The transpose of `block_diagonal`."""
    height, width, channels, out = kernel_bar.shape
    blocks = kernel_bar.reshape(height, width, groups, channels // groups, groups, out // groups)
    own = jnp.diagonal(blocks, axis1=2, axis2=4)  # [h, w, in / groups, out / groups, groups]
    return jnp.swapaxes(own, 3, 4).reshape(height, width, channels // groups, out)


def one_kernel(kernel: Any, groups: int) -> jax.ShapeDtypeStruct:
    """The type of one of the kernels that `block_diagonal` makes, of the groups taken together."""
    count = merged(kernel, groups)
    height, width, each, out = kernel.shape
    shape = (height, width, count * each, out // (groups // count))
    return jax.ShapeDtypeStruct(shape, kernel.dtype)
