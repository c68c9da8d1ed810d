"""Whole trainings on the digits: LeNet's, and those of the networks that need a rule."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scripts.train_lenet import Config, main
from scripts.training import lenet_config
from scripts.training.data import load
from scripts.training.step import (
    cast,
    epoch_batches,
    make_loss_fn,
    make_random_shift,
    make_train_step,
    start,
)

pytestmark = pytest.mark.long


@pytest.mark.parametrize(
    ("flags", "accuracy"),
    [
        ({"model": "binary"}, 0.95),
        ({"model": "quantized", "bits": 4}, 0.98),
        ({"model": "quantized", "bits": 2}, 0.97),
        ({"model": "spiking"}, 0.95),
    ],
)
def test_accuracy_by_the_rule(tmp_path, flags, accuracy):
    assert main(Config(**flags, run_dir=tmp_path, quiet=True)).test_accuracy >= accuracy


@pytest.mark.parametrize("model", ["binary", "quantized", "spiking"])
def test_plain_autodiff_stays_near_chance(tmp_path, model):
    result = main(Config(model=model, rules="autodiff", run_dir=tmp_path, quiet=True))
    assert max(line.test_accuracy for line in result.history) < 0.2


def losses(rules, dtype):
    """The loss of each of LeNet's 880 steps, all by default, computed in `dtype` from the same
    images and float32 weights."""
    config, dataset = lenet_config.Config(), load("digits")
    images, labels = map(jnp.asarray, dataset.train)
    steps = len(labels) // config.batch_size
    optimizer = lenet_config.make_optimizer(config, config.epochs * steps)
    graphdef, first = lenet_config.initial_state(config, optimizer)
    step = make_train_step(make_loss_fn(graphdef, rules, dtype), optimizer)
    shift = make_random_shift(config.max_shift, dataset.preprocessing.ground)
    _, key = lenet_config.keys(config)

    @jax.jit
    def epoch(state, number):
        position = start(state, key)._replace(epoch=number)

        def one(state, batch_and_key):
            batch, key = batch_and_key
            state, metrics = step(state, shift(key, images[batch]).astype(dtype), labels[batch])
            return state, metrics.loss

        batches = epoch_batches(position, len(labels), config.batch_size)
        return jax.lax.scan(one, state, batches)

    state = cast(first, dtype)
    found = []
    for number in range(1, config.epochs + 1):
        state, of_epoch = epoch(state, np.int32(number))
        found.append(of_epoch)
    return np.concatenate(found)


def test_losses_agree_with_autodiff():
    """In float64 to rounding, at every step. In float32 the rules' losses are as far from the
    float64 ones as autodiff's: after some 200 steps a rounding decides which of two pixels is the
    maximum of a window, by whichever gradient, and the trainings part."""
    with jax.enable_x64(True):
        exact = losses("autodiff", np.float64)
        np.testing.assert_allclose(losses("custom", np.float64), exact, rtol=1e-11, atol=1e-13)
        off = {rules: abs(losses(rules, np.float32) - exact) for rules in ("custom", "autodiff")}
    assert len(exact) == 880
    for part in (slice(150), slice(None)):
        assert np.median(off["custom"][part]) < 2 * np.median(off["autodiff"][part])
    assert off["custom"][:150].max() < 1e-5
