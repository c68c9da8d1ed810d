"""Wrong rules of complex functions, matrices, images, losses and norms."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from tests.jaxfn.verification.bodies.body import Body
from tests.jaxfn.verification.bodies.case import normal, positive, rule

body = Body()


# Complex numbers.


@body.wrong("dropped-term", normal(4, dtype=np.complex64))
@rule(lambda z, g: (g * jnp.exp(z.real).astype(z.dtype),))
def complex_exp_with_the_gradient_of_the_real_one(z):
    return jnp.exp(z)


@body.wrong("scale", normal(5, dtype=np.complex64))
@rule(lambda z, g: (g * jnp.conj(z),))
def energy_without_its_two(z):
    return jnp.sum(z.real**2 + z.imag**2)


@body.wrong("conjugate", normal(4, dtype=np.complex64), normal(4, seed=1, dtype=np.complex64))
@rule(lambda a, b, g: (g * b, g * jnp.conj(a)))
def inner_product_not_conjugated(a, b):
    return jnp.vdot(a, b)


@body.wrong("sign", normal(3, 2, dtype=np.complex64))
@rule(lambda z, g: (g / z**2,))
def complex_reciprocal_with_the_other_sign(z):
    return 1 / z


# Matrices.


@body.wrong("dropped-term", normal(3, 3))
@rule(lambda a, g: ((3 * a @ a).T @ g,))
def cube_of_a_matrix_as_if_it_commuted(a):
    return a @ a @ a


@body.wrong("transposed", normal(4, 4))
@rule(lambda a, g: ((lambda u, s, vt: ((u * g) @ vt).T)(*jnp.linalg.svd(a)),))
def singular_values_with_exchanged_vectors(a):
    return jnp.linalg.svd(a, compute_uv=False)


FACTOR = normal(3, 3, seed=3)
SPD = (FACTOR @ FACTOR.T + np.eye(3)).astype(np.float32)


def _mahalanobis(x, a):
    return x @ jnp.linalg.solve(a, x)


def _mahalanobis_backward(x, a, g):
    y = jnp.linalg.solve(a, x)
    return 2 * g * y, g * jnp.outer(y, y)


@body.wrong("sign", normal(3), SPD)
@rule(_mahalanobis_backward)
def distance_with_the_sign_of_its_metric(x, a):
    return _mahalanobis(x, (a + a.T) / 2)


@body.wrong("dropped-term", normal(4, 3))
@rule(lambda a, g: (g / jnp.linalg.norm(a, 2),))
def spectral_normalisation_with_a_constant_norm(a):
    return a / jnp.linalg.norm(a, 2)


@body.wrong("scale", normal(3, 4), normal(4, 2))
@rule(lambda x, w, g: (g @ w.T / 2, x.T @ g / 2))
def product_halved_in_both_gradients(x, w):
    return x @ w


# Images.


def _patches(x):
    return jnp.stack([x[i : i + 3] for i in range(x.shape[0] - 2)])


def _set_patches(x, g):
    dx = jnp.zeros_like(x)
    for i in range(x.shape[0] - 2):
        dx = dx.at[i : i + 3].set(g[i])
    return (dx,)


@body.wrong("dropped-term", normal(7))
@rule(_set_patches)
def overlapping_patches_that_overwrite(x):
    return _patches(x)


def _shuffled(x):
    h, w, c = x.shape
    return x.reshape(h, w, 2, 2, c // 4).transpose(0, 2, 1, 3, 4).reshape(2 * h, 2 * w, c // 4)


def _unshuffled(x, g):
    h, w, c = x.shape
    return (g.reshape(h, 2, w, 2, c // 4).transpose(0, 2, 3, 1, 4).reshape(h, w, c),)


@body.wrong("other", normal(2, 3, 8))
@rule(_unshuffled)
def pixel_shuffle_with_exchanged_offsets(x):
    return _shuffled(x)


@body.wrong("sign", normal(5, 4))
@rule(lambda x, g: (jnp.pad(g, ((0, 1), (0, 0))) - jnp.pad(g, ((1, 0), (0, 0))),))
def vertical_difference_with_its_sign_moved(x):
    return x[1:] - x[:-1]


@body.wrong("dropped-term", normal(6, 3), normal(1, 3))
@rule(lambda x, b, g: (g, g[:1]))
def shift_with_the_gradient_of_its_first_row(x, b):
    return x + b


@body.wrong("zero", normal(4, 4), normal(4, 4, seed=1), np.eye(4) > 0)
@rule(lambda x, y, mask, g: (jnp.where(mask, g, 0), jnp.zeros_like(y), None))
def selection_without_a_gradient_of_the_other(x, y, mask):
    return jnp.where(mask, x, y)


# Losses and norms.


@body.wrong("dropped-term", normal(2, 5), positive(2, 5))
@rule(
    lambda x, b, g: (
        g[:, None] * jax.nn.softmax(x),
        jax.vjp(lambda b: jax.nn.logsumexp(x, -1, b=b), b)[1](g)[0],
    )
)
def weighted_logsumexp_without_its_weights(x, b):
    return jax.nn.logsumexp(x, -1, b=b)


def _weighted(logits, weights):
    return jnp.sum(weights * jax.nn.softplus(logits)) / jnp.sum(weights)


@body.wrong("scale", normal(6), positive(6))
@rule(
    lambda x, w, g: (
        g * w * jax.nn.sigmoid(x) / x.size,
        jax.vjp(lambda w: _weighted(x, w), w)[1](g)[0],
    )
)
def weighted_loss_divided_by_its_length(x, w):
    return _weighted(x, w)


@body.wrong("scale", normal(5), np.float32(1.5))
@rule(
    lambda x, d, g: (
        g * x / d / jnp.sqrt(1 + (x / d) ** 2),
        jax.vjp(lambda d: d**2 * (jnp.sqrt(1 + (x / d) ** 2) - 1), d)[1](g)[0],
    )
)
def pseudo_huber_without_its_width(x, d):
    return d**2 * (jnp.sqrt(1 + (x / d) ** 2) - 1)


@body.wrong("sign", normal(5))
@rule(lambda x, g: (g * x * x / jnp.sum(jnp.abs(x) ** 3) ** (2 / 3),))
def three_norm_without_its_signs(x):
    return jnp.sum(jnp.abs(x) ** 3) ** (1 / 3)


@body.wrong("scale", normal(5), normal(5, seed=1))
@rule(lambda y, x, g: (g * x / jnp.hypot(x, y), -g * y / jnp.hypot(x, y)))
def angle_divided_by_the_radius_once(y, x):
    return jnp.arctan2(y, x)


@body.wrong("other", normal(8))
@rule(lambda x, g: (jax.vjp(lambda t: jax.nn.gelu(t, approximate=True), x)[1](g)[0],))
def gelu_with_the_gradient_of_its_approximation(x):
    return jax.nn.gelu(x, approximate=False)


def _masked_attention(q, k, v, mask):
    return jax.nn.softmax(jnp.where(mask, q @ k.T, -1e30)) @ v


def _leaking(q, k, v, mask, g):
    p = jax.nn.softmax(q @ k.T)
    dp = g @ v.T
    ds = p * (dp - jnp.sum(dp * p, -1, keepdims=True))
    return (
        ds @ k,
        ds.T @ q,
        jnp.where(mask, jax.nn.softmax(jnp.where(mask, q @ k.T, -1e30)), 0).T @ g,
        None,
    )


@body.wrong(
    "other", normal(4, 3), normal(4, 3, seed=1), normal(4, 2, seed=2), np.tri(4, dtype=bool)
)
@rule(_leaking)
def causal_attention_whose_rule_forgets_the_mask(q, k, v, mask):
    return _masked_attention(q, k, v, mask)


def _interpolated(x, y):
    t = jnp.clip(x, 0, y.size - 1.001)
    i = lax.stop_gradient(jnp.floor(t)).astype(int)
    return y[i] + (t - i) * (y[i + 1] - y[i])


def _late_interval(x, y, g):
    i = jnp.floor(jnp.clip(x, 0, y.size - 1.001)).astype(int)
    inside = (x >= 0) & (x <= y.size - 1.001)
    slope = y[jnp.minimum(i + 2, y.size - 1)] - y[i + 1]
    return g * jnp.where(inside, slope, 0), jax.vjp(lambda y: _interpolated(x, y), y)[1](g)[0]


@body.wrong("other", positive(5), normal(8))
@rule(_late_interval)
def interpolation_with_the_slope_of_the_next_interval(x, y):
    return _interpolated(x, y)
