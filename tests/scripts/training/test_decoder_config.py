"""The flags of a decoder's training, and what they make."""

import json

import jax
import numpy as np
import pytest

from scripts.command import run_directory
from scripts.command.program import UserError
from scripts.training.decoder_config import (
    PROGRAM,
    Config,
    check_config,
    initial_position,
    make_optimizer,
    stored_run,
)
from scripts.training.text import TextSource

pytestmark = pytest.mark.numbers


def test_the_rate_rises_and_falls():
    config = Config(warmup=0.2, weight_decay=0.0, learning_rate=1.0)
    params = {"norm": np.ones(3, np.float32), "blocks": {}}
    optimizer, updates = make_optimizer(config, steps=20), []
    state = optimizer.init(params)
    for _ in range(20):
        update, state = jax.jit(optimizer.update)(params, state, params)
        updates.append(-float(update["norm"][0]))
    assert updates[0] < updates[2] < updates[4] == pytest.approx(1, rel=1e-3)
    assert updates[4] > updates[10] > updates[19] > 0
    assert updates[19] < 0.05


def test_matrices_alone_decay():
    config = Config(width=8, layers=2, heads=2, kv_heads=1, hidden=8, learning_rate=1.0)
    optimizer = make_optimizer(config, steps=1)
    _, start = initial_position(config, optimizer)
    params = start.state.params
    zeros = jax.tree.map(np.zeros_like, params)
    updates, _ = optimizer.update(zeros, start.state.opt_state, params)
    for path, update in jax.tree_util.tree_flatten_with_path(updates)[0]:
        assert ("norm" in str(path)) == (not np.any(update)), path


def test_flags_by_default_make_sense():
    check_config(Config())


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("program",), "train_lenet", "expected a run of train_decoder, got 'train_lenet'"),
        (("config", "text"), [3], "damaged: text: expected"),
        (("config", "text"), "one.txt", "damaged: text: expected"),
        (("config", "heads"), 3, "damaged: --width, --heads, --kv-heads: Decoder: expected"),
        (("text", "sha256"), 3, "damaged: sha256: expected"),
    ],
)
def test_a_run_comes_back_or_is_damaged(tmp_path, path, value, message):
    config = Config(text=(tmp_path / "one.txt", tmp_path / "two.txt"), name="run")
    source = TextSource(10, "0" * 64)
    run_directory.write_config(tmp_path, program=PROGRAM, config=config, text=source)
    assert stored_run(tmp_path) == (config, source)
    stored = json.loads((tmp_path / "config.json").read_text())
    section = stored
    for key in path[:-1]:
        section = section[key]
    section[path[-1]] = value
    (tmp_path / "config.json").write_text(json.dumps(stored))
    with pytest.raises(UserError, match=message):
        stored_run(tmp_path)
