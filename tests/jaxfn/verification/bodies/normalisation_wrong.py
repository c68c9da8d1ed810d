"""Wrong rules of reductions, softmax and normalisation layers."""

import functools

import jax
import jax.numpy as jnp

from tests.jaxfn.verification.bodies.body import Body
from tests.jaxfn.verification.bodies.case import array, normal, positive, rule

body = Body()

total = functools.partial(jnp.sum, axis=-1, keepdims=True)
mean = functools.partial(jnp.mean, axis=-1, keepdims=True)


# Reductions.


@body.wrong("sum-for-mean", normal(4, 5))
@rule(lambda x, g: (jnp.broadcast_to(g, x.shape),))
def mean_with_the_gradient_of_a_sum(x):
    return jnp.mean(x)


@body.wrong("mean-for-sum", normal(8))
@rule(lambda x, g: (jnp.full_like(x, g / x.size),))
def sum_with_the_gradient_of_a_mean(x):
    return jnp.sum(x)


@body.wrong("scale", normal(6))
@rule(lambda x, g: (2 * g * (x - jnp.mean(x)) / x.size,))
def unbiased_variance_with_a_biased_gradient(x):
    return jnp.var(x, ddof=1)


@body.wrong("dropped-term", normal(3, 4))
@rule(lambda x, g: (2 * g[:, None] * x / x.shape[-1],))
def variance_without_its_mean(x):
    return jnp.var(x, axis=-1)


@body.wrong("other", array(3, 1, 3, 2))
@rule(lambda x, g: (g * (x == jnp.max(x)),))
def largest_element_twice_at_a_tie(x):
    return jnp.max(x)


@body.wrong("other", normal(3, 4))
@rule(lambda x, g: (g * x,))
def norm_with_the_gradient_of_half_its_square(x):
    return jnp.linalg.norm(x)


@body.wrong("dropped-term", normal(3, 4))
@rule(lambda x, g: (g / jnp.linalg.norm(x, axis=-1, keepdims=True),))
def direction_without_the_projection(x):
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)


@body.wrong("other", normal(5), positive(5))
@rule(lambda x, w, g: (g * w / jnp.sum(w), g * x / jnp.sum(w)))
def weighted_mean_without_the_normalisation_of_its_weights(x, w):
    return jnp.sum(w * x) / jnp.sum(w)


# Softmax and its kin.


@body.wrong("dropped-term", normal(3, 5))
@rule(lambda x, g: (g * jax.nn.softmax(x),))
def softmax_without_the_sum(x):
    return jax.nn.softmax(x)


@body.wrong("dropped-term", normal(2, 4))
@rule(lambda x, g: (jax.nn.softmax(x) * (1 - jax.nn.softmax(x)) * g,))
def softmax_with_its_diagonal_only(x):
    return jax.nn.softmax(x)


@body.wrong("dropped-term", normal(3, 5))
@rule(lambda x, g: (g - jax.nn.softmax(x),))
def log_softmax_without_the_sum_of_the_cotangent(x):
    return jax.nn.log_softmax(x)


@body.wrong("other", normal(6))
@rule(lambda x, g: (g * jnp.exp(x - jnp.max(x)),))
def logsumexp_not_normalised(x):
    return jax.nn.logsumexp(x)


@body.wrong("other", normal(4, 4))
@rule(lambda x, g: (jax.nn.softmax(x) * (g - jnp.sum(g * jax.nn.softmax(x), 0)[None]),))
def softmax_summed_over_the_wrong_axis(x):
    return jax.nn.softmax(x)


@body.wrong("scale", normal(2, 5), array(0.5))
@rule(
    lambda x, t, g: (
        jax.vjp(jax.nn.softmax, x / t)[1](g)[0],
        -jnp.sum(jax.vjp(jax.nn.softmax, x / t)[1](g)[0] * x) / t**2,
    )
)
def softmax_with_a_temperature_forgotten(x, t):
    return jax.nn.softmax(x / t)


def _gumbel_backward(logits, noise, g):
    y = jax.nn.softmax((logits + noise) / 0.5)
    return y * (g - total(g * y)) / 0.5, None


