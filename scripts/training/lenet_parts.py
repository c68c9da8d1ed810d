"""What the training of LeNet is made of, as the flags ask for."""

from __future__ import annotations

import functools

import optax
from flax import nnx
from jax.sharding import Mesh

from scripts.training import mesh, nonfinite
from scripts.training.data import Dataset
from scripts.training.lenet_config import Config
from scripts.training.run import Parts
from scripts.training.step import (
    make_evaluate,
    make_loss_fn,
    make_random_shift,
    make_train_step,
    mean_classified,
)

EVALUATION_BATCH = 500


def make_parts(
    config: Config,
    dataset: Dataset,
    graphdef: nnx.GraphDef,
    optimizer: optax.GradientTransformation,
    devices: Mesh | None = None,
) -> Parts:
    """The loss, the step, the augmentation and the evaluation."""
    loss_fn = make_loss_fn(graphdef, config.rules, config.dtype)
    step = make_train_step(
        loss_fn,
        optimizer,
        accumulate=config.accumulate,
        skip_nonfinite=config.skip_nonfinite,
        parallel=lambda mean: mean if devices is None else mesh.data_parallel(mean, devices),
    )
    return Parts(
        loss_fn,
        step,
        make_random_shift(config.max_shift, dataset.preprocessing.ground),
        make_evaluate(graphdef, EVALUATION_BATCH),
        mean_classified,
        functools.partial(nonfinite.locate, graphdef, loss_fn, config.dtype),
    )
