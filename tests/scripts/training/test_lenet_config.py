"""The flags of LeNet's training, and what they make."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from scripts.command import run_directory
from scripts.command.program import UserError
from scripts.training.images import Preprocessing
from scripts.training.lenet_config import (
    PROGRAM,
    Config,
    check_config,
    initial_state,
    make_optimizer,
    stored_run,
)

pytestmark = pytest.mark.numbers

FLAGS = Config(epochs=3, name="run", quiet=True)
PREPROCESSING = Preprocessing(8, "resize", 0.1, 0.2)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"epochs": 0}, "--epochs: expected at least 1, got 0"),
        ({"batch_size": -1}, "--batch-size: expected at least 1, got -1"),
        ({"learning_rate": 0.0}, "--learning-rate: expected > 0, got 0.0"),
        ({"learning_rate": float("nan")}, "--learning-rate: expected > 0, got nan"),
        ({"momentum": 1.0}, "--momentum: expected 0 ≤"),
        ({"weight_decay": -1.0}, "--weight-decay: expected at least 0"),
        ({"max_shift": 32}, "--max-shift: expected 0 to 31"),
        ({"seed": -1}, "--seed: expected 0 to"),
    ],
)
def test_values_without_sense(flags, message):
    with pytest.raises(UserError, match=message):
        check_config(Config(**flags))


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_optimizer(optimizer, schedule):
    """The last update of a cosine schedule is small, that of a constant rate is not."""
    config = Config(optimizer=optimizer, schedule=schedule, momentum=0.0, weight_decay=0.0)
    optimizer = make_optimizer(config, steps=10)
    params = jnp.ones(3)
    state, updates = optimizer.init(params), []
    for _ in range(10):
        update, state = optimizer.update(jnp.ones(3), state, params)
        updates.append(np.asarray(update)[0])
    assert updates[0] < 0
    ratio = updates[-1] / updates[0]
    assert ratio < 0.1 if schedule == "cosine" else ratio == pytest.approx(1, rel=1e-3)


def test_seeds_give_other_weights():
    optimizer = make_optimizer(Config(), steps=1)
    biases = [
        initial_state(Config(seed=seed), optimizer)[1].params["fc3"]["bias"] for seed in (0, 0, 1)
    ]
    assert (biases[0] == biases[1]).all()
    assert (biases[0] != biases[2]).all()


@pytest.fixture
def run(tmp_path):
    """The folder of a run that has trained nothing yet."""
    directory = run_directory.create(tmp_path, "run", "digits")
    values = {"config": FLAGS, "preprocessing": PREPROCESSING}
    run_directory.write_config(directory, program=PROGRAM, **values)
    return directory


def test_stored_run(run):
    assert stored_run(run) == (FLAGS, PREPROCESSING)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("program",), "train_regression", "expected a run of train_lenet, got 'train_regression'"),
        (("config", "epochs"), "twenty", "damaged: epochs: expected"),
        (("config", "epochs"), 0, "damaged: --epochs: expected at least 1"),
        (("config",), None, "damaged: expected the values .*dataset, data_dir, optimizer"),
        (("preprocessing", "fit"), 3, "damaged: fit: expected"),
    ],
)
def test_damaged_config(tmp_path, run, path, value, message):
    config = json.loads((run / "config.json").read_text())
    section = config
    for key in path[:-1]:
        section = section[key]
    section[path[-1]] = value
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=message):
        stored_run(tmp_path)
