"""LeNet and its training step as people write them in plain Flax and JAX: what jaxfn is measured
against. Nothing of jaxfn is in it."""

from __future__ import annotations

import jax
import optax
from flax import nnx

from scripts.training.step import Metrics, Params, StepFn, TrainState, accuracy


class LeNet(nnx.Module):
    """`models.LeNet` in Flax's own layers, with parameters of the same names and shapes."""

    def __init__(self, *, rngs: nnx.Rngs):
        self.conv1 = nnx.Conv(1, 6, (3, 3), padding="VALID", rngs=rngs)
        self.conv2 = nnx.Conv(6, 16, (3, 3), padding="VALID", rngs=rngs)
        self.fc1 = nnx.Linear(6 * 6 * 16, 120, rngs=rngs)
        self.fc2 = nnx.Linear(120, 84, rngs=rngs)
        self.fc3 = nnx.Linear(84, 10, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.max_pool(jax.nn.relu(self.conv1(x)), (2, 2), strides=(2, 2))
        x = nnx.max_pool(jax.nn.relu(self.conv2(x)), (2, 2), strides=(2, 2))
        x = x.reshape(x.shape[0], -1)
        return self.fc3(jax.nn.relu(self.fc2(jax.nn.relu(self.fc1(x)))))


def make_train_step(optimizer: optax.GradientTransformation) -> StepFn:
    """One step of the optimiser, on the whole batch at once."""
    graphdef = nnx.graphdef(nnx.eval_shape(lambda: LeNet(rngs=nnx.Rngs(0))))

    def loss_fn(params: Params, x: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
        logits = nnx.merge(graphdef, params)(x)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), logits

    def step(state: TrainState, x: jax.Array, labels: jax.Array) -> tuple[TrainState, Metrics]:
        (loss, logits), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params, x, labels)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return TrainState(params, opt_state), Metrics(loss, accuracy(logits, labels))

    return step
