"""The registry of the project's operations: for each one example inputs, a reference written
without a custom rule, and its kinks; and the models' losses. Tests, comparisons and the README's
tables read it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.typing import DTypeLike

import jaxfn
import models


@dataclasses.dataclass(frozen=True)
class Case:
    """An operation at example inputs.

    Attributes:
      name: unique, the operation's name first.
      operation: function of arrays alone.
      reference: the same function in plain JAX, without a custom rule and by another way.
      shapes: the shapes of the arrays that it takes.
      batched: for each array, whether its first dimension is the batch.
      kinks: where the operation has no derivative, and the convention there.
      timed_shapes: the shapes at which it is timed, large enough that there is work to do; by
        default `shapes`.
    """

    name: str
    operation: Callable[..., jax.Array]
    reference: Callable[..., jax.Array]
    shapes: tuple[tuple[int, ...], ...]
    batched: tuple[bool, ...]
    kinks: str = ""
    timed_shapes: tuple[tuple[int, ...], ...] = ()

    def args(self, seed: int = 0, dtype: DTypeLike = np.float32) -> tuple[jax.Array, ...]:
        """Standard normal example inputs."""
        return _draw(self.shapes, seed, dtype)

    def timed_args(
        self, batch: int | None = None, seed: int = 0, dtype: DTypeLike = np.float32
    ) -> tuple[jax.Array, ...]:
        """Standard normal inputs to time the operation at, of `batch` examples."""
        shapes = self.timed_shapes or self.shapes
        if batch is not None:
            pairs = zip(shapes, self.batched, strict=True)
            shapes = tuple((batch, *shape[1:]) if b else shape for shape, b in pairs)
        return _draw(shapes, seed, dtype)


def _draw(
    shapes: tuple[tuple[int, ...], ...], seed: int, dtype: DTypeLike
) -> tuple[jax.Array, ...]:
    rng = np.random.RandomState(seed)
    return tuple(jnp.asarray(rng.standard_normal(shape), dtype) for shape in shapes)


def linear_reference(x: jax.Array, weight: jax.Array, bias: jax.Array | None = None) -> jax.Array:
    """Σ_i x[..., i] weight[i, j] + bias[j]."""
    y = jnp.einsum("...i,ij->...j", x, weight)
    return y if bias is None else y + jnp.broadcast_to(bias, y.shape)


def relu_reference(x: jax.Array, *, grad_at_zero: float = 0.0) -> jax.Array:
    """max(x, 0), differentiated at 0 as `grad_at_zero` says."""
    at_zero = grad_at_zero * x
    return jnp.where(x > 0, x, jnp.where(x < 0, jnp.zeros_like(x), at_zero))


def conv2d_reference(
    x: jax.Array,
    kernel: jax.Array,
    bias: jax.Array | None = None,
    *,
    stride: tuple[int, int] = (1, 1),
    pads: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0)),
) -> jax.Array:
    """A matrix product for each position of the kernel, summed."""
    windows = _windows(x, kernel.shape[:2], stride, pads, 0.0)
    y = jnp.einsum("nijpc,pco->nijo", windows, kernel.reshape(-1, *kernel.shape[2:]))
    return y if bias is None else y + jnp.broadcast_to(bias, y.shape)


def max_pool2d_reference(
    x: jax.Array,
    *,
    window: tuple[int, int],
    stride: tuple[int, int],
    pads: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0)),
) -> jax.Array:
    """The element at the first position of each window's maximum."""
    windows = _windows(x, window, stride, pads, -jnp.inf)
    first = jnp.argmax(windows, axis=3, keepdims=True)
    return jnp.take_along_axis(windows, first, axis=3)[:, :, :, 0]


def relu_max_pool2d_reference(
    x: jax.Array,
    *,
    window: tuple[int, int],
    stride: tuple[int, int],
    pads: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0)),
) -> jax.Array:
    """max(0, the maximum of each window)."""
    return relu_reference(max_pool2d_reference(x, window=window, stride=stride, pads=pads))


def _windows(
    x: jax.Array,
    window: tuple[int, ...],
    stride: tuple[int, int],
    pads: tuple[tuple[int, int], tuple[int, int]],
    fill: float,
) -> jax.Array:
    """`[N, H', W', positions, C]`: what each position of the window sees, in row-major order."""
    padded = jnp.pad(x, ((0, 0), *pads, (0, 0)), constant_values=fill)
    height = (padded.shape[1] - window[0]) // stride[0] + 1
    width = (padded.shape[2] - window[1]) // stride[1] + 1
    rows = np.arange(height)[:, None] * stride[0]
    columns = np.arange(width)[None, :] * stride[1]
    views = [padded[:, rows + h, columns + w] for h in range(window[0]) for w in range(window[1])]
    return jnp.stack(views, axis=3)


def _case(name: str, operation: Any, reference: Any, *arrays: Any, **kwargs: Any) -> Case:
    shapes, batched = zip(*arrays, strict=True)
    return Case(name, operation, reference, shapes, batched, **kwargs)


_partial = functools.partial
_RELU_KINK = "0: the derivative is {} (`grad_at_zero`)"
# The sizes of LeNet's layers, and of a first layer on MNIST.
_TIMED_LINEAR = ((64, 784), (784, 512))
_TIMED_RELU = ((64, 30, 30, 6),)
_TIMED_CONV2D = ((64, 15, 15, 6), (3, 3, 6, 16))
_TIMED_POOL = ((64, 30, 30, 6),)
_POOL_KINK = "ties: the gradient goes to the first maximum in row-major order"

