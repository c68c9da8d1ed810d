"""The pure functions of a training."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import jaxfn
import models
from scripts.training.step import (
    TrainState,
    epoch_batches,
    make_advance,
    make_evaluate,
    make_loss_fn,
    make_random_shift,
    make_train_step,
    mean_metrics,
    next_epoch,
    shuffled_batches,
    split_model,
    start,
)

pytestmark = pytest.mark.numbers

GRAPHDEF, PARAMS = split_model(models.LeNet(rngs=nnx.Rngs(0)))
IMAGES = jax.random.normal(jax.random.key(1), (23, 32, 32, 1))
LABELS = jax.random.randint(jax.random.key(2), (23,), 0, 10)


@pytest.fixture(scope="module")
def loss_and_grad():
    """Of LeNet with the hand-written rules: `(loss, logits), gradients`."""
    loss = make_loss_fn(GRAPHDEF)
    return jax.jit(jax.value_and_grad(loss, has_aux=True))(PARAMS, IMAGES, LABELS)


@pytest.fixture(scope="module")
def expected():
    """The logits, by the model itself."""
    return jax.jit(nnx.merge(GRAPHDEF, PARAMS))(IMAGES)


def test_an_epoch_has_no_image_twice_and_leaves_out_less_than_a_batch():
    batches = shuffled_batches(jax.random.key(0), 23, 5)
    assert batches.shape == (4, 5)
    assert len(np.unique(batches)) == 20
    assert batches.min() >= 0
    assert batches.max() < 23


def test_over_some_epochs_every_image_is_seen():
    epochs = [shuffled_batches(jax.random.key(i), 23, 8) for i in range(10)]
    assert len(np.unique(np.stack(epochs))) == 23
    assert not np.array_equal(epochs[0], epochs[1])


def test_a_batch_of_all_images():
    batches = shuffled_batches(jax.random.key(0), 23, 23)
    np.testing.assert_array_equal(np.sort(batches[0]), np.arange(23))


def test_loss(expected):
    loss, logits = jax.jit(make_loss_fn(GRAPHDEF))(PARAMS, IMAGES, LABELS)
    np.testing.assert_allclose(logits, expected)
    picked = jax.nn.log_softmax(expected)[jnp.arange(23), LABELS]
    np.testing.assert_allclose(loss, -picked.mean(), rtol=1e-5)


def test_rules(loss_and_grad):
    """The hand-written rules are in the one loss and not in the other."""
    custom, autodiff = (make_loss_fn(GRAPHDEF, rule) for rule in ("custom", "autodiff"))
    args = (PARAMS, IMAGES, LABELS)
    names = {rule.name for rule in jaxfn.custom_rules(custom, *args) if rule.kind == "custom_vjp"}
    assert len(names) >= 2
    assert not [r for r in jaxfn.custom_rules(autodiff, *args) if r.kind == "custom_vjp"]
    expected, _ = jax.jit(jax.grad(autodiff, has_aux=True))(*args)
    chex.assert_trees_all_close(loss_and_grad[1], expected, rtol=1e-4, atol=1e-6)


def test_step_of_gradient_descent(loss_and_grad):
    loss_fn = make_loss_fn(GRAPHDEF)
    optimizer = optax.sgd(0.1)
    state = TrainState(PARAMS, optimizer.init(PARAMS))
    state, metrics = jax.jit(make_train_step(loss_fn, optimizer))(state, IMAGES, LABELS)
    (loss, logits), grads = loss_and_grad
    expected = jax.tree.map(lambda p, g: p - 0.1 * g, PARAMS, grads)
    chex.assert_trees_all_close(state.params, expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(metrics.loss, loss, rtol=1e-6)
    assert metrics.accuracy == np.mean(np.argmax(logits, 1) == LABELS)


def test_epoch_is_its_steps():
    optimizer = optax.sgd(0.1, momentum=0.9)
    step = make_train_step(linear_loss, optimizer)
    first = TrainState(LINEAR, optimizer.init(LINEAR))
    key = jax.random.key(3)
    advance = make_advance(step, 8, lambda _, images: images)
    position, _ = jax.jit(advance)(start(first, key), 2, IMAGES, LABELS)

    step, state, losses = jax.jit(step), first, []
    batches, keys = epoch_batches(start(first, key), 23, 8)
    assert len(keys) == len(batches) == 2
    for batch in batches:
        state, step_metrics = step(state, IMAGES[batch], LABELS[batch])
        losses.append(step_metrics.loss)
    chex.assert_trees_all_close(position.state, state, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(mean_metrics(position).loss, np.mean(losses), rtol=1e-5)


def linear_loss(params, x, labels):
    logits = x.reshape(len(x), -1) @ params["kernel"] + params["bias"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), logits


LINEAR = {"kernel": jnp.zeros((1024, 10)), "bias": jnp.zeros(10)}
OPTIMIZER = optax.sgd(optax.cosine_decay_schedule(1e-3, 100), momentum=0.9)


def linear_start():
    state = TrainState(LINEAR, OPTIMIZER.init(LINEAR))
    return start(state, jax.random.key(4))


def linear_advance(**options):
    step = make_train_step(linear_loss, OPTIMIZER, **options)
    return jax.jit(make_advance(step, 4, make_random_shift(2, 0.0)))


def advanced(advance, position, stops, images=IMAGES):
    for stop in stops:
        position, finite = advance(position, stop, images, LABELS)
    return position, finite


@pytest.mark.optimized
def test_where_an_epoch_is_cut_changes_no_bit():
    advance = linear_advance()
    whole, _ = advanced(advance, linear_start(), [5])
    for stops in ([1, 2, 3, 4, 5], [3, 5], [0, 4, 4, 5]):
        cut, finite = advanced(advance, linear_start(), stops)
        assert finite
        chex.assert_trees_all_equal(jax.device_get(cut._replace(key=0)), whole._replace(key=0))
    second, _ = advanced(advance, next_epoch(whole), [5])
    assert (int(second.epoch), int(second.step)) == (2, 5)
    batches = [epoch_batches(p, 23, 4)[0] for p in (whole, second)]
    assert not np.array_equal(*batches)


def with_a_nan(position, step):
    """The images, with a nan in one that is in the batch of `step`."""
    batches, _ = epoch_batches(position, 23, 4)
    return IMAGES.at[batches[step, 0], 16, 16].set(jnp.nan)


def test_what_is_not_finite_is_seen_after_the_last_step():
    images = with_a_nan(linear_start(), 2)
    advance = linear_advance()
    good, finite = advanced(advance, linear_start(), [2], images)
    assert (bool(finite), int(good.nonfinite)) == (True, 0)
    for stop in (3, 5):
        position, finite = advanced(advance, linear_start(), [stop], images)
        assert (bool(finite), int(position.nonfinite)) == (False, stop - 2)


def test_steps_that_are_not_finite_are_skipped():
    images = with_a_nan(linear_start(), 2)
    advance = linear_advance(skip_nonfinite=True)
    before, _ = advanced(advance, linear_start(), [2], images)
    after, finite = advanced(advance, before, [3], images)
    assert (bool(finite), int(after.nonfinite)) == (True, 1)
    chex.assert_trees_all_equal((after.state, after.sums), (before.state, before.sums))
    end, finite = advanced(advance, after, [5], images)
    assert finite
    np.testing.assert_allclose(mean_metrics(end).loss, end.sums.loss / 4)
    assert np.isnan(mean_metrics(linear_start()).loss)


def test_a_loss_without_a_finite_gradient_is_skipped():
    """The square root's derivative at 0."""

    def loss(params, x, labels):
        value, logits = linear_loss(params, x, labels)
        return value + jnp.sqrt(jnp.sum(params["bias"] ** 2)), logits

    state = linear_start().state
    step = jax.jit(make_train_step(loss, OPTIMIZER, skip_nonfinite=True))
    after, metrics = step(state, IMAGES, LABELS)
    chex.assert_trees_all_equal(after, state)
    assert np.isnan(metrics.loss)


