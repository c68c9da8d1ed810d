"""Trains the two-layer regression: the experiment with which hand-written gradients are taught.

    python -m scripts.train_regression

64 samples, 1000 → 100 → 10 units without bias, data and weights standard normal, the sum of
squared errors, 500 steps of gradient descent in one compiled scan. It leaves `runs/<name>/` with
config.json, metrics.jsonl and loss.png.

Source: PyTorch's tutorial "Learning PyTorch with Examples", 2017.
"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import jax
import numpy as np

from scripts.command import run_directory
from scripts.command.device import environment, select_platform
from scripts.command.program import UserError, check, run_program
from scripts.training.plots import plot_loss
from scripts.training.regression import Config, make_problem, train

PROGRAM = "train_regression"


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