CASES: dict[str, Case] = {
    case.name: case
    for case in (
        _case(
            "linear",
            jaxfn.linear,
            linear_reference,
            ((4, 3), True),
            ((3, 5), False),
            ((5,), False),
            timed_shapes=(*_TIMED_LINEAR, (512,)),
        ),
        _case(
            "linear_no_bias",
            jaxfn.linear,
            linear_reference,
            ((4, 3), True),
            ((3, 5), False),
            timed_shapes=_TIMED_LINEAR,
        ),
        _case(
            "relu",
            jaxfn.relu,
            relu_reference,
            ((4, 7), True),
            kinks=_RELU_KINK.format(0),
            timed_shapes=_TIMED_RELU,
        ),
        _case(
            "relu_one_at_zero",
            _partial(jaxfn.relu, grad_at_zero=1.0),
            _partial(relu_reference, grad_at_zero=1.0),
            ((4, 7), True),
            kinks=_RELU_KINK.format(1),
            timed_shapes=_TIMED_RELU,
        ),
        _case(
            "relu_half_at_zero",
            _partial(jaxfn.relu, grad_at_zero=0.5),
            _partial(relu_reference, grad_at_zero=0.5),
            ((4, 7), True),
            kinks=_RELU_KINK.format(0.5),
            timed_shapes=_TIMED_RELU,
        ),
        _case(
            "conv2d",
            jaxfn.conv2d,
            conv2d_reference,
            ((2, 6, 5, 2), True),
            ((3, 2, 2, 3), False),
            ((3,), False),
            timed_shapes=(*_TIMED_CONV2D, (16,)),
        ),
        _case(
            "conv2d_strided",
            _partial(jaxfn.conv2d, stride=(2, 1), padding=((1, 0), (2, 1))),
            _partial(conv2d_reference, stride=(2, 1), pads=((1, 0), (2, 1))),
            ((2, 6, 5, 2), True),
            ((3, 2, 2, 3), False),
            timed_shapes=_TIMED_CONV2D,
        ),
        _case(
            "max_pool2d",
            jaxfn.max_pool2d,
            _partial(max_pool2d_reference, window=(2, 2), stride=(2, 2)),
            ((2, 6, 5, 3), True),
            kinks=_POOL_KINK,
            timed_shapes=_TIMED_POOL,
        ),
        _case(
            "max_pool2d_overlapping",
            _partial(jaxfn.max_pool2d, window=(3, 2), stride=(2, 1), padding=((1, 2), (0, 1))),
            _partial(max_pool2d_reference, window=(3, 2), stride=(2, 1), pads=((1, 2), (0, 1))),
            ((2, 6, 5, 3), True),
            kinks=_POOL_KINK,
            timed_shapes=_TIMED_POOL,
        ),
        _case(
            "relu_max_pool2d",
            jaxfn.relu_max_pool2d,
            _partial(relu_max_pool2d_reference, window=(2, 2), stride=(2, 2)),
            ((2, 6, 5, 3), True),
            kinks=_POOL_KINK + "; at a maximum of 0 the derivative is 0",
            timed_shapes=_TIMED_POOL,
        ),
    )
}


@dataclasses.dataclass(frozen=True)
class Loss:
    """A model's loss as a function of its parameters and the data.

    Attributes:
      name: unique among cases and losses.
      make: from a batch size, a dtype and a seed, the loss and its arguments, of which the first
        is differentiated with respect to.
    """

    name: str
    make: Callable[[int, DTypeLike, int], tuple[Callable[..., jax.Array], tuple[Any, ...]]]


def _lenet_loss(batch: int, dtype: DTypeLike, seed: int) -> tuple[Any, tuple[Any, ...]]:
    """The mean cross-entropy of LeNet's logits."""
    graphdef, params = nnx.split(models.LeNet(param_dtype=dtype, rngs=nnx.Rngs(seed)))
    rng = np.random.RandomState(seed)
    images = jnp.asarray(rng.standard_normal((batch, 32, 32, 1)), dtype)
    labels = jnp.asarray(rng.randint(10, size=batch))

    def lenet_loss(params: Any, images: jax.Array, labels: jax.Array) -> jax.Array:
        logits = nnx.merge(graphdef, params)(images)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    return lenet_loss, (nnx.to_pure_dict(params), images, labels)


def _regression_loss(batch: int, dtype: DTypeLike, seed: int) -> tuple[Any, tuple[Any, ...]]:
    """The sum of squared errors of the two-layer regression."""
    model = models.TwoLayerRegression(1000, 100, 10, param_dtype=dtype, rngs=nnx.Rngs(seed))
    graphdef, params = nnx.split(model)
    rng = np.random.RandomState(seed)
    x, y = (jnp.asarray(rng.standard_normal((batch, size)), dtype) for size in (1000, 10))

    def regression_loss(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        return jnp.sum(jnp.square(nnx.merge(graphdef, params)(x) - y))

    return regression_loss, (nnx.to_pure_dict(params), x, y)


LOSSES: dict[str, Loss] = {
    loss.name: loss
    for loss in (Loss("lenet_loss", _lenet_loss), Loss("regression_loss", _regression_loss))
}
