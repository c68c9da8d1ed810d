"""The two-layer regression: its flags, its data, and all its steps as one program."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax import lax

import jaxfn
import models
from scripts.command.device import Platform
from scripts.training.step import Params, Rules, split_model


@dataclasses.dataclass(frozen=True)
class Config:
    """Flags of `train_regression`."""

    samples: int = 64
    """Number of samples, all of them in each step."""
    inputs: int = 1000
    """Size of a sample."""
    hidden: int = 100
    """Size of the hidden layer."""
    outputs: int = 10
    """Size of a target."""
    learning_rate: float = 1e-6
    """Of plain gradient descent."""
    steps: int = 500
    """Number of steps."""
    log_every: int = 100
    """Print the loss at intervals of this many steps, and of the first and the last step."""
    seed: int = 0
    """Of the data and the weights."""
    rules: Rules = "custom"
    """The hand-written gradients, or JAX's own of the same operations."""
    platform: Platform | None = None
    """By default the fastest that JAX finds."""
    run_dir: Path = Path("runs")
    """Where the folder of the run goes."""
    name: str | None = None
    """Name of that folder; by default `regression` and the time."""
    quiet: bool = False
    """Show nothing but errors."""


@functools.partial(jax.jit, static_argnames=("graphdef", "steps", "rules"))
def train(
    graphdef: nnx.GraphDef,
    params: Params,
    x: jax.Array,
    y: jax.Array,
    learning_rate: float | jax.Array,
    steps: int,
    rules: Rules = "custom",
) -> tuple[Params, jax.Array]:
    """Gradient descent on the sum of squared errors, all steps in one scan.

    Args:
      graphdef: structure of the model.
      params: its parameters; their dtype is that of the training.
      x: inputs, `[samples, d_in]`.
      y: targets, `[samples, d_out]`.
      learning_rate: scalar.
      steps: number of steps.
      rules: "custom" or "autodiff".

    Returns:
      The parameters after the last step, and the losses `[steps]`, each before its step.
    """

    # The loop carries the weights as [out, in]: their gradient is then ȳᵀx, with the long rows of
    # x, which takes a CPU less time than xᵀȳ.
    def loss_fn(transposed: Params) -> jax.Array:
        params = jax.tree.map(jnp.transpose, transposed)
        return jnp.sum(jnp.square(nnx.merge(graphdef, params)(x) - y))

    loss_and_grad = jax.value_and_grad(loss_fn if rules == "custom" else jaxfn.autodiff(loss_fn))
    optimizer = optax.sgd(learning_rate)

    def step(carry: tuple[Params, optax.OptState], _: None):
        transposed, opt_state = carry
        loss, grads = loss_and_grad(transposed)
        updates, opt_state = optimizer.update(grads, opt_state)
        return (optax.apply_updates(transposed, updates), opt_state), loss

    transposed = jax.tree.map(jnp.transpose, params)
    (transposed, _), losses = lax.scan(step, (transposed, optimizer.init(transposed)), length=steps)
    return jax.tree.map(jnp.transpose, transposed), losses


def make_problem(config: Config) -> tuple[nnx.GraphDef, Params, jax.Array, jax.Array]:
    """The model's structure and parameters, inputs and targets, all drawn standard normal."""
    model_key, x_key, y_key = jax.random.split(jax.random.key(config.seed), 3)
    model = models.TwoLayerRegression(
        config.inputs, config.hidden, config.outputs, rngs=nnx.Rngs(params=model_key)
    )
    x = jax.random.normal(x_key, (config.samples, config.inputs))
    y = jax.random.normal(y_key, (config.samples, config.outputs))
    return *split_model(model), x, y
