"""A LeNet of binary weights and binary activations."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import ArrayLike, DTypeLike

import jaxfn
from models.layers import uniform
from models.summary import summary

_STEM, _CHANNELS, _HIDDEN = 16, 16, (240, 168)


class BinaryLinear(nnx.Module):
    """A linear layer whose weights are −1 and +1.

    y = x sign(kernel) / √in_features

    `kernel` holds the latent, real weights that the training moves; `jaxfn.sign_ste` passes their
    gradient where they are within [−1, 1]. The constant factor keeps y at the scale of x.

    Args:
      in_features: size of the input's last dimension.
      out_features: size of the output's last dimension.
      param_dtype: dtype of the latent weights, drawn uniformly from [−1, 1).
      rngs: stream `params` draws them.

    Example:
      >>> import jax.numpy as jnp, models
      >>> from flax import nnx
      >>> y = models.binary.BinaryLinear(4, 2, rngs=nnx.Rngs(0))(jnp.array([[1.0, -1, 1, 1]]))
      >>> set(abs(y[0]).tolist()) <= {0.0, 1.0, 2.0}
      True

    Source: Courbariaux, Bengio and David, "BinaryConnect", 2015, arXiv:1511.00363.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        shape = (in_features, out_features)
        self.kernel = nnx.Param(uniform(1.0)(rngs.params(), shape, param_dtype))

    def __call__(self, x: ArrayLike) -> jax.Array:
        kernel = jaxfn.sign_ste(self.kernel[...])
        return jaxfn.linear(x, kernel) / math.sqrt(kernel.shape[0])


class BinaryConv2d(nnx.Module):
    """A convolution whose weights are −1 and +1; as `BinaryLinear`.

    y = conv(x, sign(kernel)) / √fan_in, where fan_in = kernel height · kernel width · in_features

    Args:
      in_features: channels of the input.
      out_features: channels of the output.
      kernel_size: (height, width) of the kernel.
      param_dtype: dtype of the latent weights, drawn uniformly from [−1, 1).
      rngs: stream `params` draws them.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: tuple[int, int],
        *,
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        shape = (*kernel_size, in_features, out_features)
        self.kernel = nnx.Param(uniform(1.0)(rngs.params(), shape, param_dtype))

    def __call__(self, x: ArrayLike) -> jax.Array:
        kernel = jaxfn.sign_ste(self.kernel[...])
        return jaxfn.conv2d(x, kernel) / math.sqrt(math.prod(kernel.shape[:-1]))


class SignActivation(nnx.Module):
    """y = sign((x − mean) / √variance + bias): −1 and +1 with thresholds that are learned.

    Mean and variance are each example's own, over all its features, as in layer normalisation.
    BinaryNet takes those of the batch; then the gradient of a batch is not the mean of its parts',
    as microbatches and several devices need it, and running averages would be a state beside the
    parameters.

    Args:
      features: size of the input's last dimension, each with its threshold −bias, which starts
        at 0.
      param_dtype: dtype of the bias.
    """

    def __init__(self, features: int, *, param_dtype: DTypeLike = jnp.float32):
        self.bias = nnx.Param(jnp.zeros(features, param_dtype))

    def __call__(self, x: jax.Array) -> jax.Array:
        x = jax.nn.standardize(x, axis=tuple(range(1, x.ndim)))
        return jaxfn.sign_ste(x + self.bias[...])


class BinaryLeNet(nnx.Module):
    """LeNet with binary weights in every layer and binary activations between them.

    [B, 32, 32, 1] → conv1 (16), pool, sign → conv2 (32), pool, sign → fc1 (240), sign →
    fc2 (168), sign → fc3 (10) → logits [B, 10]

    The kernels are of 3×3, the layers twice and more as wide as LeNet's: a binary network needs it.
    The images are real, as in BinaryNet; all weights are binary, those of the first and of the last
    layer, too, which XNOR-Net leaves real. No real parameter comes after the last sign: without
    `jaxfn.sign_ste`'s rule every gradient is exactly zero.

    Args:
      param_dtype: dtype of the parameters.
      rngs: stream `params` draws the latent weights.

    Example:
      >>> import jax, jax.numpy as jnp, models
      >>> from flax import nnx
      >>> model = models.BinaryLeNet(rngs=nnx.Rngs(0))
      >>> jax.jit(model)(jnp.ones((8, 32, 32, 1))).shape
      (8, 10)

    Source: Courbariaux, Hubara, Soudry, El-Yaniv and Bengio, "Binarized Neural Networks", 2016,
    arXiv:1602.02830; Rastegari, Ordonez, Redmon and Farhadi, "XNOR-Net", 2016, arXiv:1603.05279
    (pooling before the sign).
    """

    def __init__(self, *, param_dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs):
        def conv(n: int, m: int) -> BinaryConv2d:
            return BinaryConv2d(n, m, (3, 3), param_dtype=param_dtype, rngs=rngs)

        def linear(n: int, m: int) -> BinaryLinear:
            return BinaryLinear(n, m, param_dtype=param_dtype, rngs=rngs)

        def sign(n: int) -> SignActivation:
            return SignActivation(n, param_dtype=param_dtype)

        self.conv1, self.sign1 = conv(1, _STEM), sign(_STEM)
        self.conv2, self.sign2 = conv(_STEM, _CHANNELS), sign(_CHANNELS)
        self.fc1, self.sign3 = linear(6 * 6 * _CHANNELS, _HIDDEN[0]), sign(_HIDDEN[0])
        self.fc2, self.sign4 = linear(*_HIDDEN), sign(_HIDDEN[1])
        self.fc3 = linear(_HIDDEN[1], 10)

    def __call__(self, x: ArrayLike) -> jax.Array:
        h = self.sign1(jaxfn.max_pool2d(self.conv1(x)))
        h = self.sign2(jaxfn.max_pool2d(self.conv2(h)))
        h = h.reshape(h.shape[0], math.prod(h.shape[1:]))
        h = self.sign3(self.fc1(h))
        h = self.sign4(self.fc2(h))
        return self.fc3(h)

    def __str__(self) -> str:
        return summary(self, jnp.zeros((1, 32, 32, 1), self.conv1.kernel.dtype))
