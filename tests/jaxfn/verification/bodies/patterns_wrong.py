"""Rules whose error has a pattern: along an axis, by output, by place, by a factor that varies."""

import jax
import jax.numpy as jnp
import numpy as np

from tests.jaxfn.verification.bodies.body import Body
from tests.jaxfn.verification.bodies.case import normal, positive, rule
from tests.jaxfn.verification.bodies.witnesses import at_one, gradient

body = Body()


# A factor for each row, output or element.


def _segment_means(x, rows):
    totals = jax.ops.segment_sum(x, rows, 4)
    counts = jax.ops.segment_sum(jnp.ones(len(x), x.dtype), rows, 4)
    return totals / jnp.maximum(counts, 1)[:, None]


@body.wrong("sum-for-mean", normal(8, 3), np.array([0, 0, 1, 1, 1, 2, 3, 3]))
@rule(lambda x, rows, g: (g[rows], None))
def segment_means_without_their_counts(x, rows):
    return _segment_means(x, rows)


@body.wrong("scale", normal(6, 8))
@rule(lambda x, g: (g[:, None] * x / (jnp.linalg.norm(x, axis=1, keepdims=True) + 0.05),))
def row_norms_with_a_guarded_denominator(x):
    return jnp.linalg.norm(x, axis=1)


def _spectrum_backward(x, g):
    n = x.shape[-1]
    return (2 * n * jnp.fft.irfft(g * jnp.fft.rfft(x), n),)


@body.wrong("scale", normal(16))
@rule(_spectrum_backward)
def power_spectrum_that_counts_its_inner_bins_twice(x):
    return jnp.abs(jnp.fft.rfft(x)) ** 2


@body.wrong("other", normal(8, dtype=np.complex64))
@rule(lambda z, g: (g / z,))
def argument_of_a_complex_number_without_its_i(z):
    return jnp.angle(z)


@body.wrong("other", normal(8, dtype=np.complex64))
@rule(lambda z, g: (jnp.fft.ifft(g),))
def fourier_transform_with_its_inverse(z):
    return jnp.fft.fft(z)


def _mean_rate(x, weights):
    return jnp.mean(weights * jnp.logaddexp(0, x))


@body.wrong("scale", normal(9), positive(9))
@rule(
    lambda x, w, g: (
        g * jax.nn.sigmoid(x) / x.size,
        g * jnp.logaddexp(0, x) / x.size,
    )
)
def weighted_softplus_without_its_weights(x, weights):
    return _mean_rate(x, weights)


# Along an axis.


@body.wrong("other", normal(7, 7))
@rule(lambda x, g: (jnp.flip(jnp.cumsum(jnp.flip(g, 0), 0), 0),))
def cumulative_sum_along_the_other_axis(x):
    return jnp.cumsum(x, axis=1)


@body.wrong("other", normal(6, 6))
@rule(lambda x, g: (g[:, None] * jax.nn.softmax(x, axis=0),))
def logsumexp_with_a_softmax_over_columns(x):
    return jax.nn.logsumexp(x, axis=1)


@body.wrong("mean-for-sum", normal(5, 6))
@rule(lambda x, g: (jnp.cos(x) * g.mean(-1, keepdims=True),))
def sine_with_its_cotangent_averaged_over_rows(x):
    return jnp.sin(x)


def _grouped(queries, keys):
    return jnp.einsum("ghsd,gtd->ghst", queries, keys)


def _first_of_the_group(queries, keys, g):
    d_keys = jnp.einsum("gst,gsd->gtd", g[:, 0], queries[:, 0])
    return jnp.einsum("ghst,gtd->ghsd", g, keys), d_keys


@body.wrong("dropped-term", normal(2, 3, 4, 5), normal(2, 6, 5))
@rule(_first_of_the_group)
def shared_keys_with_the_first_head_of_their_group(queries, keys):
    return _grouped(queries, keys)


@body.wrong("dropped-term", normal(6, 5), normal(6, 1))
@rule(lambda x, s, g: (g * s, (g * x)[:, :1]))
def row_scales_with_their_first_column(x, s):
    return x * s


@body.wrong("transposed", normal(4, 4, 4))
@rule(lambda x, g: (jnp.transpose(g, (1, 2, 0)),))
def rotated_axes_rotated_on(x):
    return jnp.transpose(x, (1, 2, 0))


@body.wrong("other", normal(6, 4))
@rule(lambda x, g: (g * jnp.cos(x[::-1]),))
def sine_with_a_residual_in_backward_order(x):
    return jnp.sin(x)


def _nearest(x, y):
    return ((x[:, None] - y) ** 2).sum(-1)


def _distances_backward(x, y, g):
    d = 2 * g[..., None] * (x[:, None] - y)
    return d.sum(1), -d.sum(1)


