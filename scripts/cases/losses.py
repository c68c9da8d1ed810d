"""The models' losses, as functions of their parameters and the data."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.typing import DTypeLike

import models


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
