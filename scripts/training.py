"""Training of a classifier as pure functions: loss, step, epoch, evaluation.

Nothing here reads a file or keeps a state; `train_lenet` compiles `make_epoch`'s result, and the
comparison with PyTorch and the benchmark use the same loss and the same step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax import lax

import jaxfn

Rules = Literal["custom", "autodiff"]
Params = Any  # pytree of arrays, such as `nnx.to_pure_dict` gives


class TrainState(NamedTuple):
    """What a step changes."""

    params: Params
    opt_state: optax.OptState


class Metrics(NamedTuple):
    """Mean loss per image, and the fraction of images classified rightly."""

    loss: jax.Array
    accuracy: jax.Array


LossFn = Callable[[Params, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]
StepFn = Callable[[TrainState, jax.Array, jax.Array], tuple[TrainState, Metrics]]
AugmentFn = Callable[[jax.Array, jax.Array], jax.Array]
EpochFn = Callable[[TrainState, jax.Array, jax.Array, jax.Array], tuple[TrainState, Metrics]]
EvaluateFn = Callable[[Params, jax.Array, jax.Array], tuple[Metrics, jax.Array]]


def split_model(model: nnx.Module) -> tuple[nnx.GraphDef, Params]:
    """The structure of a model, and its parameters as nested dicts of arrays."""
    graphdef, state = nnx.split(model)
    return graphdef, nnx.to_pure_dict(state)


def make_loss_fn(graphdef: nnx.GraphDef, rules: Rules = "custom") -> LossFn:
    """Loss of a classifier: cross-entropy of the labels, the mean over the batch.

    Args:
      graphdef: structure of the model.
      rules: "custom" differentiates by the hand-written rules, "autodiff" the same operations
        without them.

    Returns:
      `loss_fn(params, x, labels) -> (loss, logits)`.
    """

    def loss_fn(params: Params, x: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
        logits = nnx.merge(graphdef, params)(x)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), logits

    return loss_fn if rules == "custom" else jaxfn.autodiff(loss_fn)


def make_train_step(loss_fn: LossFn, optimizer: optax.GradientTransformation) -> StepFn:
    """One step of the optimiser: `step(state, x, labels) -> (state, metrics)`, the metrics of the
    parameters before it."""
    loss_and_grad = jaxfn.microbatched_value_and_grad(loss_fn)

    def step(state: TrainState, x: jax.Array, labels: jax.Array) -> tuple[TrainState, Metrics]:
        (loss, logits), grads = loss_and_grad(state.params, x, labels)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return TrainState(params, opt_state), Metrics(loss, accuracy(logits, labels))

    return step


def make_epoch(step: StepFn, batch_size: int, augment: AugmentFn) -> EpochFn:
    """All steps of an epoch in one scan: `epoch(state, key, images, labels) -> (state, metrics)`.

    The metrics are means over the steps, each measured before the step was taken.

    Args:
      step: one step.
      batch_size: images per step; `shuffled_batches` says which.
      augment: `augment(key, images)`, applied to each batch.
    """

    def epoch(
        state: TrainState, key: jax.Array, images: jax.Array, labels: jax.Array
    ) -> tuple[TrainState, Metrics]:
        order_key, augment_key = jax.random.split(key)
        batches = shuffled_batches(order_key, len(images), batch_size)

        def body(state: TrainState, inputs: tuple[jax.Array, jax.Array]):
            batch, key = inputs
            return step(state, augment(key, images[batch]), labels[batch])

        keys = jax.random.split(augment_key, len(batches))
        state, metrics = lax.scan(body, state, (batches, keys))
        return state, jax.tree.map(jnp.mean, metrics)

    return epoch


def shuffled_batches(key: jax.Array, images: int, batch_size: int) -> jax.Array:
    """Indices of an epoch's batches, `[steps, batch_size]`, no index twice.

    Every step has a full batch. The remainder, less than a batch, sits the epoch out: it is another
    one each time, since each epoch has its own permutation.
    """
    steps = images // batch_size
    return jax.random.permutation(key, images)[: steps * batch_size].reshape(steps, batch_size)


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
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
        return Metrics(loss, accuracy(logits, labels)), logits

    return evaluate


def accuracy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Fraction of rows whose largest logit is the label's."""
    return (logits.argmax(-1) == labels).mean()