@body.wrong("exchanged", normal(6, 3), normal(6, 3, seed=1))
@rule(_distances_backward)
def distances_with_the_rows_of_the_other_set(x, y):
    return _nearest(x, y)


# By place.


def _averaged(x):
    window, strides = (1, 3, 3, 1), (1, 2, 2, 1)
    ones = jnp.ones_like(x)
    total, count = (
        jax.lax.reduce_window(a, 0.0, jax.lax.add, window, strides, "SAME") for a in (x, ones)
    )
    return total / count


def _ninths(x, g):
    def ninth(x):
        window, strides = (1, 3, 3, 1), (1, 2, 2, 1)
        return jax.lax.reduce_window(x, 0.0, jax.lax.add, window, strides, "SAME") / 9

    return jax.vjp(ninth, x)[1](g)


@body.wrong("scale", normal(2, 8, 8, 2))
@rule(_ninths)
def average_pool_that_counts_its_padding(x):
    return _averaged(x)


@body.wrong("dropped-term", normal(6, 7))
@rule(lambda x, g: (g[1:-1, 1:-1],))
def reflected_margins_without_their_cotangents(x):
    return jnp.pad(x, 1, mode="reflect")


@body.wrong("elements", normal(300))
@rule(lambda x, g: ((g / (1 + x * x)).at[256:].multiply(0.5),))
def arctangent_halved_after_its_last_block(x):
    return jnp.arctan(x)


def _flat_places(x, g):
    _, g_value = g
    return (jnp.zeros(x.size).at[jnp.argmax(x, -1)].add(g_value).reshape(x.shape),)


def _all_in_the_first_row(x):
    return (jnp.zeros_like(x).at[jnp.arange(len(x)), jnp.argmax(x, -1)].set(1),)


@body.wrong("elements", normal(5, 6), witness=at_one(_all_in_the_first_row))
@rule(_flat_places)
def largest_of_each_row_at_places_of_the_first(x):
    return jnp.argmax(x, -1), jnp.max(x, -1)


def _causal(q, k, v):
    scores = q @ k.T / np.sqrt(q.shape[-1])
    return jax.nn.softmax(jnp.where(np.tri(len(q), dtype=bool), scores, -1e30)) @ v


def _without_rows(q, k, v, g):
    scores = q @ k.T / np.sqrt(q.shape[-1])
    p = jax.nn.softmax(jnp.where(np.tri(len(q), dtype=bool), scores, -1e30))
    d = p * (g @ v.T) / np.sqrt(q.shape[-1])
    return d @ k, d.T @ q, p.T @ g


@body.wrong("dropped-term", normal(6, 4), normal(6, 4, seed=1), normal(6, 4, seed=2))
@rule(_without_rows)
def causal_attention_without_the_sum_of_its_rows(q, k, v):
    return _causal(q, k, v)


# Formulas.


@body.wrong("scale", normal(12), np.float32(1.7))
@rule(
    lambda x, b, g: (
        g * jax.grad(lambda x: jnp.sum(x * jax.nn.sigmoid(b * x)))(x),
        b * jnp.sum(g * x * x * jax.nn.sigmoid(b * x) * jax.nn.sigmoid(-b * x)),
    )
)
def swish_with_its_sharpness_once_too_often(x, b):
    return x * jax.nn.sigmoid(b * x)


@body.wrong("dropped-term", normal(6, 4), normal(6, 4, seed=1))
@rule(lambda mu, lv, g: (g[:, None] * mu, 0.5 * g[:, None] * (jnp.exp(lv) + 1)))
def divergence_with_the_sign_of_one(mu, lv):
    return -0.5 * jnp.sum(1 + lv - mu**2 - jnp.exp(lv), -1)


@body.wrong("dropped-term", normal(7, 4))
@rule(lambda x, g: (x @ g,))
def gram_matrix_of_one_side(x):
    return x.T @ x


def _trapezoids_backward(y, x, g):
    h = g * jnp.diff(x) / 2
    s = jnp.pad(g * (y[1:] + y[:-1]) / 2, 1)
    return jnp.append(h, h[-1]), s[:-1] - s[1:]


@body.wrong("dropped-term", normal(9), np.cumsum(positive(9)))
@rule(_trapezoids_backward)
def trapezoids_with_one_of_two_neighbours(y, x):
    return jnp.sum(jnp.diff(x) * (y[1:] + y[:-1]) / 2)


@body.wrong("dropped-term", 0.3 * normal(4, 4), normal(4), np.float32(0.8), witness=gradient())
@rule(lambda a, y, t, g: (*jax.vjp(_steps, a, y, t)[1](g)[:2], g @ jnp.tanh(a @ _steps(a, y, t))))
def time_of_euler_steps_by_the_formula_of_the_flow(a, y, t):
    return _steps(a, y, t)


def _steps(a, y, t):
    return jax.lax.scan(lambda y, _: (y + t / 5 * jnp.tanh(a @ y), None), y, length=5)[0]
