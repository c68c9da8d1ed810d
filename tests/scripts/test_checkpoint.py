"""What is saved comes back bit for bit, or not at all."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from scripts import checkpoint
from scripts.program import UserError
from scripts.training import TrainState

PARAMS = {"fc1": {"kernel": jnp.arange(2000.0).reshape(40, 50), "bias": jnp.ones(3)}}
STATE = TrainState(PARAMS, optax.sgd(0.1, momentum=0.9).init(PARAMS))


def test_round_trip_of_the_latest(tmp_path):
    for step in (1, 2, 10):
        scaled = STATE._replace(params=jax.tree.map(lambda leaf, s=step: leaf * s, PARAMS))
        checkpoint.save(tmp_path, step, scaled)
    step, state = checkpoint.load(tmp_path, jax.eval_shape(lambda: STATE))
    assert step == 10
    assert jax.tree.structure(state) == jax.tree.structure(STATE)
    np.testing.assert_array_equal(state.params["fc1"]["bias"], 10 * np.ones(3))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["10", "10.sha256"]


def test_none(tmp_path):
    for directory in (tmp_path, tmp_path / "absent"):
        with pytest.raises(UserError, match="expected the checkpoint of a run, there is none"):
            checkpoint.load(directory, STATE)


def test_a_checkpoint_without_its_hashes_is_not_finished(tmp_path):
    checkpoint.save(tmp_path, 1, STATE)
    (tmp_path / "1").rename(tmp_path / "2")
    (tmp_path / "2").mkdir(exist_ok=True)
    with pytest.raises(UserError, match="1: the checkpoint is damaged"):
        checkpoint.load(tmp_path, STATE)


def test_every_file_damaged(tmp_path, caplog):
    checkpoint.save(tmp_path, 1, STATE)
    files = [file for file in tmp_path.rglob("*") if file.is_file() and file.stat().st_size]
    assert len(files) > 5
    for file in files:
        content = file.read_bytes()
        middle = len(content) // 2
        flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        for damaged in (None, b"", content[:middle], flipped):
            file.unlink()
            if damaged is not None:
                file.write_bytes(damaged)
            with pytest.raises(UserError, match=str(tmp_path)):
                checkpoint.load(tmp_path, STATE)
            file.write_bytes(content)
    checkpoint.load(tmp_path, STATE)
    assert not caplog.records


def test_of_another_model(tmp_path):
    checkpoint.save(tmp_path, 1, {"a": jnp.ones(3)})
    for like in ({"b": jnp.ones(3)}, {"a": jnp.ones(4)}):
        with pytest.raises(UserError, match="1: the checkpoint is not of this model"):
            checkpoint.load(tmp_path, like)
