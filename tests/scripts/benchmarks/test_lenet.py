"""The peers compute the same, the FLOPs are counted rightly, our step takes less memory."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax import lax

import models
from jaxfn.comparison.figures.flops import count_flops
from scripts.benchmarks import flax_peer, lenet
from scripts.benchmarks.lenet import (
    COMPILED,
    FLAX,
    LIMIT,
    OURS,
    PRODUCTS,
    PYTORCH,
    WITHOUT_RULES,
    cost_per_image,
    problem,
    training_flops,
)
from scripts.benchmarks.operations import plain_conv2d
from scripts.benchmarks.timing import Contestant, Effort, Row, Timing

QUICK = Effort(repeats=1, seconds=0.01)
OPTIMIZER = optax.sgd(0.1, momentum=0.9)


@pytest.fixture(scope="module")
def rows():
    """The rows of a batch of 1024, without PyTorch, and with a small product for the limit."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lenet, "why_no_pytorch", lambda: "no torch here")
        patch.setattr(lenet, "LIMIT_SIZE", 64)
        (rows,) = lenet.lenet([1024], QUICK)
    return {row.contestant: row for row in rows}


def layers():
    """The layers with parameters as functions of image and kernel, with the shapes of both."""
    return {
        "conv1": (plain_conv2d, (1, 32, 32, 1), (3, 3, 1, 6)),
        "conv2": (plain_conv2d, (1, 15, 15, 6), (3, 3, 6, 16)),
        "fc1": (lax.dot, (1, 576), (576, 120)),
        "fc2": (lax.dot, (1, 120), (120, 84)),
        "fc3": (lax.dot, (1, 84), (84, 10)),
    }


def flops(fun, *args):
    return count_flops(jax.make_jaxpr(fun)(*args)).total


def test_the_flops_of_each_layer_forward_and_backward():
    """The formula's, by the counter of `jaxfn.compare`, which counts in the program."""
    total = 0
    for name, (layer, *shapes) in layers().items():
        x, kernel = map(jnp.ones, shapes)
        y = layer(x, kernel)
        forward = flops(layer, x, kernel)
        of_kernel = flops(
            lambda y, f=layer, x=x, k=kernel: jax.linear_transpose(lambda k: f(x, k), k)(y), y
        )
        of_input = flops(
            lambda y, f=layer, x=x, k=kernel: jax.linear_transpose(lambda x: f(x, k), x)(y), y
        )
        assert forward == of_kernel == of_input == 2 * PRODUCTS[name]
        total += forward + of_kernel + (of_input if name != "conv1" else 0)
    assert training_flops(1) == total == 1_550_736
    assert training_flops(128) == 128 * total


@pytest.mark.long
def test_the_rest_of_a_plain_step_is_little_beside_them():
    _, state, data = problem(8, 0, OPTIMIZER)
    counted = flops(flax_peer.make_train_step(OPTIMIZER), state, *data)
    # The optimiser's four operations for each of 81,194 parameters do not grow with the batch.
    per_batch = counted - 4 * 81_194
    assert training_flops(8) < per_batch < 1.1 * training_flops(8)


@pytest.mark.long
def test_plain_flax_takes_the_same_step():
    graphdef, state, data = problem(4, 0, OPTIMIZER)
    ours = lenet.our_step(graphdef, OPTIMIZER)
    theirs = flax_peer.make_train_step(OPTIMIZER)
    (our_state, our_metrics), (state, metrics) = (
        jax.jit(step)(state, *data) for step in (ours, theirs)
    )
    chex.assert_trees_all_close(our_metrics, metrics, rtol=1e-6)
    chex.assert_trees_all_close(our_state.params, state.params, rtol=1e-4, atol=1e-6)


@pytest.mark.parity
def test_pytorch_takes_the_same_step():
    from scripts.benchmarks import pytorch_peer

    graphdef, state, data = problem(4, 0, OPTIMIZER)
    step = lenet.our_step(graphdef, OPTIMIZER)
    weights = models.lenet.to_torch(nnx.merge(graphdef, state.params))
    tensors = pytorch_peer.batch(*map(np.asarray, data))
    for channels_last in (False, True):
        theirs = pytorch_peer.make_train_step(
            weights, pytorch_peer.Sgd(0.1, 0.9), channels_last=channels_last
        )
        own = state
        for _ in range(3):
            own, metrics = jax.jit(step)(own, *data)
            expected = [float(value) for value in theirs(*tensors)]
            np.testing.assert_allclose(metrics, expected, rtol=1e-5)


def test_the_peak_of_temporary_memory_beside_plain_flax(rows):
    """A slice of the batch at a time, and a byte for each pooled element: 18 MiB, not 236."""
    ours, flax = (rows[name].figures["temporary_bytes"] for name in (OURS, FLAX))
    assert ours < flax / 8


def test_rows_have_their_figures(rows):
    assert [*rows][:3] == [OURS, WITHOUT_RULES, FLAX]
    ours, limit = rows[OURS], rows[LIMIT]
    flax = rows[FLAX].timing.median
    assert ours.group == "batch 1024"
    assert ours.figures["speed_against_flax"] == flax / ours.timing.median
    assert ours.figures["share_of_limit"] == limit.timing.median / ours.timing.median
    assert ours.figures["ms_per_1000_images"] == pytest.approx(1e6 * ours.timing.median / 1024)
    assert limit.figures["gflops"] == pytest.approx(
        training_flops(1024) / limit.timing.median / 1e9, rel=1e-6
    )
    assert "speed_against_pytorch" not in ours.figures
    assert rows[PYTORCH].note == rows[COMPILED].note == "no torch here"


def test_speed_against_pytorch_is_that_against_its_fastest():
    times = {OURS: 1.0, FLAX: 4.0, PYTORCH: 3.0, COMPILED: 2.0, LIMIT: 0.5}
    rows = [Row("g", name, Timing((time,))) for name, time in times.items()]
    ours = lenet._with_speeds(rows, 10)[0]
    assert ours.figures == {
        "speed_against_flax": 4.0,
        "speed_against_pytorch": 2.0,
        "share_of_limit": 0.5,
        "ms_per_1000_images": 1e5,
    }


def test_a_compiler_that_fails_is_a_note():
    def run():
        raise RuntimeError("no C++ compiler\nand a long explanation")

    failed = lenet.first_call(run)
    assert failed.run is None
    assert failed.note == "cannot compile here: RuntimeError: no C++ compiler"
    assert lenet.first_call(lambda: 1).run() == 1


def test_cost_per_image(monkeypatch):
    def fake(step, state, images, labels):
        return Contestant(lambda: len(images))

    def measure(group, contestants, effort):
        costs = {"batch 2": 1.0, "batch 4": 3.0}
        assert [contestants[name].run() for name in costs] == [2, 4]
        return [Row(group, name, Timing((cost,))) for name, cost in costs.items()]

    monkeypatch.setattr(lenet, "carried", fake)
    monkeypatch.setattr(lenet, "measure", measure)
    ((two, four),) = cost_per_image([2, 4], QUICK)
    assert two.figures == {"ms_per_1000_images": 5e5, "cost_against_least": 1.0}
    assert four.figures == {"ms_per_1000_images": 7.5e5, "cost_against_least": 1.5}
