"""Faults of published code, made again from their descriptions, each in a step with right rules.

Not imported from anywhere: written anew, as small as they can be and still go wrong as they did.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

TOKENS, WIDTH, CLASSES = 12, 6, 10


def data(seed: int = 0) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Activations, a head and labels."""
    rng = np.random.default_rng(seed)
    x = jnp.asarray(rng.standard_normal((TOKENS, WIDTH)), jnp.float32)
    weight = jnp.asarray(rng.standard_normal((WIDTH, CLASSES)), jnp.float32)
    return x, weight, jnp.asarray(rng.integers(0, CLASSES, TOKENS))


@jax.custom_vjp
def unit_rms(x: jax.Array) -> jax.Array:
    """x over its root mean square, as it should be."""
    return x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-6)


def _unit_rms_backward(x: jax.Array, g: jax.Array) -> tuple[jax.Array]:
    scale = jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-6)
    return (g * scale - x * jnp.mean(g * x, -1, keepdims=True) * scale**3,)


unit_rms.defvjp(lambda x: (unit_rms(x), x), _unit_rms_backward)


@jax.custom_jvp
def softplus(x: jax.Array) -> jax.Array:
    """log(1 + eˣ), as it should be."""
    return jnp.logaddexp(x, 0.0)


softplus.defjvps(lambda x_dot, y, x: jax.nn.sigmoid(x) * x_dot)


def _losses(x: jax.Array, weight: jax.Array, labels: jax.Array) -> jax.Array:
    logits = x @ weight
    picked = jnp.take_along_axis(logits, labels[:, None], 1)[:, 0]
    return jax.nn.logsumexp(logits, axis=1) - picked


def _gradients(x: Any, weight: Any, labels: Any, each: Any) -> tuple[jax.Array, jax.Array]:
    """Of the losses, each with its weight."""
    off = jax.nn.softmax(x @ weight) - jax.nn.one_hot(labels, weight.shape[1], dtype=x.dtype)
    off = off * each[:, None]
    return off @ weight.T, x.T @ off


# A loss over tiles of the vocabulary whose gradients are formed in the forward pass, and handed
# back as they are: right as long as the loss is what is differentiated, which its test did.


@jax.custom_vjp
def tiled_loss(x: jax.Array, weight: jax.Array, labels: jax.Array) -> jax.Array:
    return _losses(x, weight, labels).sum()


def _tiled_forward(x: Any, weight: Any, labels: Any) -> tuple[Any, Any]:
    gradients = _gradients(x, weight, labels, jnp.ones_like(x[:, 0]))
    return tiled_loss(x, weight, labels), gradients


tiled_loss.defvjp(_tiled_forward, lambda gradients, g: (*gradients, None))

# A fused loss of each token, whose backward pass multiplies all of them by the cotangent of the
# first: right as long as all tokens count the same, as under a mean.


@jax.custom_vjp
def fused_losses(x: jax.Array, weight: jax.Array, labels: jax.Array) -> jax.Array:
    return _losses(x, weight, labels)


def _fused_forward(x: Any, weight: Any, labels: Any) -> tuple[Any, Any]:
    gradients = _gradients(x, weight, labels, jnp.ones_like(x[:, 0]))
    return fused_losses(x, weight, labels), gradients


def _fused_backward(gradients: Any, g: Any) -> tuple[Any, ...]:
    return (*(g[0] * gradient for gradient in gradients), None)


fused_losses.defvjp(_fused_forward, _fused_backward)

# A vocabulary that is filled up to a multiple of eight, whose added columns, of logits 0, are in
# the sum of the backward pass.


@jax.custom_vjp
def padded_losses(x: jax.Array, weight: jax.Array, labels: jax.Array) -> jax.Array:
    return _losses(x, weight, labels)


def _padded_backward(saved: Any, g: Any) -> tuple[Any, ...]:
    x, weight, labels = saved
    classes = weight.shape[1]
    weight = jnp.pad(weight, ((0, 0), (0, -classes % 8)))
    x_bar, weight_bar = _gradients(x, weight, labels, g)
    return x_bar, weight_bar[:, :classes], None


padded_losses.defvjp(
    lambda x, weight, labels: (padded_losses(x, weight, labels), (x, weight, labels)),
    _padded_backward,
)


def loss_with(head: Any, x: jax.Array, weight: jax.Array, labels: jax.Array) -> jax.Array:
    """Two layers, scanned, and a head whose loss is weighted as auxiliary losses are."""
    each = head(_features(x), weight, labels)
    return (each * jnp.linspace(0.1, 0.3, each.size).reshape(each.shape)).sum()


def _features(x: jax.Array) -> jax.Array:
    def layer(x: jax.Array, _: Any) -> tuple[jax.Array, None]:
        return unit_rms(x + softplus(x)), None

    return jax.lax.scan(jax.checkpoint(layer), x, length=2)[0]


STEPS = {
    "tiled_loss": functools.partial(loss_with, tiled_loss),
    "fused_losses": functools.partial(loss_with, fused_losses),
    "padded_losses": functools.partial(loss_with, padded_losses),
}


def all_losses(x: jax.Array, weight: jax.Array, labels: jax.Array) -> jax.Array:
    """The three heads on one trunk."""
    return sum((step(x, weight, labels) for step in STEPS.values()), jnp.zeros(()))
