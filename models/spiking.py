"""A LeNet of spiking neurons."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jax.typing import ArrayLike, DTypeLike

import jaxfn
from jaxfn.functional.surrogates import Surrogate
from models.layers import Conv2d, Linear, uniform
from models.summary import summary

# Spikes are sparse: weights within 1/√fan_in would leave most neurons below their threshold.
_GAIN = 3.0


def leaky_integrate_and_fire(
    current: jax.Array, *, decay: float = 0.9, surrogate: str | Surrogate = "fast_sigmoid"
) -> jax.Array:
    """Spikes of leaky integrate-and-fire neurons over time.

    u_t = decay · u_{t−1} + I_t − s_{t−1},  s_t = 1 where u_t > 1, else 0,  u_0 = s_0 = 0

    The membrane potential u leaks, takes up the current I and loses the threshold 1 when the neuron
    has spiked (reset by subtraction). The gradient passes through the step by `jaxfn.heaviside`'s
    surrogate, and backward through time along the membrane; the reset counts as a constant, as in
    snntorch.

    Args:
      current: [T, ...], of floating dtype: of each neuron at each time.
      decay: what is left of the membrane potential after a step of time, from 0 to 1.
      surrogate: of the step's derivative, as for `jaxfn.heaviside`.

    Returns:
      Spikes, 0 or 1, of the shape and dtype of `current`.

    Example:
      >>> import jax.numpy as jnp, models
      >>> models.spiking.leaky_integrate_and_fire(jnp.full(6, 0.5)).tolist()
      [0.0, 0.0, 1.0, 0.0, 1.0, 0.0]

    Source: Neftci, Mostafa and Zenke, "Surrogate Gradient Learning in Spiking Neural Networks",
    2019, arXiv:1901.09948; `snntorch.Leaky`.
    """

    def step(
        before: tuple[jax.Array, jax.Array], current: jax.Array
    ) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        membrane, spikes = before
        membrane = decay * membrane + current - lax.stop_gradient(spikes)
        spikes = jaxfn.heaviside(membrane - 1, surrogate)
        return (membrane, spikes), spikes

    rest = jnp.zeros_like(current[0])
    return lax.scan(step, (rest, rest), current)[1]


class SpikingLeNet(nnx.Module):
    """A small LeNet of leaky integrate-and-fire neurons: numbers pass between layers as spikes.

    [B, 32, 32, 1] → conv1 (8, 5×5, stride 2), spikes → fc1 (128), spikes → fc2 (10 · population),
    spikes → logits [B, 10]

    The image is a current that flows into conv1 at each of `steps` times (direct encoding). A logit
    is the number of spikes of all its class's neurons over all times, divided by `population`
    (rate code with a population for each class). No real parameter comes after the last spike:
    without `jaxfn.heaviside`'s surrogate every gradient is exactly zero.

    The layers come one after the other, each over all times: no layer feeds back, so that only the
    membranes need `jax.lax.scan`.

    Args:
      steps: of time.
      population: neurons for each class.
      decay: of the membrane potential in a step of time.
      surrogate: as for `jaxfn.heaviside`.
      param_dtype: dtype of the parameters.
      rngs: stream `params` draws them.

    Example:
      >>> import jax.numpy as jnp, models
      >>> from flax import nnx
      >>> models.SpikingLeNet(rngs=nnx.Rngs(0))(jnp.ones((8, 32, 32, 1))).shape
      (8, 10)

    Source: Neftci, Mostafa and Zenke, "Surrogate Gradient Learning in Spiking Neural Networks",
    2019, arXiv:1901.09948.
    """

    def __init__(
        self,
        *,
        steps: int = 8,
        population: int = 8,
        decay: float = 0.9,
        surrogate: str | Surrogate = "fast_sigmoid",
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        def linear(n: int, m: int) -> Linear:
            init = uniform(_GAIN / math.sqrt(n))
            zeros = jax.nn.initializers.zeros
            return Linear(
                n, m, kernel_init=init, bias_init=zeros, param_dtype=param_dtype, rngs=rngs
            )

        self.conv1 = Conv2d(1, 8, (5, 5), stride=2, param_dtype=param_dtype, rngs=rngs)
        self.fc1 = linear(14 * 14 * 8, 128)
        self.fc2 = linear(128, 10 * population)
        self.steps, self.decay, self.surrogate = steps, decay, surrogate

    def __call__(self, x: ArrayLike) -> jax.Array:
        current = self.conv1(x)
        h = self._spikes(jnp.broadcast_to(current, (self.steps, *current.shape)))
        h = h.reshape(*h.shape[:2], math.prod(h.shape[2:]))
        h = self._spikes(self.fc1(h))
        h = self._spikes(self.fc2(h))
        votes = h.sum(0).reshape(h.shape[1], 10, h.shape[2] // 10)
        return votes.mean(-1)

    def _spikes(self, current: jax.Array) -> jax.Array:
        return leaky_integrate_and_fire(current, decay=self.decay, surrogate=self.surrogate)

    def __str__(self) -> str:
        return summary(self, jnp.zeros((1, 32, 32, 1), self.conv1.kernel.dtype))
