"""Trains the two-layer regression: the experiment with which hand-written gradients are taught.

    python -m scripts.train_regression

64 samples, 1000 → 100 → 10 units without bias, data and weights standard normal, the sum of
squared errors, 500 steps of gradient descent in one compiled scan. It leaves `runs/<name>/` with
config.json, metrics.jsonl and loss.png.

Source: PyTorch's tutorial "Learning PyTorch with Examples", 2017.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import lax

import jaxfn
import models
from scripts.command import run_directory
from scripts.command.device import Platform, environment, select_platform
from scripts.command.program import UserError, check, run_program
from scripts.training.plots import plot_loss
from scripts.training.step import Params, Rules, split_model

PROGRAM = "train_regression"


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
    """Print the loss of every so-manieth step, and of the first and the last."""
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


@dataclasses.dataclass(frozen=True)
class Result:
    """What a training came to.

    Attributes:
      losses: of each step, before its update.
      seconds: of all steps, compilation left out.
      directory: the folder of the run.
    """

    losses: np.ndarray
    seconds: float
    directory: Path


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


def main(config: Config) -> Result:
    """Trains the regression and leaves the folder of the run.

    Raises:
      UserError: if a flag is wrong, or the loss is no longer finite.
    """
    _check_config(config)
    select_platform(config.platform)
    directory = run_directory.create(config.run_dir, config.name, "regression")
    run_directory.write_config(directory, program=PROGRAM, config=config, environment=environment())
    graphdef, params, x, y = make_problem(config)
    program = train.lower(
        graphdef, params, x, y, config.learning_rate, steps=config.steps, rules=config.rules
    ).compile()
    start = time.perf_counter()
    _, losses = jax.block_until_ready(program(params, x, y, config.learning_rate))
    result = Result(np.asarray(losses), time.perf_counter() - start, directory)
    _check_finite(result.losses, config)
    run_directory.append_metrics(
        directory, *({"step": i, "loss": float(loss)} for i, loss in enumerate(result.losses))
    )
    plot_loss(directory / "loss.png", result.losses)
    if not config.quiet:
        _show(config, result)
    return result


def _check_config(config: Config) -> None:
    for name in ("samples", "inputs", "hidden", "outputs", "steps", "log_every"):
        flag, value = name.replace("_", "-"), getattr(config, name)
        check(value >= 1, f"--{flag}: expected at least 1, got {value}")
    rate = config.learning_rate
    check(0 < rate < float("inf"), f"--learning-rate: expected > 0, got {rate}")
    check(0 <= config.seed < 2**32, f"--seed: expected 0 to 2³² - 1, got {config.seed}")


def _check_finite(losses: np.ndarray, config: Config) -> None:
    wrong = np.flatnonzero(~np.isfinite(losses))
    if wrong.size:
        raise UserError(
            f"step {wrong[0]}: expected a finite loss, got {losses[wrong[0]]}: "
            f"try a lower --learning-rate than {config.learning_rate:g}"
        )


def _show(config: Config, result: Result) -> None:
    last = config.steps - 1
    for step in sorted({*range(0, config.steps, config.log_every), last}):
        print(f"step {step:4}   loss {result.losses[step]:.6g}")
    print(
        f"{config.steps} steps in {result.seconds:.3f} s on {jax.devices()[0].device_kind}, "
        f"{config.rules} rules → {result.directory}"
    )


if __name__ == "__main__":
    run_program(main, Config, __doc__)
