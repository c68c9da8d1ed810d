"""ResNet-18: its parameters, and that it computes what plain Flax's does."""

from __future__ import annotations

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxfn
import models
from jaxfn import nn
from models import resnet

pytestmark = pytest.mark.numbers


def abstract(layers: Any = nn, **options: int) -> models.ResNet18:
    """The model without numbers."""
    return nnx.eval_shape(lambda: models.ResNet18(layers=layers, rngs=nnx.Rngs(0), **options))


def filled(
    model: nnx.Module, dtype: Any = jnp.float32
) -> tuple[nnx.GraphDef, nnx.State, nnx.State]:
    """The model with small random parameters and statistics of `dtype`, split."""
    graphdef, params, statistics = nnx.split(model, nnx.Param, nnx.BatchStat)
    rng = np.random.RandomState(0)

    def draw(of: jax.ShapeDtypeStruct) -> jax.Array:
        return jnp.asarray(0.1 * rng.rand(*of.shape), dtype)

    return graphdef, *jax.tree.map(draw, (params, statistics))


def test_parameters_and_their_names():
    state = nnx.state(abstract())
    params = nnx.to_flat_state(nnx.state(abstract(), nnx.Param))
    assert sum(np.prod(param.shape) for _, param in params) == 11_173_962
    shapes = {".".join(map(str, path)): leaf.shape for path, leaf in nnx.to_flat_state(state)}
    assert shapes["conv1.kernel"] == (3, 3, 3, 64)
    assert shapes["layer1.1.conv2.kernel"] == (3, 3, 64, 64)
    assert shapes["layer2.0.downsample.0.kernel"] == (1, 1, 64, 128)
    assert shapes["layer2.0.downsample.1.var"] == (128,)
    assert shapes["layer4.1.bn2.scale"] == (512,)
    assert shapes["fc.bias"] == (10,)
    assert "layer1.0.downsample.0.kernel" not in shapes
    assert "conv1.bias" not in shapes


def test_plain_flax_has_the_same_parameters():
    ours, plain = (nnx.state(abstract(layers)) for layers in (nn, nnx))
    chex.assert_trees_all_equal_shapes_and_dtypes(ours, plain)


def test_logits():
    def logits() -> jax.Array:
        return models.ResNet18(100, rngs=nnx.Rngs(0))(jnp.ones((4, 32, 32, 3)))

    assert nnx.eval_shape(logits).shape == (4, 100)


def test_its_convolutions_have_hand_written_gradients():
    def logits(x):
        return models.ResNet18(rngs=nnx.Rngs(0))(x)

    rules = jaxfn.custom_rules(logits, jnp.ones((1, 32, 32, 3)))
    names = [rule.name for rule in rules for _ in range(rule.count)]
    assert (names.count("_conv2d"), names.count("_relu")) == (20, 17)


def results(layers: Any, training: bool) -> Any:
    """Of a block that changes the shape, in float64: output, statistics, and all gradients."""
    graphdef, params, statistics = filled(
        nnx.eval_shape(lambda: resnet.Block(3, 4, 2, layers=layers, rngs=nnx.Rngs(0))),
        jnp.float64,
    )
    x = np.random.RandomState(1).standard_normal((2, 8, 8, 3))

    def loss_fn(params, x, statistics):
        block = nnx.merge(graphdef, params, statistics, copy=True)
        (block.train if training else block.eval)()
        y = block(x)
        return jnp.sum(jnp.sin(y)), (y, nnx.state(block, nnx.BatchStat))

    return jax.jit(jax.value_and_grad(loss_fn, (0, 1), has_aux=True))(
        params, x, statistics
    ), statistics


@pytest.mark.parametrize("training", [True, False])
def test_a_block_computes_what_plain_flax_computes(training):
    with jax.enable_x64(True):
        ours, before = results(nn, training)
        plain, _ = results(nnx, training)
    chex.assert_trees_all_close(ours, plain, rtol=1e-9, atol=1e-12)
    (_, (y, after)), _ = ours
    assert y.shape == (2, 4, 4, 4)
    moved = [
        not np.array_equal(a, b)
        for a, b in zip(*map(jax.tree.leaves, (after, before)), strict=True)
    ]
    assert moved == [training] * 6


def test_the_net_computes_what_plain_flax_computes():
    x = np.random.RandomState(1).standard_normal((1, 32, 32, 3)).astype(np.float32)

    def logits(layers):
        model = abstract(layers)
        model.eval()
        graphdef, *states = filled(model)
        return jax.jit(lambda states: nnx.merge(graphdef, *states, copy=True)(x))(states)

    np.testing.assert_allclose(logits(nn), logits(nnx), rtol=1e-4)
