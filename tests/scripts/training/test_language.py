"""What a decoder's training has of its own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import models
from scripts.training import nonfinite
from scripts.training.language import (
    Crops,
    make_random_crop,
    make_text_evaluate,
    make_text_loss,
    sample_bytes,
    stages,
)
from scripts.training.step import split_model
from scripts.training.text import pieces

pytestmark = pytest.mark.numbers

MODEL = models.Decoder(256, width=8, layers=2, heads=2, kv_heads=1, hidden=8, rngs=nnx.Rngs(0))
GRAPHDEF, PARAMS = split_model(MODEL)
PIECES = jax.random.randint(jax.random.key(0), (7, 6), 0, 256).astype(jnp.uint8)
CROPS = Crops(PIECES.astype(jnp.int32), jax.random.split(jax.random.key(1), 7))


def test_crops_begin_anywhere_in_the_first_half():
    made = jnp.asarray(pieces(np.arange(200, dtype=np.uint8), 5, 10))
    crop = jax.jit(make_random_crop(5))
    crops = [crop(jax.random.key(i), made) for i in range(20)]
    for tokens, keys in crops:
        assert (tokens.shape, tokens.dtype, keys.shape) == ((39, 6), jnp.int32, (39,))
        np.testing.assert_array_equal(jnp.diff(tokens), 1)
    begins = jnp.stack([tokens[:, 0] for tokens, _ in crops]) - 5 * jnp.arange(39)
    assert set(np.unique(begins)) == {0, 1, 2, 3, 4}
    assert len(np.unique(jax.random.key_data(crops[0].keys), axis=0)) == 39


def test_draws():
    logits = jnp.log(jnp.array([[0.5, 0.3, 0.15, 0.05]]))

    def draw(top_k, temperature):
        keys = jax.random.split(jax.random.key(0), 4000)
        drawn = jax.vmap(sample_bytes, (None, 0, None, None))(
            logits, keys, jnp.float32(temperature), top_k
        )
        return np.bincount(np.asarray(drawn).ravel(), minlength=4) / 4000

    np.testing.assert_allclose(draw(None, 1), [0.5, 0.3, 0.15, 0.05], atol=0.03)
    np.testing.assert_allclose(draw(2, 1), [0.625, 0.375, 0, 0], atol=0.03)
    squares = np.array([0.25, 0.09, 0.0225, 0.0025])
    np.testing.assert_allclose(draw(9, 0.5), squares / squares.sum(), atol=0.03)
    np.testing.assert_array_equal(draw(None, 0), [1, 0, 0, 0])


@pytest.mark.parametrize("batch_size", [1, 3, 7, 100])
def test_evaluation_sees_each_piece_once(batch_size):
    metrics, losses = jax.jit(make_text_evaluate(GRAPHDEF, batch_size))(PARAMS, PIECES)
    picked = jax.nn.log_softmax(MODEL(CROPS.tokens[:, :-1]))
    picked = jnp.take_along_axis(picked, CROPS.tokens[:, 1:, None], -1)[..., 0]
    np.testing.assert_allclose(losses, -picked.mean(-1), rtol=1e-5)
    np.testing.assert_allclose(metrics.loss, -picked.mean(), rtol=1e-5)


def test_bfloat16():
    """The net computes in it; the loss and the gradients do not."""
    loss_fn = make_text_loss(GRAPHDEF, dtype="bfloat16")
    assert "bf16[7,5,8]" in str(jax.make_jaxpr(loss_fn)(PARAMS, CROPS))
    results = jax.eval_shape(jax.value_and_grad(loss_fn, has_aux=True), PARAMS, CROPS)
    assert {leaf.dtype for leaf in jax.tree.leaves(results)} == {jnp.dtype("float32")}


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("embedding", "the embedding (nan)"),
        ("attention_norm", "the output of layer 2 (nan)"),
        ("norm", "the output of norm (nan)"),
        (None, "the optimiser's update of the parameters"),
    ],
)
def test_what_is_not_finite_is_found(name, where):
    params = jax.tree.map(lambda leaf: leaf, PARAMS)
    if name in ("embedding", "norm"):
        params[name] = params[name] * jnp.nan
    elif name is not None:
        params["blocks"][name] = params["blocks"][name].at[1].set(jnp.nan)
    forward = stages(GRAPHDEF, "float32", params, CROPS)
    loss_fn = make_text_loss(GRAPHDEF)
    assert nonfinite.first_nonfinite(forward, [], loss_fn, params, CROPS) == where
