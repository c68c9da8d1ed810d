"""Whole trainings run beside each other."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scripts.benchmarks import trainings
from scripts.benchmarks.lenet import CHANNELS_LAST, FLAX, OURS, PYTORCH, WITHOUT_RULES
from scripts.benchmarks.timing import Effort
from scripts.training.data import load
from scripts.training.step import Metrics, TrainState

pytestmark = pytest.mark.numbers

QUICK = Effort(repeats=1, seconds=0.01)


@pytest.fixture
def _no_pytorch(monkeypatch):
    monkeypatch.setattr(trainings, "why_no_pytorch", lambda: "no torch here")


@pytest.mark.usefixtures("_no_pytorch")
def test_regression():
    ((ours, without, pytorch),) = trainings.regression(QUICK)
    assert [row.contestant for row in (ours, without, pytorch)] == [OURS, WITHOUT_RULES, PYTORCH]
    assert ours.group == "500 steps"
    assert len(ours.timing.seconds) == 1
    assert (pytorch.timing, pytorch.note) == (None, "no torch here")


@pytest.mark.long
@pytest.mark.usefixtures("_no_pytorch")
def test_epoch(monkeypatch):
    compile_epoch, programs = trainings.compile_epoch, {}

    def compile_once(config, *args):
        """One program for both, since compiling takes seconds."""
        programs[config.rules] = next(iter(programs.values()), None) or compile_epoch(config, *args)
        return programs[config.rules]

    def load_few(name):
        dataset = load(name)
        return dataset._replace(train=jax.tree.map(lambda array: array[:70], dataset.train))

    monkeypatch.setattr(trainings, "compile_epoch", compile_once)
    monkeypatch.setattr(trainings, "load", load_few)
    (rows,) = trainings.epoch(QUICK)
    assert [*programs] == ["custom", "autodiff"]
    names = [row.contestant for row in rows]
    assert names == [OURS, WITHOUT_RULES, FLAX, PYTORCH, CHANNELS_LAST]
    assert rows[0].group == "70 images, batch 32"
    assert all(row.timing for row in rows[:3])
    speed = rows[2].timing.median / rows[0].timing.median
    assert rows[0].figures["speed_against_flax"] == speed


def test_an_epoch_is_all_its_steps():
    """Each image is seen once, less than a batch is left out, and the metrics are means."""

    def step(state, x, labels):
        seen = state.params.at[labels].add(1)
        return TrainState(seen, state.opt_state + 1), Metrics(x.mean(), labels.mean())

    images = jnp.arange(23.0)
    state = TrainState(jnp.zeros(23, jnp.int32), jnp.int32(0))
    epoch = trainings.make_epoch(step, 5, lambda _, images: images + 1)
    (seen, steps), metrics = jax.jit(epoch)(state, jax.random.key(0), images, jnp.arange(23))
    assert (int(steps), int(seen.sum()), int(seen.max())) == (4, 20, 1)
    np.testing.assert_allclose(metrics.accuracy, np.mean(np.flatnonzero(seen)), rtol=1e-6)
    np.testing.assert_allclose(metrics.loss, 1 + metrics.accuracy, rtol=1e-6)


@pytest.mark.parity
@pytest.mark.parametrize("section", [trainings.regression, trainings.epoch])
def test_pytorch_takes_part(section):
    (rows,) = section(QUICK)
    assert all(row.timing for row in rows)
    assert "speed_against_pytorch" in rows[0].figures
