"""Flax's layers, computed by the operations."""

from __future__ import annotations

import functools
from typing import Any

import jax
from flax import nnx

import jaxfn
from jaxfn.functional._checks import REAL
from jaxfn.nn import operations

# Where a layer is asked for what the operation does not say, it does what Flax's does.


class Linear(nnx.Linear):
    """`flax.nnx.Linear`, by `jaxfn.linear`: its arguments, parameters and results.

    With a `precision`, a `preferred_element_type`, an `out_sharding` or a `dot_general` of one's
    own it computes as Flax does.

    Args:
      args: as for `flax.nnx.Linear`.
      kwargs: as for `flax.nnx.Linear`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxfn import nn
      >>> nn.Linear(20, 30, rngs=nn.Rngs(0))(jnp.ones((128, 20))).shape
      (128, 30)
    """

    @functools.wraps(nnx.Linear.__init__)
    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **{"dot_general": operations.multiply, **kwargs})


class Conv(nnx.Conv):
    """`flax.nnx.Conv`, by `jaxfn.conv2d` and `jaxfn.conv1d`: its arguments, parameters and results.

    With an `input_dilation`, a `precision`, a `preferred_element_type`, an `out_sharding` or a
    `conv_general_dilated` of one's own, and in three dimensions, it computes as Flax does.

    Args:
      args: as for `flax.nnx.Conv`.
      kwargs: as for `flax.nnx.Conv`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxfn import nn
      >>> layer = nn.Conv(3, 64, kernel_size=(3, 3), rngs=nn.Rngs(0))
      >>> layer(jnp.ones((8, 32, 32, 3))).shape
      (8, 32, 32, 64)
    """

    @functools.wraps(nnx.Conv.__init__)
    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **{"conv_general_dilated": operations.convolve, **kwargs})


class LayerNorm(nnx.LayerNorm):
    """`flax.nnx.LayerNorm`, by `jaxfn.layer_norm`: its arguments, parameters and results.

    Over other axes than the last, with a mask or across devices it computes as Flax does.

    Args:
      args: as for `flax.nnx.LayerNorm`.
      kwargs: as for `flax.nnx.LayerNorm`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxfn import nn
      >>> nn.LayerNorm(4, rngs=nn.Rngs(0))(jnp.ones((2, 4))).tolist()
      [[0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
    """

    def __call__(self, x: jax.Array, *, mask: jax.Array | None = None) -> jax.Array:
        inputs = _promoted(self, x, mask, ("scale", "bias"))
        if inputs is None:
            return super().__call__(x, mask=mask)
        x, scale, bias = inputs
        return jaxfn.layer_norm(x, scale, bias, epsilon=self.epsilon)


class RMSNorm(nnx.RMSNorm):
    """`flax.nnx.RMSNorm`, by `jaxfn.rms_norm`: its arguments, parameters and results.

    Over other axes than the last, with a mask or across devices it computes as Flax does.

    Args:
      args: as for `flax.nnx.RMSNorm`.
      kwargs: as for `flax.nnx.RMSNorm`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxfn import nn
      >>> nn.RMSNorm(4, rngs=nn.Rngs(0))(jnp.ones((1, 4))).round(4).tolist()
      [[1.0, 1.0, 1.0, 1.0]]
    """

    def __call__(self, x: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        inputs = _promoted(self, x, mask, ("scale",))
        if inputs is None:
            return super().__call__(x, mask)
        x, scale = inputs
        return jaxfn.rms_norm(x, scale, epsilon=self.epsilon)


def _promoted(layer: Any, x: jax.Array, mask: Any, names: tuple[str, ...]) -> Any:
    """x and the parameters of these names in the dtype in which Flax computes, or None where the
    operation does not say what the layer is asked for."""
    last = (-1, x.ndim - 1)
    axes = layer.reduction_axes, layer.feature_axes
    over_last = all(
        (axis if isinstance(axis, int) else (*axis,)) in (*last, (-1,)) for axis in axes
    )
    if not over_last or mask is not None or layer.axis_name is not None:
        return None
    parameters = [getattr(layer, name) for name in names]
    values = [None if parameter is None else parameter[...] for parameter in parameters]
    promoted = layer.promote_dtype((x, *values), dtype=layer.dtype)
    return promoted if promoted[0].dtype.name in REAL and layer.epsilon > 0 else None
