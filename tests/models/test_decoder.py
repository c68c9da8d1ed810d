"""The decoder: what it computes, with a cache and without."""

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxfn
import models
from scripts.training.step import split_model

pytestmark = pytest.mark.numbers

SIZES = {"width": 16, "layers": 3, "heads": 4, "kv_heads": 2, "hidden": 20}
GRAPHDEF, PARAMS = split_model(models.Decoder(11, **SIZES, rngs=nnx.Rngs(0)))
TOKENS = jax.random.randint(jax.random.key(1), (2, 9), 0, 11)
LABELS = jax.random.randint(jax.random.key(2), (2, 9), 0, 11)


def merged(params=PARAMS, **changes):
    graphdef = GRAPHDEF
    if changes:
        graphdef, _ = split_model(models.Decoder(11, **SIZES | changes, rngs=nnx.Rngs(0)))
    return nnx.merge(graphdef, params)


@pytest.fixture(scope="module")
def logits():
    return jax.jit(merged())(TOKENS)


def test_parameters():
    """The layers are stacked, and the head has none of its own."""
    blocks = PARAMS["blocks"]
    assert jax.tree.map(jnp.shape, blocks) == {
        "attention_norm": (3, 16),
        "qkv": {"kernel": (3, 16, 32)},
        "attention_out": {"kernel": (3, 16, 16)},
        "mlp_norm": (3, 16),
        "gate_up": {"kernel": (3, 16, 40)},
        "down": {"kernel": (3, 20, 16)},
    }
    assert not jnp.array_equal(*blocks["qkv"]["kernel"][:2])
    count = sum(leaf.size for leaf in jax.tree.leaves(PARAMS))
    assert count == 11 * 16 + 16 + 3 * (2 * 16 + 16 * 32 + 16 * 16 + 16 * 40 + 20 * 16)
    assert f"{count:,}" in str(merged())


def test_by_default_it_has_the_size_that_it_says():
    shapes = nnx.eval_shape(lambda: models.Decoder(256, rngs=nnx.Rngs(0)))
    leaves = jax.tree.leaves(nnx.state(shapes, nnx.Param))
    count = sum(math.prod(leaf.shape) for leaf in leaves)
    assert f"{count:,} parameters" in models.Decoder.__doc__


