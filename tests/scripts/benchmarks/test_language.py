"""The peers compute what the operations and the decoder do, and each has a row."""

from __future__ import annotations

import dataclasses
import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import models
from scripts.benchmarks import flax_decoder, language
from scripts.benchmarks.timing import Effort
from scripts.training.step import TrainState, split_model

QUICK = Effort(repeats=1, seconds=0.01)
TINY = language.Sizes(width=16, layers=2, heads=4, kv_heads=2, hidden=24, batch=2, context=8)
torch_alone = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="torch is not installed"
)


@pytest.fixture
def problem():
    model = models.Decoder(language.VOCABULARY, **TINY.of_model, rngs=nnx.Rngs(0))
    tokens = np.random.RandomState(0).randint(language.VOCABULARY, size=(2, 9)).astype(np.int32)
    return model, tokens


def test_plain_flax_trains_the_same_net(problem):
    model, tokens = problem
    peer = flax_decoder.from_ours(model, vocabulary=language.VOCABULARY, **TINY.of_model)
    graphdef, params = split_model(peer)
    optimizer = optax.sgd(0.1)
    step = jax.jit(flax_decoder.make_train_step(graphdef, optimizer))
    state, loss = step(TrainState(params, optimizer.init(params)), jnp.asarray(tokens))
    graphdef, ours = split_model(model)

    def our_loss(params):
        return nnx.merge(graphdef, params).loss(tokens[:, :-1], tokens[:, 1:])

    expected, grads = jax.jit(jax.value_and_grad(our_loss))(ours)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    np.testing.assert_allclose(
        state.params["embed"]["embedding"],
        ours["embedding"] - 0.1 * grads["embedding"],
        rtol=1e-4,
        atol=1e-6,
    )


@pytest.mark.parity
@torch_alone
def test_pytorch_trains_the_same_net(problem):
    from scripts.benchmarks import pytorch_language

    model, tokens = problem
    weights = language.stacked_weights(model)
    step = pytorch_language.make_train_step(weights, tokens, heads=4, kv_heads=2, rate=1e-3)
    expected = model.loss(tokens[:, :-1], tokens[:, 1:])
    np.testing.assert_allclose(step().item(), expected, rtol=1e-5)


def test_forms_of_the_loss_are_one(monkeypatch):
    values = {}

    def note(fun, *args):
        result = jax.jit(fun)(*args)
        values[len(values)] = result[0] if isinstance(result[0], jax.Array) else None
        return language.Contestant(lambda: result)

    monkeypatch.setattr(language, "compiled", note)
    (rows,) = language.cross_entropy(QUICK, 0, tokens=16, width=4, classes=8, chunk=4)
    ours, *others, _ = values.values()  # the last are bare products
    assert len(rows) >= 6
    for other in others:
        np.testing.assert_allclose(other, ours, rtol=1e-5)


def test_each_group_has_its_rows():
    groups = [
        *language.cross_entropy_memory(tokens=(8,), width=4, classes=8),
        *language.attention(QUICK, length=16),
        *language.layers(QUICK, count=2, tokens=8, width=4, hidden=6),
    ]
    names = [[row.contestant for row in rows] for rows in groups]
    assert [row[:2] for row in names] == [
        [language.OURS, language.PLAIN],
        [language.OURS, language.JAX_NN],
        [language.OURS, language.JAX_NN],
        [language.OURS, language.PLAIN],
    ]
    assert groups[0][0].figures["result_bytes"] == 4 * (1 + 8 * 4 + 4 * 8) + 24
    for rows in groups[1:]:
        assert rows[0].figures["speed_against_plain"] > 0
        assert rows[0].figures["gflop"] > 0


@pytest.mark.long
def test_a_decoder_has_a_row_for_each_contestant():
    sizes = dataclasses.replace(TINY, layers=1)
    (rows,) = language.decoder(QUICK, 0, [sizes])
    assert [row.contestant for row in rows] == [
        language.OURS,
        language.WITHOUT_RULES,
        language.FLAX,
        language.PYTORCH,
        language.COMPILED,
    ]
    assert rows[0].figures["speed_against_flax"] > 0
    assert rows[4].timing is None
    assert rows[4].note
