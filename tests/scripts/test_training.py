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
from scripts import training

GRAPHDEF, PARAMS = training.split_model(models.LeNet(rngs=nnx.Rngs(0)))
IMAGES = jax.random.normal(jax.random.key(1), (23, 32, 32, 1))
LABELS = jax.random.randint(jax.random.key(2), (23,), 0, 10)


def test_an_epoch_has_no_image_twice_and_leaves_out_less_than_a_batch():
    batches = training.shuffled_batches(jax.random.key(0), 23, 5)
    assert batches.shape == (4, 5)
    assert len(np.unique(batches)) == 20
    assert batches.min() >= 0
    assert batches.max() < 23


def test_over_some_epochs_every_image_is_seen():
    epochs = [training.shuffled_batches(jax.random.key(i), 23, 8) for i in range(10)]
    assert len(np.unique(np.stack(epochs))) == 23
    assert not np.array_equal(epochs[0], epochs[1])


def test_a_batch_of_all_images():
    batches = training.shuffled_batches(jax.random.key(0), 23, 23)
    np.testing.assert_array_equal(np.sort(batches[0]), np.arange(23))


def test_loss():
    loss, logits = training.make_loss_fn(GRAPHDEF)(PARAMS, IMAGES, LABELS)
    expected = nnx.merge(GRAPHDEF, PARAMS)(IMAGES)
    np.testing.assert_allclose(logits, expected)
    picked = jax.nn.log_softmax(expected)[jnp.arange(23), LABELS]
    np.testing.assert_allclose(loss, -picked.mean(), rtol=1e-5)


def test_rules():
    """The hand-written rules are in the one loss and not in the other."""
    custom, autodiff = (training.make_loss_fn(GRAPHDEF, rule) for rule in ("custom", "autodiff"))
    args = (PARAMS, IMAGES, LABELS)
    names = {rule.name for rule in jaxfn.custom_rules(custom, *args) if rule.kind == "custom_vjp"}
    assert len(names) >= 2
    assert not [r for r in jaxfn.custom_rules(autodiff, *args) if r.kind == "custom_vjp"]
    gradients = [jax.jit(jax.grad(loss, has_aux=True))(*args)[0] for loss in (custom, autodiff)]
    chex.assert_trees_all_close(*gradients, rtol=1e-4, atol=1e-6)


def test_step_of_gradient_descent():
    loss_fn = training.make_loss_fn(GRAPHDEF)
    optimizer = optax.sgd(0.1)
    state = training.TrainState(PARAMS, optimizer.init(PARAMS))
    state, metrics = jax.jit(training.make_train_step(loss_fn, optimizer))(state, IMAGES, LABELS)
    loss_and_grad = jax.jit(jax.value_and_grad(loss_fn, has_aux=True))
    (loss, logits), grads = loss_and_grad(PARAMS, IMAGES, LABELS)
    expected = jax.tree.map(lambda p, g: p - 0.1 * g, PARAMS, grads)
    chex.assert_trees_all_close(state.params, expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(metrics.loss, loss, rtol=1e-6)
    assert metrics.accuracy == np.mean(np.argmax(logits, 1) == LABELS)


def test_epoch_is_its_steps():
    optimizer = optax.sgd(0.1, momentum=0.9)
    step = training.make_train_step(training.make_loss_fn(GRAPHDEF), optimizer)
    start = training.TrainState(PARAMS, optimizer.init(PARAMS))
    key = jax.random.key(3)
    epoch = training.make_epoch(step, 8, lambda _, images: images)
    end, metrics = jax.jit(epoch)(start, key, IMAGES, LABELS)

    step, state, losses = jax.jit(step), start, []
    for batch in training.shuffled_batches(jax.random.split(key)[0], 23, 8):
        state, step_metrics = step(state, IMAGES[batch], LABELS[batch])
        losses.append(step_metrics.loss)
    chex.assert_trees_all_close(end, state, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(metrics.loss, np.mean(losses), rtol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 5, 23, 100])
def test_evaluation_sees_each_image_once(batch_size):
    evaluate = jax.jit(training.make_evaluate(GRAPHDEF, batch_size))
    metrics, logits = evaluate(PARAMS, IMAGES, LABELS)
    expected = nnx.merge(GRAPHDEF, PARAMS)(IMAGES)
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-6)
    assert metrics.accuracy == np.mean(np.argmax(expected, 1) == LABELS)
    loss = optax.softmax_cross_entropy_with_integer_labels(expected, LABELS).mean()
    np.testing.assert_allclose(metrics.loss, loss, rtol=1e-5)


def test_random_shift():
    images = jnp.full((200, 32, 32, 1), 2.0).at[:, 16, 16].set(5.0)
    shifted = training.make_random_shift(3, -1.0)(jax.random.key(0), images)
    assert shifted.shape == images.shape
    _, rows, columns, _ = np.nonzero(np.asarray(shifted) == 5)
    assert len(rows) == 200
    assert set(rows) == set(columns) == set(range(13, 20))
    assert set(np.unique(shifted)) == {-1.0, 2.0, 5.0}


def test_no_shift():
    np.testing.assert_array_equal(
        training.make_random_shift(0, -1.0)(jax.random.key(0), IMAGES), IMAGES
    )