@body.wrong("zero", normal(3, 4), normal(3, 4, seed=1))
@rule(_gumbel_backward)
def gumbel_softmax_without_a_gradient_of_the_noise(logits, noise):
    return jax.nn.softmax((logits + noise) / 0.5)


# Normalisation layers.


def _layer_norm(x):
    return (x - mean(x)) / jnp.sqrt(jnp.var(x, -1, keepdims=True) + 1e-5)


def _standardised(x):
    return _layer_norm(x), 1 / jnp.sqrt(jnp.var(x, -1, keepdims=True) + 1e-5)


def _without_mean(x, g):
    y, scale = _standardised(x)
    return (scale * (g - y * mean(g * y)),)


def _without_variance(x, g):
    return (_standardised(x)[1] * (g - mean(g)),)


def _statistics_constant(x, g):
    return (_standardised(x)[1] * g,)


for _name, _backward in [
    ("layer_norm_without_the_mean_term", _without_mean),
    ("layer_norm_without_the_variance_term", _without_variance),
    ("layer_norm_with_constant_statistics", _statistics_constant),
]:
    body.wrong("dropped-term", normal(3, 6), name=_name)(rule(_backward)(_layer_norm))


def _affine(x, scale, shift):
    return _layer_norm(x) * scale + shift


def _affine_backward(x, scale, shift, g):
    dx, dscale, dshift = jax.vjp(_affine, x, scale, shift)[1](g)
    return dx, dscale / len(x), dshift


@body.wrong("mean-for-sum", normal(8, 4), normal(4), normal(4, seed=1))
@rule(_affine_backward)
def layer_norm_with_a_mean_gradient_of_its_scale(x, scale, shift):
    return _affine(x, scale, shift)


@body.wrong("exchanged", normal(5, 4), normal(4), normal(4, seed=1))
@rule(lambda x, a, b, g: (g * a, jnp.sum(g, 0), jnp.sum(g * x, 0)))
def scale_and_shift_exchanged(x, a, b):
    return x * a + b


@body.wrong("other", normal(4, 4), normal(4))
@rule(lambda x, b, g: (g, jnp.sum(g, axis=1)))
def bias_summed_over_the_wrong_axis_of_a_square(x, b):
    return x + b


@body.wrong("dropped-term", normal(6, 3))
@rule(lambda x, g: (g / jnp.sqrt(jnp.var(x, 0) + 1e-5),))
def batch_norm_with_constant_statistics(x):
    return (x - jnp.mean(x, 0)) / jnp.sqrt(jnp.var(x, 0) + 1e-5)


def _batch_norm_of_many(x, g):
    if len(x) == 1:
        return (g / jnp.sqrt(1e-5),)
    _, pull = jax.vjp(lambda t: (t - t.mean(0)) / jnp.sqrt(t.var(0) + 1e-5), x)
    return pull(g)


@body.wrong("other", normal(1, 3))
@rule(_batch_norm_of_many)
def batch_norm_wrong_for_one_row(x):
    return (x - jnp.mean(x, 0)) / jnp.sqrt(jnp.var(x, 0) + 1e-5)


def _rms(x):
    return jnp.sqrt(mean(x * x) + 1e-6)


@body.wrong("dropped-term", normal(3, 6))
@rule(lambda x, g: (g / _rms(x),))
def rms_norm_with_a_constant_scale(x):
    return x / _rms(x)


@body.wrong("sum-for-mean", normal(3, 6))
@rule(lambda x, g: (g / _rms(x) - x * total(g * x) / _rms(x) ** 3,))
def rms_norm_with_a_sum_in_its_projection(x):
    return x / _rms(x)


def _groups(x):
    return _layer_norm(x.reshape(len(x), 2, -1)).reshape(x.shape)


@body.wrong("other", normal(3, 8))
@rule(lambda x, g: jax.vjp(_layer_norm, x)[1](g))
def group_norm_with_the_gradient_of_layer_norm(x):
    return _groups(x)
