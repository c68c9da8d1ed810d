"""Two-layer regression."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import ArrayLike, DTypeLike

import jaxfn
from models.layers import Linear
from models.summary import summary


class TwoLayerRegression(nnx.Module):
    """Two linear layers without bias and a ReLU between them, the weights standard normal.

    y = max(x kernel₁, 0) kernel₂

    The ReLU's gradient at 0 is 1: the convention of the PyTorch original, whose rule zeroes the
    gradient where its input is negative.

    Args:
      d_in: size of the input.
      hidden: size of the hidden layer.
      d_out: size of the output.
      param_dtype: dtype of the parameters.
      rngs: stream `params` draws the parameters.

    Example:
      >>> import jax.numpy as jnp, models
      >>> from flax import nnx
      >>> models.TwoLayerRegression(1000, 100, 10, rngs=nnx.Rngs(0))(jnp.ones((64, 1000))).shape
      (64, 10)
    """

    def __init__(
        self,
        d_in: int,
        hidden: int,
        d_out: int,
        *,
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        normal = jax.nn.initializers.normal(stddev=1.0)

        def linear(n: int, m: int) -> Linear:
            return Linear(
                n, m, use_bias=False, kernel_init=normal, param_dtype=param_dtype, rngs=rngs
            )

        self.fc1 = linear(d_in, hidden)
        self.fc2 = linear(hidden, d_out)

    def __call__(self, x: ArrayLike) -> jax.Array:
        return self.fc2(jaxfn.relu(self.fc1(x), grad_at_zero=1.0))

    def __str__(self) -> str:
        return summary(self, jnp.zeros((1, self.fc1.kernel.shape[0]), self.fc1.kernel.dtype))
