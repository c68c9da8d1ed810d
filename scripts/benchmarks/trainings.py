"""Whole trainings beside their peers': an epoch of LeNet on the digits, and the regression."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import models
from scripts.benchmarks import flax_peer
from scripts.benchmarks.lenet import (
    CHANNELS_LAST,
    FLAX,
    OURS,
    PYTORCH,
    WITHOUT_RULES,
    is_pytorch,
    why_no_pytorch,
)
from scripts.benchmarks.timing import Contestant, Effort, Row, add_speed, measure
from scripts.training import lenet_config
from scripts.training.data import Dataset, load
from scripts.training.lenet_parts import make_parts
from scripts.training.regression import Config, make_problem, train
from scripts.training.step import (
    AugmentFn,
    Metrics,
    Rules,
    StepFn,
    TrainState,
    make_advance,
    make_random_shift,
    mean_metrics,
    start,
)

EpochFn = Callable[[TrainState, jax.Array, jax.Array, jax.Array], tuple[TrainState, Metrics]]


def regression(effort: Effort) -> Iterator[list[Row]]:
    """The 500 steps of the two-layer regression, losses included, from the same float32 data and
    weights as PyTorch's original loop."""
    config = Config(seed=effort.seed)
    graphdef, params, x, y = make_problem(config)
    rate, steps = config.learning_rate, config.steps

    def ours(rules: Rules) -> Callable[[], object]:
        return lambda: train(graphdef, params, x, y, rate, steps, rules)

    def pytorch() -> Contestant:
        if note := why_no_pytorch():
            return Contestant(None, note=note)
        from scripts.benchmarks import pytorch_peer

        arrays = [np.array(a) for a in (x, y, params["fc1"]["kernel"], params["fc2"]["kernel"])]
        return Contestant(lambda: pytorch_peer.train_regression(*arrays, rate=rate, steps=steps))

    contestants = {
        OURS: Contestant(ours("custom")),
        WITHOUT_RULES: Contestant(ours("autodiff")),
        PYTORCH: pytorch(),
    }
    rows = measure(f"{steps} steps", contestants, effort)
    yield add_speed(rows, "speed_against_pytorch", is_pytorch)


def make_epoch(step: StepFn, batch_size: int, augment: AugmentFn) -> EpochFn:
    """A whole epoch: `epoch(state, key, images, labels) -> (state, metrics)`, the metrics means
    over the steps; `make_advance` from its first step to its last."""
    advance = make_advance(step, batch_size, augment)

    def epoch(
        state: TrainState, key: jax.Array, images: jax.Array, labels: jax.Array
    ) -> tuple[TrainState, Metrics]:
        stop = jnp.int32(len(images) // batch_size)
        position, _ = advance(start(state, key), stop, images, labels)
        return position.state, mean_metrics(position)

    return epoch


def compile_epoch(
    config: lenet_config.Config,
    dataset: Dataset,
    graphdef: nnx.GraphDef,
    optimizer: optax.GradientTransformation,
    state: TrainState,
) -> EpochFn:
    """An epoch of `train_lenet`, which takes over the buffers of its state."""
    parts = make_parts(config, dataset, graphdef, optimizer)
    epoch = make_epoch(parts.step, config.batch_size, parts.augment)
    _, key = lenet_config.keys(config)
    return jax.jit(epoch, donate_argnums=0).lower(state, key, *dataset.train).compile()


class _Epochs:
    """Epoch after epoch, each from where the last one ended: the program takes over the buffers of
    its state."""

    def __init__(self, epoch: EpochFn, state: TrainState, *data: Any):
        self._epoch, self._data = epoch, data
        self._state = jax.tree.map(jnp.copy, state)

    def __call__(self) -> object:
        self._state, metrics = self._epoch(self._state, *self._data)
        return metrics


def epoch(effort: Effort) -> Iterator[list[Row]]:
    """An epoch of `train_lenet` on the digits, everything as by default."""
    config = lenet_config.Config(seed=effort.seed)
    dataset = load(config.dataset)
    images = len(dataset.train.labels)
    optimizer = lenet_config.make_optimizer(config, config.epochs * (images // config.batch_size))
    graphdef, state = lenet_config.initial_state(config, optimizer)
    _, key = lenet_config.keys(config)
    shift = make_random_shift(config.max_shift, dataset.preprocessing.ground)
    plain = make_epoch(flax_peer.make_train_step(optimizer), config.batch_size, shift)
    epochs = {
        OURS: compile_epoch(config, dataset, graphdef, optimizer, state),
        WITHOUT_RULES: compile_epoch(
            dataclasses.replace(config, rules="autodiff"), dataset, graphdef, optimizer, state
        ),
        FLAX: jax.jit(plain, donate_argnums=0),
    }
    contestants = {
        name: Contestant(_Epochs(epoch, state, key, *dataset.train))
        for name, epoch in epochs.items()
    }
    weights = models.lenet.to_torch(nnx.merge(graphdef, state.params))
    contestants |= _pytorch_epochs(config, dataset, weights)
    rows = measure(f"{images} images, batch {config.batch_size}", contestants, effort)
    rows = add_speed(rows, "speed_against_flax", lambda row: row.contestant == FLAX)
    yield add_speed(rows, "speed_against_pytorch", is_pytorch)


def _pytorch_epochs(
    config: lenet_config.Config, dataset: Dataset, weights: Mapping[str, np.ndarray]
) -> dict[str, Contestant]:
    if note := why_no_pytorch():
        return dict.fromkeys((PYTORCH, CHANNELS_LAST), Contestant(None, note=note))
    from scripts.benchmarks import pytorch_peer

    images, labels = pytorch_peer.batch(*map(np.asarray, dataset.train))
    sgd = pytorch_peer.Sgd(
        lenet_config.learning_rate(config),
        config.momentum,
        config.weight_decay,
        config.epochs * (len(labels) // config.batch_size),
    )

    def contestant(channels_last: bool) -> Contestant:
        step = pytorch_peer.make_train_step(weights, sgd, channels_last=channels_last)
        ground = dataset.preprocessing.ground
        return Contestant(
            pytorch_peer.make_epoch(
                step, images, labels, config.batch_size, config.max_shift, ground
            )
        )

    return {PYTORCH: contestant(False), CHANNELS_LAST: contestant(True)}
