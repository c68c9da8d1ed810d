"""A run of LeNet's training: where it stands, and the compiled functions that take it on."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh

from scripts.training import mesh
from scripts.training.data import Dataset
from scripts.training.epoch_metrics import EpochMetrics
from scripts.training.lenet_config import Config
from scripts.training.step import (
    AdvanceFn,
    AugmentFn,
    EvaluateFn,
    LossFn,
    Position,
    StepFn,
    make_advance,
    make_evaluate,
    make_loss_fn,
    make_random_shift,
    make_train_step,
)

EVALUATION_BATCH = 500


class Run(NamedTuple):
    """A training that is about to start or to go on, and the epochs that it has behind it."""

    directory: Path
    graphdef: nnx.GraphDef
    position: Position
    history: list[EpochMetrics]
    devices: Mesh | None = None  # None: one, without a mesh


class Parts(NamedTuple):
    """What a training step is made of."""

    loss_fn: LossFn
    step: StepFn
    augment: AugmentFn


class Program(NamedTuple):
    """The compiled functions of a training."""

    advance: AdvanceFn
    evaluate: EvaluateFn


def make_parts(
    config: Config,
    dataset: Dataset,
    graphdef: nnx.GraphDef,
    optimizer: optax.GradientTransformation,
    devices: Mesh | None = None,
) -> Parts:
    """The loss, the step and the augmentation that the flags ask for."""
    loss_fn = make_loss_fn(graphdef, config.rules, config.dtype)
    step = make_train_step(
        loss_fn,
        optimizer,
        accumulate=config.accumulate,
        skip_nonfinite=config.skip_nonfinite,
        parallel=lambda mean: mean if devices is None else mesh.data_parallel(mean, devices),
    )
    return Parts(loss_fn, step, make_random_shift(config.max_shift, dataset.preprocessing.ground))


def compile_program(config: Config, dataset: Dataset, run: Run, parts: Parts) -> Program:
    """The steps and the evaluation. The steps leave their position's buffers as they are: a
    checkpoint is written from them meanwhile, and what breaks can be looked at again."""
    everywhere = None if run.devices is None else mesh.replicated(run.devices)
    evaluate = make_evaluate(run.graphdef, EVALUATION_BATCH)
    if run.devices is not None:
        evaluate = mesh.data_parallel_evaluate(evaluate, run.devices)
    advance = make_advance(parts.step, config.batch_size, parts.augment)
    return Program(
        jax.jit(advance, out_shardings=everywhere)
        .lower(run.position, np.int32(0), *dataset.train)
        .compile(),
        jax.jit(evaluate, out_shardings=everywhere)
        .lower(run.position.state.params, *dataset.test)
        .compile(),
    )
