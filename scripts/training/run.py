"""A run of a training: where it stands, and the compiled functions that take it on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from scripts.training import mesh
from scripts.training.flags import TrainingFlags
from scripts.training.step import (
    AdvanceFn,
    AugmentFn,
    EvaluateFn,
    LossFn,
    Position,
    StepFn,
    make_advance,
)


class Data(Protocol):
    """What is trained on: arrays whose first dimension is that of the examples, and what the
    evaluation takes."""

    @property
    def train(self) -> tuple[jax.Array, ...]: ...
    @property
    def test(self) -> tuple[jax.Array, ...]: ...


class Run(NamedTuple):
    """A training that is about to start or to go on, and the epochs that it has behind it."""

    directory: Path
    graphdef: nnx.GraphDef
    position: Position
    history: list[Any]
    devices: Mesh | None = None  # None: one, without a mesh


class Parts(NamedTuple):
    """What a training is made of.

    Attributes:
      loss_fn: what a step differentiates.
      step: one step.
      augment: of each batch.
      evaluate: `evaluate(params, *data) -> (metrics, outputs)`, not compiled.
      summarize: `summarize(outputs, *data)` gives the same metrics.
      locate: `locate(params, *batch)` names what is first in a step not to be finite.
    """

    loss_fn: LossFn
    step: StepFn
    augment: AugmentFn
    evaluate: EvaluateFn
    summarize: Callable[..., Any]
    locate: Callable[..., str]


class Program(NamedTuple):
    """The compiled functions of a training."""

    advance: AdvanceFn
    evaluate: EvaluateFn


def compile_program(config: TrainingFlags, dataset: Data, run: Run, parts: Parts) -> Program:
    """The steps and the evaluation. The steps leave their position's buffers as they are: a
    checkpoint is written from them meanwhile, and what breaks can be looked at again."""
    everywhere = None if run.devices is None else mesh.replicated(run.devices)
    evaluate = parts.evaluate
    if run.devices is not None:
        evaluate = mesh.data_parallel_evaluate(evaluate, run.devices, parts.summarize)
    advance = make_advance(parts.step, config.batch_size, parts.augment)
    return Program(
        jax.jit(advance, out_shardings=everywhere)
        .lower(run.position, np.int32(0), *dataset.train)
        .compile(),
        jax.jit(evaluate, out_shardings=everywhere)
        .lower(run.position.state.params, *dataset.test)
        .compile(),
    )
