"""LeNet for 32×32 images, and its weights from and to PyTorch."""

from __future__ import annotations

import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import ArrayLike, DTypeLike

import jaxfn
from models.layers import Conv2dReluMaxPool2d, Linear, fan_in_bound, uniform
from models.summary import summary

_CONVOLUTIONS = ("conv1", "conv2")
_LINEARS = ("fc1", "fc2", "fc3")


class LeNet(nnx.Module):
    """LeNet: two convolutions, each with ReLU and 2×2 max pooling, then three linear layers.

    [B, 32, 32, 1] → conv1 (6) → conv2 (16) → fc1 (120) → fc2 (84) → fc3 (10) → logits [B, 10]

    With kernels of 3×3 it has 81,194 parameters, with the original 5×5 61,706. All parameters are
    drawn as PyTorch does by default: uniform within 1/√fan_in. The feature maps are flattened in
    the order H, W, C.

    Args:
      kernel_size: height and width of the convolutions' kernels: 3 as in PyTorch's tutorial, or 5
        as in the paper.
      param_dtype: dtype of the parameters.
      rngs: stream `params` draws the parameters.

    Example:
      >>> import jax.numpy as jnp, models
      >>> from flax import nnx
      >>> models.LeNet(rngs=nnx.Rngs(0))(jnp.ones((8, 32, 32, 1))).shape
      (8, 10)

    Source: LeCun, Bottou, Bengio and Haffner, "Gradient-Based Learning Applied to Document
    Recognition", 1998, in the form of PyTorch's "Neural Networks" tutorial.
    """

    def __init__(
        self, *, kernel_size: int = 3, param_dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs
    ):
        def conv(n: int, m: int) -> Conv2dReluMaxPool2d:
            size = (kernel_size, kernel_size)
            return Conv2dReluMaxPool2d(n, m, size, param_dtype=param_dtype, rngs=rngs)

        def linear(n: int, m: int) -> Linear:
            init = uniform(fan_in_bound(n))
            return Linear(
                n, m, kernel_init=init, bias_init=init, param_dtype=param_dtype, rngs=rngs
            )

        side = _feature_side(kernel_size)
        self.conv1 = conv(1, 6)
        self.conv2 = conv(6, 16)
        self.fc1 = linear(side * side * 16, 120)
        self.fc2 = linear(120, 84)
        self.fc3 = linear(84, 10)

    def __call__(self, x: ArrayLike) -> jax.Array:
        h = self.conv2(self.conv1(x))
        h = h.reshape(h.shape[0], math.prod(h.shape[1:]))
        h = jaxfn.relu(self.fc1(h))
        h = jaxfn.relu(self.fc2(h))
        return self.fc3(h)

    def __str__(self) -> str:
        return summary(self, jnp.zeros((1, 32, 32, 1), self.conv1.kernel.dtype))


def _feature_side(kernel_size: int) -> int:
    """Height and width of the feature maps that are flattened: 6 for 3×3 kernels, 5 for 5×5."""
    after_conv1 = (32 - kernel_size + 1) // 2
    return (after_conv1 - kernel_size + 1) // 2


def from_torch(state_dict: Mapping[str, ArrayLike]) -> LeNet:
    """LeNet with the weights of its PyTorch twin.

    Kernels turn from OIHW to HWIO, linear weights from [out, in] to [in, out], and the rows of
    fc1 from PyTorch's flattening order C, H, W to H, W, C.

    Args:
      state_dict: `conv1.weight`, `conv1.bias`, …, `fc3.bias`: arrays, or CPU tensors, of floating
        dtype. The kernels' size is taken from `conv1.weight`.

    Returns:
      The model, with parameters of the arrays' dtype.

    Raises:
      ValueError: if a weight is missing, unknown, or not of the shape or dtype expected.
    """
    model = LeNet(kernel_size=_kernel_size(state_dict), rngs=nnx.Rngs(0))
    expected = {name: array.shape for name, array in to_torch(model).items()}
    if unknown := sorted(set(state_dict) - set(expected)):
        raise ValueError(f"from_torch: expected the weights of LeNet, got also {unknown}")
    for layer in (*_CONVOLUTIONS, *_LINEARS):
        weight, bias = (
            _checked(state_dict, f"{layer}.{part}", expected) for part in ("weight", "bias")
        )
        if layer == "fc1":
            side = _feature_side(model.conv1.kernel.shape[0])
            weight = weight.reshape(-1, 16, side, side).transpose(0, 2, 3, 1)
            weight = weight.reshape(weight.shape[0], -1)
        module = getattr(model, layer)
        kernel = weight.transpose(2, 3, 1, 0) if weight.ndim == 4 else weight.T
        module.kernel, module.bias = nnx.Param(jnp.asarray(kernel)), nnx.Param(jnp.asarray(bias))
    return model


def to_torch(model: LeNet) -> dict[str, np.ndarray]:
    """The weights of `model` as its PyTorch twin names and lays them out; the inverse of
    `from_torch`, exactly.

    Args:
      model: LeNet.

    Returns:
      `conv1.weight`, `conv1.bias`, …, `fc3.bias` as numpy arrays.

    Raises:
      TypeError: if `model` is not a LeNet.

    Example:
      >>> import models
      >>> from flax import nnx
      >>> models.lenet.to_torch(models.LeNet(rngs=nnx.Rngs(0)))["conv2.weight"].shape
      (16, 6, 3, 3)
    """
    if not isinstance(model, LeNet):
        raise TypeError(f"to_torch: expected a LeNet, got {type(model).__name__}")
    state_dict = {}
    for layer in (*_CONVOLUTIONS, *_LINEARS):
        module = getattr(model, layer)
        weight = np.asarray(module.kernel[...])
        if layer == "fc1":
            side = _feature_side(model.conv1.kernel.shape[0])
            weight = weight.reshape(side, side, 16, -1).transpose(2, 0, 1, 3)
            weight = weight.reshape(-1, weight.shape[-1])
        weight = weight.transpose(3, 2, 0, 1) if weight.ndim == 4 else weight.T
        state_dict[f"{layer}.weight"] = weight.copy(order="C")
        state_dict[f"{layer}.bias"] = np.array(module.bias[...])
    return state_dict


def _kernel_size(state_dict: Mapping[str, ArrayLike]) -> int:
    shape = np.shape(_entry(state_dict, "conv1.weight"))
    if len(shape) != 4 or shape[2] != shape[3] or not 1 <= shape[2] <= 9:
        raise ValueError(
            f"from_torch: expected conv1.weight [6, 1, k, k] with k in 1..9, got {list(shape)}"
        )
    return shape[2]


def _checked(
    state_dict: Mapping[str, ArrayLike], name: str, shapes: Mapping[str, tuple[int, ...]]
) -> np.ndarray:
    array = np.asarray(_entry(state_dict, name))
    if array.shape != shapes[name]:
        raise ValueError(
            f"from_torch: expected {name} {list(shapes[name])}, got {list(array.shape)}"
        )
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise ValueError(f"from_torch: expected {name} of floating dtype, got {array.dtype}")
    if jax.dtypes.canonicalize_dtype(array.dtype) != array.dtype:
        raise ValueError(
            f"from_torch: expected {name} of a dtype that JAX keeps, got {array.dtype}: enable "
            "jax_enable_x64 first"
        )
    return array


def _entry(state_dict: Mapping[str, ArrayLike], name: str) -> ArrayLike:
    if name not in state_dict:
        raise ValueError(f"from_torch: expected the weights of LeNet, {name} is missing")
    return state_dict[name]
