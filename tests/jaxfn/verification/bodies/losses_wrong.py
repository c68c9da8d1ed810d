"""Wrong rules of losses and of attention."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from tests.jaxfn.verification.bodies.body import Body
from tests.jaxfn.verification.bodies.case import normal, rule
from tests.jaxfn.verification.bodies.witnesses import (
    argument,
)

body = Body()

total = functools.partial(jnp.sum, axis=-1, keepdims=True)


# Losses.


@body.wrong("sum-for-mean", normal(6), normal(6, seed=1))
@rule(lambda x, y, g: (2 * g * (x - y), -2 * g * (x - y)))
def mean_squared_error_without_its_mean(x, y):
    return jnp.mean((x - y) ** 2)


@body.wrong("sign", normal(6), normal(6, seed=1))
@rule(lambda x, y, g: (2 * g * (x - y), 2 * g * (x - y)))
def squared_error_with_the_sign_of_the_target(x, y):
    return jnp.sum((x - y) ** 2)


LABELS = np.array([1, 0, 4, 2])


def _cross_entropy(logits, labels, smoothing):
    classes = logits.shape[-1]
    targets = (1 - smoothing) * jax.nn.one_hot(labels, classes) + smoothing / classes
    return -jnp.mean(jnp.sum(targets * jax.nn.log_softmax(logits), -1))


def _without_smoothing(logits, labels, g):
    hot = jax.nn.one_hot(labels, logits.shape[-1])
    return g * (jax.nn.softmax(logits) - hot) / len(logits), None


@body.wrong("dropped-term", normal(4, 5), LABELS)
@rule(_without_smoothing)
def cross_entropy_without_its_smoothing(logits, labels):
    return _cross_entropy(logits, labels, 0.1)


@body.wrong("sum-for-mean", normal(4, 5), LABELS)
@rule(
    lambda logits, labels, g: (
        g * (jax.nn.softmax(logits) - jax.nn.one_hot(labels, logits.shape[-1])),
        None,
    )
)
def cross_entropy_without_its_mean(logits, labels):
    return _cross_entropy(logits, labels, 0.0)


def _masked_cross_entropy(logits, labels):
    valid = labels >= 0
    picked = jnp.take_along_axis(jax.nn.log_softmax(logits), jnp.maximum(labels, 0)[:, None], -1)
    return -jnp.sum(picked[:, 0] * valid) / jnp.sum(valid)


def _all_rows(logits, labels, g):
    hot = jax.nn.one_hot(jnp.maximum(labels, 0), logits.shape[-1])
    return g * (jax.nn.softmax(logits) - hot) / jnp.sum(labels >= 0), None


@body.wrong("elements", normal(4, 5), np.array([1, -1, 3, 0]))
@rule(_all_rows)
def cross_entropy_with_gradients_of_ignored_rows(logits, labels):
    return _masked_cross_entropy(logits, labels)


BINARY = np.array([0, 1, 1, 0, 1, 0])


def _focal_backward(x, y, g):
    focus = (1 - jax.nn.sigmoid((2 * y - 1) * x)) ** 2
    return g * focus * (jax.nn.sigmoid(x) - y), None


@body.wrong("dropped-term", normal(6), BINARY)
@rule(_focal_backward)
def focal_loss_with_a_constant_focus(x, y):
    signed = (2 * y - 1) * x
    return -jnp.sum((1 - jax.nn.sigmoid(signed)) ** 2 * jax.nn.log_sigmoid(signed))


@body.wrong("region", normal(6), BINARY)
@rule(lambda x, y, g: (g * (jax.nn.sigmoid(x) - y), None))
def binary_cross_entropy_without_the_weight_of_positives(x, y):
    return -jnp.sum(3 * y * jax.nn.log_sigmoid(x) + (1 - y) * jax.nn.log_sigmoid(-x))


def _contrastive(a, b):
    scores = a @ b.T
    rows, columns = jax.nn.log_softmax(scores), jax.nn.log_softmax(scores, axis=0)
    return -jnp.mean(jnp.diag(rows) + jnp.diag(columns))


@body.wrong("dropped-term", normal(4, 3), normal(4, 3, seed=1))
@rule(
    lambda a, b, g: jax.vjp(lambda a, b: -jnp.mean(jnp.diag(jax.nn.log_softmax(a @ b.T))), a, b)[1](
        g
    )
)
def contrastive_loss_in_one_direction(a, b):
    return _contrastive(a, b)


@body.wrong("zero", normal(4), normal(4, seed=1))
@rule(lambda p, q, g: (jnp.zeros_like(p), g * (jax.nn.softmax(q) - jax.nn.softmax(p))))
def divergence_without_a_gradient_of_the_teacher(p, q):
    return jnp.sum(jax.nn.softmax(p) * (jax.nn.log_softmax(p) - jax.nn.log_softmax(q)))


def _dropout_backward(x, mask, g):
    return g * mask, None


@body.wrong("scale", normal(4, 5), (normal(4, 5, seed=3) > 0))
@rule(_dropout_backward)
def dropout_without_rescaling_its_gradient(x, mask):
    return x * mask / 0.5


# Attention.


def _attention(q, k, v):
    return jax.nn.softmax(q @ k.T / np.sqrt(q.shape[-1]).astype(q.dtype)) @ v


def _attention_backward(error):
    def backward(q, k, v, g):
        root = np.sqrt(q.shape[-1]).astype(q.dtype)
        p = jax.nn.softmax(q @ k.T / root)
        dp = g @ v.T
        ds = p * (dp if error == "sum" else dp - total(dp * p)) / root
        dq, dk, dv = ds @ k, ds.T @ q, p.T @ g
        if error == "scale":
            dk = dk * root
        if error == "exchanged":
            dq, dk = dk, dq
        if error == "transposed":
            dv = p @ g
        return dq, dk, dv

    return backward


for _name, _cause, _error in [
    ("attention_without_the_sum_of_its_softmax", "dropped-term", "sum"),
    ("attention_without_the_root_for_its_keys", "scale", "scale"),
    ("attention_with_exchanged_queries_and_keys", "exchanged", "exchanged"),
    ("attention_with_its_probabilities_not_transposed", "other", "transposed"),
]:
    body.wrong(_cause, normal(4, 3), normal(4, 3, seed=1), normal(4, 3, seed=2), name=_name)(
        rule(_attention_backward(_error))(_attention)
    )


def _rotate(x, angle):
    a, b = jnp.split(x, 2, -1)
    return jnp.concatenate(
        [a * jnp.cos(angle) - b * jnp.sin(angle), a * jnp.sin(angle) + b * jnp.cos(angle)], -1
    )


@body.wrong("other", normal(3, 4), normal(3, 2), witness=argument(0))
@rule(lambda x, angle, g: (_rotate(g, angle), jax.vjp(_rotate, x, angle)[1](g)[1]))
def rotary_embedding_rotated_forwards(x, angle):
    return _rotate(x, angle)
