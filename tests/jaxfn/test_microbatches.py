"""Gradients in slices: those of the whole batch, to rounding."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxfn
import models
from jaxfn import microbatches
from scripts.training.step import make_loss_fn, split_model


def mean_loss(params, x, y):
    h = jnp.tanh(x @ params["w"])
    return jnp.mean((h.sum(1) - y) ** 2), {"h": h}


def problem(size: int, dtype="float32"):
    rng = np.random.RandomState(0)
    params = {"w": jnp.asarray(rng.standard_normal((4, 3)), dtype)}
    return params, jnp.asarray(rng.standard_normal((size, 4)), dtype), jnp.ones(size, dtype)


def scans(fun, *args) -> list[int]:
    """The lengths of the loops in the program for this platform."""
    jaxpr = jax.make_jaxpr(fun)(*args)
    branches = [e.params["branches"][0] for e in jaxpr.eqns if e.primitive.name == "cond"]
    eqns = [eqn for part in (jaxpr, *branches) for eqn in part.eqns]
    return [eqn.params["length"] for eqn in eqns if eqn.primitive.name == "scan"]


of_the_whole_batch = jax.jit(jax.value_and_grad(mean_loss, has_aux=True))


@pytest.mark.parametrize("size", [1, 2, 7, 24, 25])
@pytest.mark.parametrize("kept", [1, 100, 400, 10**9])
def test_the_size_of_the_slices_changes_nothing(monkeypatch, size, kept):
    monkeypatch.setattr(microbatches, "_KEPT_BYTES", kept)
    args = problem(size)
    actual = jax.jit(jaxfn.microbatched_value_and_grad(mean_loss))(*args)
    expected = of_the_whole_batch(*args)
    chex.assert_trees_all_close(actual, expected, rtol=2e-6, atol=1e-7)
    chex.assert_trees_all_equal_dtypes(actual, expected)


@pytest.mark.long
def test_slices_follow_from_the_shapes():
    graphdef, params = split_model(models.LeNet(rngs=nnx.Rngs(0)))
    step = jaxfn.microbatched_value_and_grad(make_loss_fn(graphdef))

    def lengths(size: int) -> list[int]:
        images = jax.ShapeDtypeStruct((size, 32, 32, 1), jnp.float32)
        return scans(step, params, images, jax.ShapeDtypeStruct((size,), jnp.int32))

    assert lengths(128) == []
    (few,), (many,) = lengths(1024), lengths(8192)
    assert 4 <= few <= 16
    assert abs(many - 8 * few) <= 8


@pytest.mark.long
def test_of_lenet_at_a_batch_that_slices_do_not_divide():
    graphdef, params = split_model(models.LeNet(rngs=nnx.Rngs(0)))
    loss_fn = make_loss_fn(graphdef)
    rng = np.random.RandomState(0)
    batch = (
        jnp.asarray(rng.rand(301, 32, 32, 1), "float32"),
        jnp.asarray(rng.randint(10, size=301)),
    )
    assert scans(jaxfn.microbatched_value_and_grad(loss_fn), params, *batch)
    actual = jax.jit(jaxfn.microbatched_value_and_grad(loss_fn))(params, *batch)
    expected = jax.jit(jax.value_and_grad(loss_fn, has_aux=True))(params, *batch)
    chex.assert_trees_all_close(actual, expected, rtol=1e-4, atol=1e-6)


def test_sixteen_bit_gradients_are_summed_in_float32(monkeypatch):
    monkeypatch.setattr(microbatches, "_KEPT_BYTES", 1)

    def mean(w, x):
        return (w * x).mean().astype("bfloat16"), x

    x = jnp.ones(1000, "bfloat16")
    _, gradient = jaxfn.microbatched_value_and_grad(mean)(jnp.ones((), "bfloat16"), x)
    assert (gradient.item(), gradient.dtype) == (1.0, jnp.bfloat16)


def test_a_step_takes_memory_for_a_slice_and_not_for_the_batch():
    graphdef, params = split_model(models.LeNet(rngs=nnx.Rngs(0)))
    loss_fn = make_loss_fn(graphdef)

    def temporary(fun, size: int) -> int:
        args = (params, jnp.zeros((size, 32, 32, 1)), jnp.zeros(size, int))
        return jax.jit(fun).lower(*args).compile().memory_analysis().temp_size_in_bytes

    sliced = jaxfn.microbatched_value_and_grad(loss_fn)
    plain = jax.value_and_grad(loss_fn, has_aux=True)
    assert temporary(sliced, 4096) < temporary(plain, 4096) / 4
    assert temporary(sliced, 4096) < 1.5 * temporary(sliced, 1024)
    # Of a whole batch what the operations keep, and not what they compute on the way.
    assert temporary(plain, 4096) < 4096 * 24 * 1024


@pytest.mark.parametrize(
    "batch", [(), (jnp.ones(()),), (jnp.ones((3, 4)), jnp.ones(2))], ids=["none", "scalar", "2, 3"]
)
def test_batches_that_are_none(batch):
    with pytest.raises(
        ValueError, match="expected arrays of equal first dimension, the batch, got"
    ):
        jaxfn.microbatched_value_and_grad(lambda p, *batch: (p, None))(1.0, *batch)
