"""A LeNet whose weights and activations have few bits."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import ArrayLike, DTypeLike

import jaxfn
from models.summary import summary

_OUTER_BITS = 8  # of the first and of the last layer
_MEAN = 1 / math.sqrt(2 * math.pi)  # of a rectified standard normal; half of |standard normal|'s


class Quantizer(nnx.Module):
    """`jaxfn.lsq` with its parameter, the distance between the levels.

    Args:
      sample: what the step size starts from: 2 mean|sample| / √Qp, where Qp is the greatest level.
      bits: of a value: it has 2^bits levels.
      signed: whether the levels are on both sides of 0.
      per_example: whether what comes is a batch of activations rather than a layer's weights: the
        gradient of the step size is then scaled by the features of one example, as in the paper,
        whatever the size of the batch.

    Source: Esser et al., "Learned Step Size Quantization", 2020, arXiv:1902.08153.
    """

    def __init__(self, sample: jax.Array, *, bits: int, signed: bool, per_example: bool):
        self.step_size = nnx.Param(jaxfn.lsq_init(sample, bits=bits, signed=signed))
        self.bits, self.signed, self.per_example = bits, signed, per_example

    def __call__(self, x: jax.Array) -> jax.Array:
        greatest = 2 ** (self.bits - 1) - 1 if self.signed else 2**self.bits - 1
        elements = math.prod(x.shape[1:] if self.per_example else x.shape)
        return jaxfn.lsq(
            x,
            self.step_size[...],
            bits=self.bits,
            signed=self.signed,
            grad_scale=1 / math.sqrt(elements * greatest),
        )


class Quantized(nnx.Module):
    """What the quantised layers share: latent kernel, real bias, and the two quantisers.

    The kernel is drawn uniformly within √(6/fan_in) (He), the bias starts at 0: activations are
    then about as large as the step size of the input expects, which starts from standard normal
    values, rectified or not.

    Args:
      shape: of the kernel, the output's features last.
      bits: of the kernel and of the input.
      signed: whether the input has both signs.
      param_dtype: dtype of the parameters.
      rngs: stream `params` draws the kernel.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        bits: int,
        signed: bool,
        param_dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        kernel = jax.nn.initializers.he_uniform()(rngs.params(), shape, param_dtype)
        sample = jnp.full(1, 2 * _MEAN if signed else _MEAN, param_dtype)
        self.kernel = nnx.Param(kernel)
        self.bias = nnx.Param(jnp.zeros(shape[-1:], param_dtype))
        self.weight = Quantizer(kernel, bits=bits, signed=True, per_example=False)
        self.input = Quantizer(sample, bits=bits, signed=signed, per_example=True)


class QuantizedConv2dReluMaxPool2d(Quantized):
    """y = relu_max_pool(conv(lsq(x), lsq(kernel)) + bias); arguments as for `Quantized`, the shape
    that of the kernel, [height, width, in, out]."""

    def __call__(self, x: ArrayLike) -> jax.Array:
        x, kernel = self.input(jnp.asarray(x)), self.weight(self.kernel[...])
        return jaxfn.conv2d_relu_max_pool2d(x, kernel, self.bias[...])


class QuantizedLinear(Quantized):
    """y = lsq(x) lsq(kernel) + bias; arguments as for `Quantized`, the shape [in, out]."""

    def __call__(self, x: ArrayLike) -> jax.Array:
        x, kernel = self.input(jnp.asarray(x)), self.weight(self.kernel[...])
        return jaxfn.linear(x, kernel, self.bias[...])


class QuantizedLeNet(nnx.Module):
    """LeNet with weights and activations of few bits, quantised with learned step sizes.

    [B, 32, 32, 1] → conv1 (6) → conv2 (16) → fc1 (120) → fc2 (84) → fc3 (10) → logits [B, 10]

    The layers of `models.LeNet`, each behind two quantisers: y = layer(lsq(x, sₓ), lsq(w, s_w)), so
    that its products and sums could be those of integers. conv1 and fc3 have 8 bits, as in the
    paper, or `bits` if that is more; biases are real. The ten step sizes are parameters like the
    rest: those of the weights start from the weights, those of the activations from standard
    normal images (images are normalised) and rectified standard normal features.

    Args:
      bits: of weights and activations between conv1 and fc3, from 2 to 16.
      param_dtype: dtype of the parameters.
      rngs: stream `params` draws the latent weights.

    Raises:
      TypeError: if `bits` is no int.
      ValueError: if `bits` is not from 2 to 16.

    Example:
      >>> import jax, jax.numpy as jnp, models
      >>> from flax import nnx
      >>> model = models.QuantizedLeNet(bits=2, rngs=nnx.Rngs(0))
      >>> jax.jit(model)(jnp.ones((8, 32, 32, 1))).shape
      (8, 10)

    Source: Esser, McKinstry, Bablani, Appuswamy and Modha, "Learned Step Size Quantization", 2020,
    arXiv:1902.08153.
    """

    def __init__(self, bits: int = 4, *, param_dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs):
        def conv(n: int, m: int, bits: int, signed: bool) -> QuantizedConv2dReluMaxPool2d:
            return QuantizedConv2dReluMaxPool2d(
                (3, 3, n, m), bits=bits, signed=signed, param_dtype=param_dtype, rngs=rngs
            )

        def linear(n: int, m: int, bits: int) -> QuantizedLinear:
            return QuantizedLinear(
                (n, m), bits=bits, signed=False, param_dtype=param_dtype, rngs=rngs
            )

        self.conv2 = conv(6, 16, bits, signed=False)  # first of all: it checks `bits`
        outer = max(bits, _OUTER_BITS)
        self.conv1 = conv(1, 6, outer, signed=True)
        self.fc1 = linear(6 * 6 * 16, 120, bits)
        self.fc2 = linear(120, 84, bits)
        self.fc3 = linear(84, 10, outer)

    def __call__(self, x: ArrayLike) -> jax.Array:
        h = self.conv2(self.conv1(x))
        h = h.reshape(h.shape[0], math.prod(h.shape[1:]))
        h = jaxfn.relu(self.fc1(h))
        h = jaxfn.relu(self.fc2(h))
        return self.fc3(h)

    def __str__(self) -> str:
        return summary(self, jnp.zeros((1, 32, 32, 1), self.conv1.kernel.dtype))
