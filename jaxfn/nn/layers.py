"""Flax's layers, computed by the operations."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx

import jaxfn
from jaxfn.functional._checks import REAL
from jaxfn.nn import operations

# Where a layer is asked for what the operation does not say, it does what Flax's does.

Init = TypeVar("Init", bound=Callable[..., None])


def _signature_of(init: Init) -> Callable[[Callable[..., None]], Init]:
    """Gives an `__init__` the signature of Flax's, for `inspect` and for type checkers, to which
    `functools.wraps` alone would leave no method."""
    return functools.wraps(init)  # pyright: ignore[reportReturnType]


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

    @_signature_of(nnx.Linear.__init__)
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

    @_signature_of(nnx.Conv.__init__)
    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **{"conv_general_dilated": operations.convolve, **kwargs})


class ConvTranspose(nnx.ConvTranspose):
    """`flax.nnx.ConvTranspose`, by `jaxfn.conv_transpose2d`: its arguments, parameters and results.

    With the padding "CIRCULAR", a `precision` or a `preferred_element_type`, and in three
    dimensions, it computes as Flax does.

    Args:
      args: as for `flax.nnx.ConvTranspose`.
      kwargs: as for `flax.nnx.ConvTranspose`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxfn import nn
      >>> layer = nn.ConvTranspose(64, 3, (4, 4), strides=(2, 2), rngs=nn.Rngs(0))
      >>> layer(jnp.ones((8, 16, 16, 64))).shape
      (8, 32, 32, 3)
    """

    def __call__(self, inputs: jax.Array) -> jax.Array:
        rank = len(self.kernel_size)
        mask, kernel, bias = self.mask, self.kernel[...], self.bias
        if mask is not None and mask.shape != self.kernel_shape:
            return super().__call__(inputs)  # which says what is wrong
        kernel = kernel if mask is None else kernel * mask
        arrays = inputs, kernel, None if bias is None else bias[...]
        x, kernel, bias = self.promote_dtype(arrays, dtype=self.dtype)
        steps = self._steps(x)
        if steps is None:
            return super().__call__(inputs)
        if self.transpose_kernel:
            kernel = jnp.swapaxes(kernel, -1, -2)  # Flax flips it twice
        else:
            kernel = jnp.flip(kernel, range(rank))
        ones = (1,) * (2 - rank)  # a sequence is an image of one row
        images = x.reshape(-1, *ones, *x.shape[-1 - rank :])
        kernel = kernel.reshape(*ones, *kernel.shape)
        y = jaxfn.conv_transpose2d(images, kernel, bias, **steps)
        return y.reshape(*x.shape[: -1 - rank], *y.shape[3 - rank :])

    def _steps(self, x: jax.Array) -> dict[str, Any] | None:
        asked = self.precision is not None or self.preferred_element_type is not None
        size = x.shape[-1 - len(self.kernel_size) : -1]
        if asked or x.ndim <= len(self.kernel_size) or x.dtype.name not in REAL:
            return None
        return operations.steps_of_transposed(
            size, self.kernel_size, self.strides, self.padding, self.kernel_dilation
        )


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
