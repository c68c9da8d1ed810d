"""Layers: Flax NNX modules that hold parameters and call the functional API."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import ArrayLike, DTypeLike

import jaxfn
from jaxfn.functional._convolutions.arguments import Padding

Initializer = jax.nn.initializers.Initializer


def uniform(bound: float) -> Initializer:
    """Initialiser: uniform on [-bound, bound)."""

    def init(key, shape, dtype=jnp.float32, out_sharding=None) -> jax.Array:
        return jax.random.uniform(
            key, shape, dtype, minval=-bound, maxval=bound, out_sharding=out_sharding
        )

    return init


def fan_in_bound(fan_in: int) -> float:
    """1/√fan_in: the bound within which PyTorch draws a layer's kernel and bias by default."""
    return 1 / math.sqrt(fan_in)


class Linear(nnx.Module):
    """`jaxfn.linear` with its parameters.

    y = x kernel + bias

    Args:
      in_features: size of the input's last dimension.
      out_features: size of the output's last dimension.
      use_bias: whether there is a bias; without one `bias` is None.
      kernel_init: draws `kernel`, `[in_features, out_features]`; by default uniform(-0.1, 0.1).
      bias_init: draws `bias`, `[out_features]`, likewise.
      param_dtype: dtype of the parameters.
      rngs: stream `params` draws the parameters.

    Example:
      >>> import jax.numpy as jnp, models
      >>> from flax import nnx
      >>> models.Linear(20, 30, rngs=nnx.Rngs(0))(jnp.ones((128, 20))).shape
      (128, 30)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        use_bias: bool = True,
        kernel_init: Initializer = uniform(0.1),  # noqa: B008 (immutable)
        bias_init: Initializer = uniform(0.1),  # noqa: B008 (immutable)
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        shape = (in_features, out_features)
        self.kernel = nnx.Param(kernel_init(rngs.params(), shape, param_dtype))
        self.bias = (
            nnx.Param(bias_init(rngs.params(), (out_features,), param_dtype)) if use_bias else None
        )

    def __call__(self, x: ArrayLike) -> jax.Array:
        return jaxfn.linear(x, self.kernel[...], None if self.bias is None else self.bias[...])


class Conv2d(nnx.Module):
    """`jaxfn.conv2d` with its parameters, drawn as PyTorch does by default: uniform within
    1/√fan_in, where fan_in = kernel height · kernel width · in_features.

    Args:
      in_features: channels of the input.
      out_features: channels of the output.
      kernel_size: (height, width) of the kernel.
      stride: as for `jaxfn.conv2d`.
      padding: as for `jaxfn.conv2d`.
      param_dtype: dtype of the parameters.
      rngs: stream `params` draws the parameters.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: tuple[int, int],
        *,
        stride: int | Sequence[int] = 1,
        padding: Padding = "VALID",
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        init = uniform(fan_in_bound(math.prod(kernel_size) * in_features))
        shape = (*kernel_size, in_features, out_features)
        self.kernel = nnx.Param(init(rngs.params(), shape, param_dtype))
        self.bias = nnx.Param(init(rngs.params(), (out_features,), param_dtype))
        self.stride = stride
        self.padding: Padding = padding

    def __call__(self, x: ArrayLike) -> jax.Array:
        return jaxfn.conv2d(
            x, self.kernel[...], self.bias[...], stride=self.stride, padding=self.padding
        )


class Conv2dReluMaxPool2d(Conv2d):
    """`jaxfn.conv2d_relu_max_pool2d` with its parameters, those of `Conv2d`.

    Args:
      window: size of the pooling's window, as for `jaxfn.conv2d_relu_max_pool2d`.
      others: as for `Conv2d`.

    Example:
      >>> import jax.numpy as jnp, models
      >>> from flax import nnx
      >>> layer = models.Conv2dReluMaxPool2d(1, 6, (3, 3), rngs=nnx.Rngs(0))
      >>> layer(jnp.ones((8, 32, 32, 1))).shape
      (8, 15, 15, 6)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: tuple[int, int],
        *,
        window: int | Sequence[int] = 2,
        stride: int | Sequence[int] = 1,
        padding: Padding = "VALID",
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        super().__init__(
            in_features,
            out_features,
            kernel_size,
            stride=stride,
            padding=padding,
            param_dtype=param_dtype,
            rngs=rngs,
        )
        self.window = window

    def __call__(self, x: ArrayLike) -> jax.Array:
        return jaxfn.conv2d_relu_max_pool2d(
            x,
            self.kernel[...],
            self.bias[...],
            stride=self.stride,
            padding=self.padding,
            window=self.window,
        )
