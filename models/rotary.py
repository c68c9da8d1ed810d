"""Rotary positions: pairs of features turned by an angle that grows with the position."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

BASE = 10_000.0


def rotary_angles(positions: ArrayLike, size: int, base: float = BASE) -> jax.Array:
    """The angle of each position and pair of features.

    θ[t, i] = t · base^(−2i/size), i = 0 … size/2 − 1

    Args:
      positions: `[T]`, integers.
      size: how many features there are, an even number.
      base: the slowest pair turns about once in 2π · base positions.

    Returns:
      `[T, size/2]`, float32.

    Raises:
      ValueError: if `size` is odd.

    Example:
      >>> import jax.numpy as jnp
      >>> from models.rotary import rotary_angles
      >>> rotary_angles(jnp.arange(3), 8).shape
      (3, 4)

    Source: Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding", 2021.
    """
    if size % 2:
        raise ValueError(f"rotary_angles: expected an even number of features, got {size}")
    frequencies = base ** (-2 * jnp.arange(size // 2, dtype=jnp.float32) / size)
    return jnp.asarray(positions, jnp.float32)[:, None] * frequencies


def rotate(x: jax.Array, angles: jax.Array) -> jax.Array:
    """Turns the pairs (x[…, i], x[…, i + H/2]) by the angles θ[t, i].

    (a, b) → (a cos θ − b sin θ, b cos θ + a sin θ)

    The product of two features turned so depends on the difference of their positions alone. A
    rotation is linear and its transpose the rotation by −θ: JAX's transpose of this function is
    that, and keeps no more than the angles' sines and cosines. A rule written by hand reads and
    writes as many bytes in the same time, so there is none.

    Args:
      x: `[..., T, N, H]`, floating.
      angles: `[T, H/2]`, as `rotary_angles` gives them.

    Returns:
      An array like `x`; the rotation itself is computed in the wider of its dtype and float32.

    Example:
      >>> import jax.numpy as jnp
      >>> from models.rotary import rotary_angles, rotate
      >>> rotate(jnp.ones((2, 3, 4, 8)), rotary_angles(jnp.arange(3), 8)).shape
      (2, 3, 4, 8)

    Source: as for `rotary_angles`.
    """
    wide = jnp.promote_types(x.dtype, jnp.float32)
    cos, sin = (f(angles)[:, None].astype(wide) for f in (jnp.cos, jnp.sin))
    a, b = jnp.split(x.astype(wide), 2, axis=-1)
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1).astype(x.dtype)
