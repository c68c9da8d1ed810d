"""The training step of a ResNet-18 for CIFAR's images beside its peers', and its convolutions, each
alone."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import jaxfn
import models
from jaxfn import nn
from scripts.benchmarks.lenet import (
    CHANNELS_LAST,
    COMPILED,
    FLAX,
    LIMIT,
    MOMENTUM,
    OURS,
    PYTORCH,
    as_limit,
    first_call,
    is_pytorch,
    matrix_product,
    why_no_pytorch,
)
from scripts.benchmarks.operations import PLAIN, normal, plain_conv2d, with_gradients
from scripts.benchmarks.timing import Contestant, Effort, Row, add_speed, carried, compiled, measure

BATCH = 128
RATE = 0.1
CLASSES = 10


@dataclasses.dataclass(frozen=True)
class Layer:
    """A convolution without a bias, with as much padding as keeps the image's size at stride 1.

    Attributes:
      size: height and width of its images.
      width: channels of its images.
      out: channels of what it gives.
      kernel: height and width of its kernel.
      count: how many there are in a ResNet-18.
      batch: images.
    """

    size: int
    width: int
    out: int
    kernel: int = 3
    stride: int = 1
    dilation: int = 1
    groups: int = 1
    count: int = 0
    batch: int = BATCH

    @property
    def padding(self) -> int:
        return self.dilation * (self.kernel // 2)

    @property
    def products(self) -> int:
        """Multiplications of a forward pass: each output's number of terms."""
        outputs = self.batch * (self.size // self.stride) ** 2 * self.out
        return outputs * self.kernel**2 * (self.width // self.groups)

    def __str__(self) -> str:
        words = [f"{self.kernel}×{self.kernel} of {self.batch}×{self.size}×{self.size}"]
        words += [f"{self.width}→{self.out}"]
        for name in ("stride", "dilation", "groups"):
            if (value := getattr(self, name)) != 1:
                words.append(f"{name} {value}")
        return ", ".join(words)


OF_RESNET = (
    Layer(32, 3, 64, count=1),
    Layer(32, 64, 64, count=4),
    Layer(32, 64, 128, stride=2, count=1),
    Layer(32, 64, 128, kernel=1, stride=2, count=1),
    Layer(16, 128, 128, count=3),
    Layer(16, 128, 256, stride=2, count=1),
    Layer(16, 128, 256, kernel=1, stride=2, count=1),
    Layer(8, 256, 256, count=3),
    Layer(8, 256, 512, stride=2, count=1),
    Layer(8, 256, 512, kernel=1, stride=2, count=1),
    Layer(4, 512, 512, count=3),
)
OTHERS = (
    Layer(32, 64, 64, groups=64),
    Layer(32, 64, 64, groups=4),
    Layer(32, 64, 64, dilation=2),
    Layer(32, 64, 64, kernel=1),
    Layer(224, 3, 64, kernel=7, stride=2, batch=16),
)


class State(NamedTuple):
    """What a step changes: parameters, running means and variances, and the optimiser's."""

    params: nnx.State
    statistics: nnx.State
    opt_state: optax.OptState


def training_flops(batch: int) -> int:
    """Floating point operations of a training step's products, as `lenet.training_flops` counts
    them."""
    last = batch * OF_RESNET[-1].out * CLASSES
    forward = last + sum(layer.count * layer.products * batch // BATCH for layer in OF_RESNET)
    return 2 * (3 * forward - OF_RESNET[0].products * batch // BATCH)


def resnet(effort: Effort, compile_seconds: float) -> Iterator[list[Row]]:
    """The step, and the forward pass and both gradients of each convolution."""
    yield from steps(effort, compile_seconds)
    yield from convolutions(effort, (*OF_RESNET, *OTHERS))


def steps(effort: Effort, compile_seconds: float, batch: int = BATCH) -> Iterator[list[Row]]:
    """A training step: forward, backward, SGD with momentum, the batch's statistics carried on."""
    optimizer = optax.sgd(RATE, MOMENTUM)
    state, data = problem(batch, effort.seed, optimizer)
    contestants = {
        name: carried(make_train_step(layers, optimizer), state, *data)
        for name, layers in ((OURS, nn), (FLAX, nnx))
    }
    contestants |= _pytorch_steps(state, data, compile_seconds)
    contestants[LIMIT] = matrix_product(effort.seed)
    rows = measure(f"step, batch {batch}", contestants, effort)
    rows = [as_limit(row, training_flops(batch)) for row in rows]
    rows = add_speed(rows, "speed_against_flax", lambda row: row.contestant == FLAX)
    rows = add_speed(rows, "speed_against_pytorch", is_pytorch)
    yield add_speed(rows, "share_of_limit", lambda row: row.contestant == LIMIT)


def problem(
    batch: int, seed: int, optimizer: optax.GradientTransformation
) -> tuple[State, tuple[jax.Array, jax.Array]]:
    """The state before the first step, random images and labels."""
    model = models.ResNet18(CLASSES, rngs=nnx.Rngs(seed))
    _, params, statistics = nnx.split(model, nnx.Param, nnx.BatchStat)
    rng = np.random.RandomState(seed)
    images = jnp.asarray(rng.standard_normal((batch, 32, 32, 3)), jnp.float32)
    labels = jnp.asarray(rng.randint(CLASSES, size=batch), jnp.int32)
    return State(params, statistics, optimizer.init(params)), (images, labels)


def make_train_step(
    layers: Any, optimizer: optax.GradientTransformation
) -> Callable[[State, jax.Array, jax.Array], tuple[State, jax.Array]]:
    """`step(state, images, labels) -> (state, loss)` of a ResNet-18 of `layers`, the loss before
    the step."""
    graphdef = nnx.graphdef(
        nnx.eval_shape(lambda: models.ResNet18(CLASSES, layers=layers, rngs=nnx.Rngs(0)))
    )

    def loss_fn(
        params: nnx.State, statistics: nnx.State, images: jax.Array, labels: jax.Array
    ) -> tuple[jax.Array, nnx.State]:
        model = nnx.merge(graphdef, params, statistics, copy=True)
        losses = optax.softmax_cross_entropy_with_integer_labels(model(images), labels)
        return losses.mean(), nnx.state(model, nnx.BatchStat)

    def step(state: State, images: jax.Array, labels: jax.Array) -> tuple[State, jax.Array]:
        (loss, statistics), grads = jax.value_and_grad(loss_fn, has_aux=True)(
            state.params, state.statistics, images, labels
        )
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params: Any = optax.apply_updates(state.params, updates)
        return State(params, statistics, opt_state), loss

    return step


def torch_weights(*states: nnx.State) -> dict[str, np.ndarray]:
    """Parameters and statistics as `pytorch_resnet.ResNet18` names and lays them out."""
    names = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}
    weights = {}
    for state in states:
        for path, variable in nnx.to_flat_state(state):
            array = np.asarray(variable[...])
            if path[-1] == "kernel":
                array = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
            *modules, last = map(str, path)
            name = ".".join((*modules, names.get(last, last)))
            weights[name] = array.copy(order="C")
    return weights


def _pytorch_steps(
    state: State, data: tuple[jax.Array, jax.Array], compile_seconds: float
) -> dict[str, Contestant]:
    if note := why_no_pytorch():
        return dict.fromkeys((PYTORCH, CHANNELS_LAST, COMPILED), Contestant(None, note=note))
    from scripts.benchmarks import pytorch_peer, pytorch_resnet

    weights = torch_weights(state.params, state.statistics)
    images, labels = pytorch_peer.batch(*map(np.asarray, data))
    sgd = pytorch_peer.Sgd(RATE, MOMENTUM)

    def contestant(**options: bool) -> Callable[[], object]:
        model = pytorch_resnet.from_weights(weights)
        step = pytorch_resnet.make_train_step(model, sgd, **options)
        return functools.partial(step, images, labels)

    found = {
        PYTORCH: Contestant(contestant()),
        CHANNELS_LAST: Contestant(contestant(channels_last=True)),
    }
    if compile_seconds <= 0:
        note = "not compiled: all of --compile-seconds is spent"
        return found | {COMPILED: Contestant(None, note=note)}
    pytorch_peer.forget_compiled()
    return found | {COMPILED: first_call(contestant(channels_last=True, compiled=True))}


def convolutions(effort: Effort, layers: Sequence[Layer]) -> Iterator[list[Row]]:
    """Each layer's forward pass and both gradients, beside `jax.lax` and PyTorch."""
    for layer in layers:
        contestants = _convolutions(layer, effort.seed)
        rows = measure(f"{layer}, forward and backward", contestants, effort)
        rows = add_speed(rows, "speed_against_plain", lambda row: row.contestant == PLAIN)
        yield add_speed(rows, "speed_against_pytorch", is_pytorch)


def _convolutions(layer: Layer, seed: int) -> dict[str, Contestant]:
    side = layer.size // layer.stride
    arrays = normal(
        seed,
        (layer.batch, side, side, layer.out),
        (layer.batch, layer.size, layer.size, layer.width),
        (layer.kernel, layer.kernel, layer.width // layer.groups, layer.out),
    )
    steps = {"stride": layer.stride, "dilation": layer.dilation, "groups": layer.groups}
    pads = ((layer.padding, layer.padding),) * 2
    contestants = {
        name: compiled(with_gradients(functools.partial(fun, padding=pads, **steps)), *arrays)
        for name, fun in ((OURS, jaxfn.conv2d), (PLAIN, plain_conv2d))
    }
    if note := why_no_pytorch():
        return contestants | {PYTORCH: Contestant(None, note=note)}
    from scripts.benchmarks import pytorch_resnet

    for name, channels_last in ((PYTORCH, False), (CHANNELS_LAST, True)):
        run = pytorch_resnet.convolution(
            *map(np.asarray, arrays), channels_last=channels_last, padding=layer.padding, **steps
        )
        contestants[name] = Contestant(run)
    return contestants