def plain(params, tokens):
    """The same in loops over layers, positions and heads, in numpy and float64."""
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    blocks = params["blocks"]

    def norm(x, scale):
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * scale

    def turned(x, t):  # of one head
        theta = t * 10_000.0 ** (-np.arange(2) / 2)
        a, b = x[:2], x[2:]
        return np.concatenate([a * np.cos(theta) - b * np.sin(theta),
                               b * np.cos(theta) + a * np.sin(theta)])  # fmt: skip

    h = params["embedding"][tokens]
    for i in range(3):
        qkv = norm(h, blocks["attention_norm"][i]) @ blocks["qkv"]["kernel"][i]
        heads = qkv.reshape(len(tokens), 8, 4)
        attended = np.zeros((len(tokens), 4, 4))
        for head in range(4):
            for t in range(len(tokens)):
                q = turned(heads[t, head], t)
                scores = [q @ turned(heads[s, 4 + head // 2], s) / 2 for s in range(t + 1)]
                weights = np.exp(scores) / np.exp(scores).sum()
                attended[t, head] = weights @ heads[: t + 1, 6 + head // 2]
        h = h + attended.reshape(h.shape) @ blocks["attention_out"]["kernel"][i]
        gate, up = np.split(norm(h, blocks["mlp_norm"][i]) @ blocks["gate_up"]["kernel"][i], 2, -1)
        h = h + (gate / (1 + np.exp(-gate)) * up) @ blocks["down"]["kernel"][i]
    return norm(h, params["norm"]) @ params["embedding"].T


def test_logits(logits):
    for tokens, found in zip(np.asarray(TOKENS), logits, strict=True):
        np.testing.assert_allclose(found, plain(PARAMS, tokens), rtol=1e-4, atol=1e-5)


def test_no_token_sees_a_later_one(logits):
    changed = TOKENS.at[:, 5].add(1) % 11
    found = jax.jit(merged())(changed)
    np.testing.assert_array_equal(found[:, :5], logits[:, :5])
    assert (found[:, 5:] != logits[:, 5:]).any(-1).all()


@pytest.mark.parametrize("beginning", [1, 4, 9])
def test_the_cache_gives_the_logits_of_the_whole_pass(logits, beginning):
    """With places left over in it, whose content does not count."""
    model = merged()
    cache = model.init_cache(2, 12)
    cache = cache._replace(keys=cache.keys + 100, values=cache.values + 100)
    step = jax.jit(type(model).step)
    found, cache = step(model, TOKENS[:, :beginning], cache)
    parts = [found]
    for i in range(beginning, 9):
        found, cache = step(model, TOKENS[:, i : i + 1], cache)
        parts.append(found)
    assert int(cache.position) == 9
    np.testing.assert_allclose(jnp.concatenate(parts, 1), logits, rtol=1e-4, atol=1e-5)


def test_loss(logits):
    where = jnp.arange(9) < jnp.array([[9], [4]])
    picked = jnp.take_along_axis(jax.nn.log_softmax(logits), LABELS[..., None], -1)[..., 0]
    model = merged()
    np.testing.assert_allclose(model.loss(TOKENS, LABELS), -picked.mean(), rtol=1e-5)
    np.testing.assert_allclose(
        model.loss(TOKENS, LABELS, where), -(picked * where).sum() / 13, rtol=1e-5
    )
    each = model.loss(TOKENS, LABELS, reduction="none")
    np.testing.assert_allclose(each, -picked, rtol=1e-4, atol=1e-5)


def test_gradients_are_those_of_autodiff():
    def loss(params, tokens, labels):
        return merged(params).loss(tokens, labels)

    custom, autodiff = (
        jax.jit(jax.grad(f))(PARAMS, TOKENS, LABELS)
        for f in (loss, jaxfn.autodiff(loss, custom_jvp=True))
    )
    chex.assert_trees_all_close(custom, autodiff, rtol=1e-4, atol=1e-6)
    assert all(jnp.any(leaf != 0) for leaf in jax.tree.leaves(custom))


def test_dropout_is_of_each_example_alone(logits):
    """Its keys alone say what is left out: not the other examples, so not the parts of a batch."""
    model = merged(dropout=0.5)
    keys = jax.random.split(jax.random.key(3), 2)
    both = model.hidden(TOKENS, keys=keys)
    one = model.hidden(TOKENS[1:], keys=keys[1:])
    np.testing.assert_allclose(one[0], both[1], rtol=1e-4, atol=1e-5)
    assert not jnp.allclose(both, model.hidden(TOKENS, keys=keys[::-1]), atol=0.1)
    np.testing.assert_allclose(model(TOKENS), logits, rtol=1e-4, atol=1e-5)


def test_the_program_does_not_grow_with_the_layers():
    def length(layers):
        model = models.Decoder(11, **SIZES | {"layers": layers}, rngs=nnx.Rngs(0))
        return len(str(jax.make_jaxpr(lambda tokens: model(tokens))(TOKENS)).splitlines())

    assert length(2) == length(5)


def test_bfloat16():
    model = merged(jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), PARAMS))
    assert model(TOKENS).dtype == jnp.bfloat16
    assert model.init_cache(1, 4).keys.dtype == jnp.bfloat16
    np.testing.assert_allclose(model.loss(TOKENS, LABELS), merged().loss(TOKENS, LABELS), rtol=0.02)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 18}, "expected width = heads × an even number, got width 18, heads 4"),
        ({"width": 12}, "expected width = heads × an even number"),
        ({"kv_heads": 3}, "expected heads to be a multiple of kv_heads, got 4 and 3"),
        ({"layers": 0}, "expected layers of at least 1, got 0"),
        ({"dropout": 1.0}, "expected dropout 0 ≤ … < 1, got 1.0"),
    ],
)
def test_sizes_that_do_not_fit(changes, message):
    with pytest.raises(ValueError, match=f"Decoder: {message}"):
        models.Decoder(11, **SIZES | changes, rngs=nnx.Rngs(0))
