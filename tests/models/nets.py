"""What the tests of the networks share that need a rule: a short training, and what has to hold for
every such network."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import jaxfn
from jaxfn import microbatches
from scripts.training.step import Params, Rules, make_loss_fn, split_model

IMAGES = 24
LABELS = np.arange(IMAGES) % 10


@functools.cache
def images() -> np.ndarray:
    """In float64. A class is a noisy pattern: what a net learns in a few steps."""
    random = np.random.default_rng(0)
    patterns = random.normal(size=(10, 8, 8))
    noisy = patterns[LABELS] + 0.3 * random.normal(size=(IMAGES, 8, 8))
    return noisy.repeat(4, 1).repeat(4, 2)[..., None]


class Training(NamedTuple):
    """The loss before each step, and the gradient of each parameter before the first one."""

    losses: np.ndarray
    gradients: Params

    def greatest(self) -> dict[str, float]:
        """The greatest absolute value in each parameter's gradient, by its path."""
        leaves = jax.tree_util.tree_flatten_with_path(self.gradients)[0]
        return {".".join(k.key for k in path): float(abs(leaf).max()) for path, leaf in leaves}


def train(model: nnx.Module, rules: Rules, *, rate: float, steps: int = 60) -> Training:
    """Steps of Adam on `images`, all of them at once.

    In float64, so that rounding does not move a number past one of the net's steps. The model's
    parameters are of that dtype, made under `jax.enable_x64`.
    """
    graphdef, params = split_model(model)
    optimizer = optax.adam(rate)
    loss_fn = make_loss_fn(graphdef, rules, jnp.float64)

    @jax.jit
    def run(params: Params) -> tuple[jax.Array, Params]:
        def step(state: tuple[int, Params, Params, optax.OptState], _: None) -> Any:
            i, first, params, opt_state = state
            (loss, _), grads = jax.value_and_grad(loss_fn, has_aux=True)(params, images(), LABELS)
            first = jax.tree.map(lambda f, g: jnp.where(i == 0, g, f), first, grads)
            updates, opt_state = optimizer.update(grads, opt_state, params)
            return (i + 1, first, optax.apply_updates(params, updates), opt_state), loss

        start = (0, params, params, optimizer.init(params))
        (_, first, *_), losses = jax.lax.scan(step, start, length=steps)
        return losses, first

    with jax.enable_x64(True):
        losses, gradients = jax.device_get(run(params))
    return Training(losses, gradients)


def assert_only_the_rule_trains(by_rule: Training, by_autodiff: Training) -> None:
    """From the same loss: by the rule every parameter gets a gradient and the loss falls, by
    autodiff none does and it stays."""
    assert min(by_rule.greatest().values()) > 0
    assert set(by_autodiff.greatest().values()) == {0.0}
    learned, stuck = by_rule.losses, by_autodiff.losses
    assert learned[0] == pytest.approx(stuck[0], rel=1e-9)
    assert np.mean(learned[-10:]) < 0.2 * learned[0]
    assert min(stuck) == max(stuck)


def assert_slices_agree(
    model: nnx.Module, whole: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In slices the same loss and gradients as `train` has: no image's result depends on others."""
    graphdef, params = split_model(model)
    monkeypatch.setattr(microbatches, "_slice_length", lambda *_: 5)
    with jax.enable_x64(True):
        loss_fn = make_loss_fn(graphdef, dtype=jnp.float64)
        sliced = jax.jit(jaxfn.microbatched_value_and_grad(loss_fn))
        (loss, _), gradients = sliced(params, images(), LABELS)
    np.testing.assert_allclose(loss, whole.losses[0], rtol=1e-9)
    chex.assert_trees_all_close(gradients, whole.gradients, rtol=1e-7, atol=1e-10)
