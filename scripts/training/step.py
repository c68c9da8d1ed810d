"""Training as pure functions: step, steps of an epoch, and a classifier's loss and evaluation.

Nothing here reads a file or keeps a state; the programs compile `make_advance`'s result, and the
comparison with PyTorch and the benchmark use the same loss and the same step. What a decoder has of
its own is in `scripts/training/language.py`. A batch is a tuple of arrays, or of trees of arrays,
that have the examples in their first dimension: images and labels, or a text's pieces alone.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax import lax
from jax.typing import ArrayLike, DTypeLike
from optax.microbatching import AccumulationType, microbatch

import jaxfn

Tree = TypeVar("Tree")
Rules = Literal["custom", "autodiff"]
Params = Any  # pytree of arrays, such as `nnx.to_pure_dict` gives


class TrainState(NamedTuple):
    """What a step changes."""

    params: Params
    opt_state: optax.OptState


class Metrics(NamedTuple):
    """Mean loss per image, and the fraction of images classified rightly.

    Another training has a tuple of its own, with a `loss` among its means.
    """

    loss: jax.Array
    accuracy: jax.Array


class Position(NamedTuple):
    """Where a training stands: all that its continuation depends on, and what a checkpoint holds.

    The data's order is no part of it: it follows from the key, the epoch and the step.

    Attributes:
      state: parameters and optimiser.
      key: that of every epoch's is folded from.
      epoch: the one that is under way, counted from 1; int32.
      step: how many of its steps are done; int32.
      sums: of the metrics (`Metrics`) of these steps, those left out whose loss is not finite.
      nonfinite: how many are left out; int32.
    """

    state: TrainState
    key: jax.Array
    epoch: jax.Array
    step: jax.Array
    sums: Any
    nonfinite: jax.Array


LossFn = Callable[..., tuple[jax.Array, Any]]  # params, *batch → loss, and what is measured
GradientFn = Callable[..., tuple[Any, Params]]  # params, *batch → metrics, gradients
StepFn = Callable[..., tuple[TrainState, Any]]  # state, *batch → state, metrics
AugmentFn = Callable[[jax.Array, jax.Array], Any]
AdvanceFn = Callable[..., tuple[Position, jax.Array]]  # position, stop, *data
EvaluateFn = Callable[..., tuple[Any, jax.Array]]  # params, *data → metrics, outputs


def split_model(model: nnx.Module) -> tuple[nnx.GraphDef, Params]:
    """The structure of a model, and its parameters as nested dicts of arrays."""
    graphdef, state = nnx.split(model)
    return graphdef, nnx.to_pure_dict(state)


def make_loss_fn(
    graphdef: nnx.GraphDef, rules: Rules = "custom", dtype: DTypeLike = jnp.float32
) -> LossFn:
    """Loss of a classifier: cross-entropy of the labels, the mean over the batch.

    Args:
      graphdef: structure of the model.
      rules: "custom" differentiates by the hand-written rules, "autodiff" the same operations
        without them.
      dtype: that the model computes in. Parameters, their gradients and the loss stay what they
        are: the cast is part of the function that is differentiated.

    Returns:
      `loss_fn(params, x, labels) -> (loss, logits)`.
    """

    def loss_fn(params: Params, x: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
        params, inputs = cast((params, x), dtype)
        logits = nnx.merge(graphdef, params)(inputs).astype(x.dtype)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), logits

    return loss_fn if rules == "custom" else jaxfn.autodiff(loss_fn, custom_jvp=True)


def cast(tree: Tree, dtype: DTypeLike) -> Tree:
    """The same tree, its floating arrays in `dtype`."""

    def leaf(x: jax.Array) -> jax.Array:
        return x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x

    return jax.tree.map(leaf, tree)


def make_train_step(
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    *,
    accumulate: int = 1,
    skip_nonfinite: bool = False,
    parallel: Callable[[GradientFn], GradientFn] = lambda gradient: gradient,
    value_and_grad: Callable[[LossFn], Callable[..., Any]] = jaxfn.microbatched_value_and_grad,
    measure: Callable[..., Any] | None = None,
) -> StepFn:
    """One step of the optimiser: `step(state, *batch) -> (state, metrics)`, the metrics of the
    parameters before it.

    Args:
      loss_fn: what `make_loss_fn` gives.
      optimizer: takes the gradient of the whole batch.
      accumulate: the batch is taken in so many equal parts, one after the other, whose gradients
        are averaged: the same as the whole batch to rounding, at the memory of a part.
      skip_nonfinite: where the loss or a gradient is not finite, the state stays as it was (the
        optimiser's count, too) and the loss comes back as nan.
      parallel: makes of a function that returns means over a batch the same function on several
        devices, as `mesh.data_parallel` does; each of them then takes its own parts.
      value_and_grad: of a function that also returns what is measured. By default the one for
        images on a CPU.
      measure: `measure(loss, measured, *batch)` gives the metrics, by default `Metrics`.
    """
    loss_and_grad = value_and_grad(loss_fn)
    metrics_of = classified if measure is None else measure

    def gradient(params: Params, *batch: Any) -> tuple[Any, Params]:
        (loss, measured), grads = loss_and_grad(params, *batch)
        return metrics_of(loss, measured, *batch), grads

    def in_parts(params: Params, *batch: Any) -> tuple[Any, Params]:
        # None: no parts, which is not the same program as one part.
        part = None if accumulate == 1 else len(jax.tree.leaves(batch)[0]) // accumulate
        places = tuple(range(1, 1 + len(batch)))
        return microbatch(gradient, places, part, AccumulationType.MEAN)(params, *batch)

    def step(state: TrainState, *batch: Any) -> tuple[TrainState, Any]:
        metrics, grads = parallel(in_parts)(state.params, *batch)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        after = TrainState(optax.apply_updates(state.params, updates), opt_state)
        if not skip_nonfinite:
            return after, metrics
        # Not optax.apply_if_finite, which does not see the loss.
        finite = all_finite((metrics.loss, grads))
        after = jax.tree.map(lambda new, old: jnp.where(finite, new, old), after, state)
        return after, metrics._replace(loss=jnp.where(finite, metrics.loss, jnp.nan))

    return step


def start(state: TrainState, key: jax.Array, metrics: type = Metrics) -> Position:
    """The position before the first step of the first epoch, of a training with such metrics."""
    sums = metrics(*(jnp.float32(0) for _ in metrics._fields))
    return Position(state, key, jnp.int32(1), jnp.int32(0), sums, jnp.int32(0))


def next_epoch(position: Position) -> Position:
    """The position before the first step of the epoch after `position`'s."""
    first = start(position.state, position.key, type(position.sums))
    return first._replace(epoch=position.epoch + 1)


def make_advance(step: StepFn, batch_size: int, augment: AugmentFn) -> AdvanceFn:
    """Steps of an epoch: `advance(position, stop, *data) -> (position, finite)`.

    It goes on until `stop` steps of the epoch are done. Both ends are values and not constants of
    the program: one compiled loop takes any number of steps, so that where an epoch is cut does
    not change a bit of the result.

    It does not look at every gradient, which would take a tenth of the time: a gradient that is not
    finite leaves inf or nan in the parameters, where they stay, so that one look in the end shows
    it (`finite`). A loss that is not finite is counted in the position.

    Args:
      step: one step.
      batch_size: examples per step; `epoch_batches` says which.
      augment: `augment(key, examples)`, applied to the first of each batch's arrays.
    """

    def advance(
        position: Position, stop: ArrayLike, *data: jax.Array
    ) -> tuple[Position, jax.Array]:
        batches, keys = epoch_batches(position, len(data[0]), batch_size)

        def body(here: Position) -> Position:
            batch = take(batches[here.step], keys[here.step], augment, *data)
            state, metrics = step(here.state, *batch)
            finite = jnp.isfinite(metrics.loss)
            sums = jax.tree.map(lambda s, m: s + jnp.where(finite, m, 0), here.sums, metrics)
            nonfinite = here.nonfinite + ~finite
            return Position(state, here.key, here.epoch, here.step + 1, sums, nonfinite)

        position = lax.while_loop(lambda here: here.step < stop, body, position)
        return position, all_finite(position.state.params)

    return advance


def take(
    examples: jax.Array, key: jax.Array, augment: AugmentFn, *data: jax.Array
) -> tuple[Any, ...]:
    """The batch of these examples, augmented."""
    first, *others = (array[examples] for array in data)
    return (augment(key, first), *others)


def mean_metrics(position: Position) -> Any:
    """The means over the steps of the epoch so far; nan if all of them are left out."""
    counted = position.step - position.nonfinite
    return jax.tree.map(lambda s: jnp.where(counted > 0, s / counted, jnp.nan), position.sums)


def epoch_batches(
    position: Position, examples: int, batch_size: int
) -> tuple[jax.Array, jax.Array]:
    """The indices of an epoch's batches, `[steps, batch_size]`, and a key for each step."""
    order_key, augment_key = jax.random.split(jax.random.fold_in(position.key, position.epoch))
    batches = shuffled_batches(order_key, examples, batch_size)
    return batches, jax.random.split(augment_key, len(batches))


def shuffled_batches(key: jax.Array, examples: int, batch_size: int) -> jax.Array:
    """Indices of an epoch's batches, `[steps, batch_size]`, no index twice.

    Every step has a full batch. The remainder, less than a batch, sits the epoch out: it is another
    one each time, since each epoch has its own permutation.
    """
    steps = examples // batch_size
    return jax.random.permutation(key, examples)[: steps * batch_size].reshape(steps, batch_size)


def make_random_shift(max_shift: int, ground: float) -> AugmentFn:
    """Shifts each image by up to `max_shift` pixels along each axis; `ground` comes in."""

    def shift(key: jax.Array, images: jax.Array) -> jax.Array:
        margin = (max_shift, max_shift)
        padded = jnp.pad(
            images, ((0, 0), margin, margin, (0, 0)), constant_values=jnp.float32(ground)
        )
        corners = jax.random.randint(key, (len(images), 2), 0, 2 * max_shift + 1)

        def crop(image: jax.Array, corner: jax.Array) -> jax.Array:
            return lax.dynamic_slice(image, (*corner, 0), images.shape[1:])

        return jax.vmap(crop)(padded, corners)

    return shift


def make_evaluate(graphdef: nnx.GraphDef, batch_size: int) -> EvaluateFn:
    """Metrics and logits, over every image exactly once: `evaluate(params, images, labels)`.

    The images pass in batches, so that memory does not grow with their number; the last batch is
    what is left.
    """

    def evaluate(params: Params, images: jax.Array, labels: jax.Array) -> tuple[Metrics, jax.Array]:
        model = nnx.merge(graphdef, params)
        whole = len(images) // batch_size * batch_size
        batches = images[:whole].reshape(-1, batch_size, *images.shape[1:])
        logits = jnp.concatenate([*lax.map(model, batches), model(images[whole:])])
        return mean_classified(logits, images, labels), logits

    return evaluate


def mean_classified(logits: jax.Array, images: jax.Array, labels: jax.Array) -> Metrics:
    """The metrics of images whose logits are known."""
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
    return classified(loss, logits, images, labels)


def classified(loss: jax.Array, logits: jax.Array, _: jax.Array, labels: jax.Array) -> Metrics:
    """The metrics of images whose loss is known, too."""
    return Metrics(loss, accuracy(logits, labels))


def all_finite(tree: Any) -> jax.Array:
    """Whether every number in a tree of arrays is finite."""
    leaves = [jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]
    return functools.reduce(jnp.logical_and, leaves)


def accuracy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Fraction of rows whose largest logit is the label's."""
    return (logits.argmax(-1) == labels).mean()