def test_parts_of_a_batch_are_the_batch():
    state = linear_start().state
    whole, parts = (
        jax.jit(make_train_step(linear_loss, OPTIMIZER, accumulate=accumulate))(
            state, IMAGES[:20], LABELS[:20]
        )
        for accumulate in (1, 5)
    )
    chex.assert_trees_all_close(parts, whole, rtol=1e-5, atol=1e-7)


def test_bfloat16():
    """The net computes in it; the loss, the gradients and so the parameters do not."""
    loss_fn = make_loss_fn(GRAPHDEF, dtype="bfloat16")
    assert "bf16[23,84]" in str(jax.make_jaxpr(loss_fn)(PARAMS, IMAGES, LABELS))
    results = jax.eval_shape(jax.value_and_grad(loss_fn, has_aux=True), PARAMS, IMAGES, LABELS)
    assert {leaf.dtype for leaf in jax.tree.leaves(results)} == {jnp.dtype("float32")}


def test_bfloat16_rounds_only():
    """As many roundings of 2⁻⁹ as inputs and weights have, relative to the gradient."""
    graphdef, params = split_model(models.Linear(1024, 10, rngs=nnx.Rngs(0)))
    rows = IMAGES.reshape(len(IMAGES), -1)
    wide, narrow = (
        jax.grad(make_loss_fn(graphdef, dtype=dtype), has_aux=True)(params, rows, LABELS)[0]
        for dtype in ("float32", "bfloat16")
    )
    errors = jax.tree.map(lambda a, b: jnp.linalg.norm(a - b) / jnp.linalg.norm(a), wide, narrow)
    assert all(0 < error < 8 * 2**-9 for error in jax.tree.leaves(errors))


@pytest.mark.parametrize("batch_size", [1, 5, 23, 100])
def test_evaluation_sees_each_image_once(batch_size, expected):
    evaluate = jax.jit(make_evaluate(GRAPHDEF, batch_size))
    metrics, logits = evaluate(PARAMS, IMAGES, LABELS)
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-6)
    assert metrics.accuracy == np.mean(np.argmax(expected, 1) == LABELS)
    loss = optax.softmax_cross_entropy_with_integer_labels(expected, LABELS).mean()
    np.testing.assert_allclose(metrics.loss, loss, rtol=1e-5)


def test_random_shift():
    images = jnp.full((200, 32, 32, 1), 2.0).at[:, 16, 16].set(5.0)
    shifted = make_random_shift(3, -1.0)(jax.random.key(0), images)
    assert shifted.shape == images.shape
    _, rows, columns, _ = np.nonzero(np.asarray(shifted) == 5)
    assert len(rows) == 200
    assert set(rows) == set(columns) == set(range(13, 20))
    assert set(np.unique(shifted)) == {-1.0, 2.0, 5.0}


def test_no_shift():
    np.testing.assert_array_equal(make_random_shift(0, -1.0)(jax.random.key(0), IMAGES), IMAGES)
