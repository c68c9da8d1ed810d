"""ResNet-18 in its form for CIFAR's images: over `jaxfn.nn`, or over plain Flax."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxfn import nn
from models.summary import summary

_WIDTHS = (64, 128, 256, 512)
_STRIDES = (1, 2, 2, 2)
_MOMENTUM = 0.9  # of the running statistics, as in the paper's and in PyTorch's (there 1 − 0.9)


class Block(nnx.Module):
    """Two 3×3 convolutions, each with batch norm, around which x goes as it is, or by a 1×1
    convolution with batch norm where the shape changes:

    y = relu(bn2(conv2(relu(bn1(conv1(x))))) + shortcut(x))
    """

    def __init__(self, width: int, out: int, stride: int, *, layers: Any, rngs: nnx.Rngs):
        self.conv1 = _conv(layers, width, out, 3, stride, rngs)
        self.bn1 = _norm(layers, out, rngs)
        self.conv2 = _conv(layers, out, out, 3, 1, rngs)
        self.bn2 = _norm(layers, out, rngs)
        self.downsample = nnx.List([])
        if stride != 1 or width != out:
            self.downsample.append(_conv(layers, width, out, 1, stride, rngs))
            self.downsample.append(_norm(layers, out, rngs))
        self.relu = layers.relu

    def __call__(self, x: jax.Array) -> jax.Array:
        h = self.relu(self.bn1(self.conv1(x)))
        h = self.bn2(self.conv2(h))
        for layer in self.downsample:
            x = layer(x)
        return self.relu(h + x)


class ResNet18(nnx.Module):
    """ResNet-18 for images of 32×32: a 3×3 convolution, four stages of two blocks, the mean over
    the pixels, a linear layer.

    [B, 32, 32, 3] → conv1 (64) → layer1 (64, 32×32) → layer2 (128, 16×16) → layer3 (256, 8×8)
      → layer4 (512, 4×4) → mean → fc → logits [B, num_classes]

    With 10 classes it has 11,173,962 parameters, of torchvision's names (`layer2.0.downsample.1`),
    and running means and variances as `nnx.BatchStat`. `model.train()` normalises by the batch and
    updates them, `model.eval()` normalises by them. Kernels are drawn as He et al. do, by the
    outputs that an element has a part in.

    Args:
      num_classes: size of the output.
      layers: where `Conv`, `BatchNorm`, `Linear` and `relu` come from: a module with the names and
        signatures of `flax.nnx`. With `flax.nnx` itself it is plain Flax's ResNet, with the same
        parameters.
      rngs: stream `params` draws the parameters.

    Example:
      >>> import jax.numpy as jnp, models
      >>> from flax import nnx
      >>> def logits():
      ...     return models.ResNet18(rngs=nnx.Rngs(0))(jnp.ones((8, 32, 32, 3)))
      >>> nnx.eval_shape(logits).shape
      (8, 10)

    Source: He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", 2015, with the
    first layers that are usual for CIFAR: a 3×3 kernel for 7×7, stride 1, no pooling.
    """

    def __init__(self, num_classes: int = 10, *, layers: Any = nn, rngs: nnx.Rngs):
        def stage(width: int, out: int, stride: int) -> nnx.List:
            first = Block(width, out, stride, layers=layers, rngs=rngs)
            return nnx.List([first, Block(out, out, 1, layers=layers, rngs=rngs)])

        self.conv1 = _conv(layers, 3, _WIDTHS[0], 3, 1, rngs)
        self.bn1 = _norm(layers, _WIDTHS[0], rngs)
        befores = (_WIDTHS[0], *_WIDTHS)
        self.layer1, self.layer2, self.layer3, self.layer4 = map(stage, befores, _WIDTHS, _STRIDES)
        self.fc = layers.Linear(_WIDTHS[-1], num_classes, rngs=rngs)
        self.relu = layers.relu

    def __call__(self, x: jax.Array) -> jax.Array:
        h = self.relu(self.bn1(self.conv1(x)))
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            for block in stage:
                h = block(h)
        return self.fc(h.mean((1, 2)))

    def __str__(self) -> str:
        return summary(self, jnp.zeros((1, 32, 32, 3)))


def _conv(layers: Any, width: int, out: int, size: int, stride: int, rngs: nnx.Rngs) -> Any:
    return layers.Conv(
        width,
        out,
        (size, size),
        strides=stride,
        padding=size // 2,
        use_bias=False,
        kernel_init=nnx.initializers.variance_scaling(2.0, "fan_out", "normal"),
        rngs=rngs,
    )


def _norm(layers: Any, width: int, rngs: nnx.Rngs) -> Any:
    return layers.BatchNorm(width, momentum=_MOMENTUM, rngs=rngs)
