"""Correct rules whose terms cancel, so that what remains of a small gradient is rounding."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from tests.jaxfn.verification.bodies.body import Body
from tests.jaxfn.verification.bodies.case import array, normal, positive, rule
from tests.jaxfn.verification.bodies.witnesses import at_one, differences

body = Body()


def _softmax_pullback(p, g):
    return p * (g - jnp.sum(p * g, -1, keepdims=True))


@body.correct(array([1, 2, 300], [0, -1e4, 0]), witness=differences(at=(normal(2, 3),)))
@rule(lambda x, g: (_softmax_pullback(jax.nn.softmax(x), g),))
def softmax_with_a_winner(x):
    return jax.nn.softmax(x)


@body.correct(normal(3, 4), witness=differences(at=(0.01 * normal(3, 4),), step=1e-7))
@rule(lambda x, g: (100 * _softmax_pullback(jax.nn.softmax(100 * x), g),))
def softmax_at_a_low_temperature(x):
    return jax.nn.softmax(100 * x)


@body.correct(3 * normal(3, 4), witness=differences(at=(0.01 * normal(3, 4),), step=1e-7))
@rule(lambda x, g: (100 * _softmax_pullback(jax.nn.softmax(100 * x), g),))
def softmax_that_has_all_but_decided(x):
    return jax.nn.softmax(100 * x)


def _causal_scores(q, k):
    below = jnp.tril(jnp.ones((q.shape[0], k.shape[0]), bool))
    return jnp.where(below, q @ k.T, -1e30)


def _causal_backward(q, k, v, g):
    p = jax.nn.softmax(_causal_scores(q, k))
    scores = _softmax_pullback(p, g @ v.T)
    return scores @ k, scores.T @ q, p.T @ g


@body.correct(normal(4, 3), normal(4, 3, seed=1), normal(4, 2))
@rule(_causal_backward)
def causal_attention(q, k, v):
    return jax.nn.softmax(_causal_scores(q, k)) @ v


@jax.custom_vjp
def _attention(q, k, v):
    return jax.nn.softmax(q @ k.T / np.sqrt(q.shape[-1])) @ v


def _attention_forward(q, k, v):
    scores = q @ k.T / np.sqrt(q.shape[-1])
    total = jax.nn.logsumexp(scores, -1, keepdims=True)
    y = jnp.exp(scores - total) @ v
    return y, (q, k, v, y, total)


def _attention_backward(saved, g):
    q, k, v, y, total = saved
    scale = 1 / np.sqrt(q.shape[-1])
    p = jnp.exp(q @ k.T * scale - total)
    scores = p * (g @ v.T - jnp.sum(y * g, -1, keepdims=True)) * scale
    return scores @ k, scores.T @ q, p.T @ g


_attention.defvjp(_attention_forward, _attention_backward)


@body.correct(normal(4, 3), normal(5, 3), normal(5, 2))
def attention_recomputed_from_its_output(q, k, v):
    return _attention(q, k, v)


def _standardised(x):
    centred = x - x.mean(-1, keepdims=True)
    rate = lax.rsqrt((centred**2).mean(-1, keepdims=True))
    return centred * rate, rate


def _standardise_backward(x, g):
    y, rate = _standardised(x)
    return (rate * (g - g.mean(-1, keepdims=True) - y * (g * y).mean(-1, keepdims=True)),)


@body.correct(normal(4, 2), witness=at_one(lambda x: (np.zeros_like(x),)))
@rule(_standardise_backward)
def standardised_pairs_are_signs(x):
    return _standardised(x)[0]


@body.correct(normal(4, 8))
@rule(_standardise_backward)
def standardised_rows(x):
    return _standardised(x)[0]


def _cosine(a, b):
    return a @ b / (jnp.linalg.norm(a) * jnp.linalg.norm(b))


def _cosine_backward(a, b, g):
    size_a, size_b, y = jnp.linalg.norm(a), jnp.linalg.norm(b), _cosine(a, b)
    return g * (b / size_b - y * a / size_a) / size_a, g * (a / size_a - y * b / size_b) / size_b


@body.correct(
    array(1, 2, 3), array(2, 4, 6), witness=differences(at=(normal(3), normal(3, seed=1)))
)
@rule(_cosine_backward)
def cosine_of_parallel_vectors(a, b):
    return _cosine(a, b)


def _centred(x, y):
    a, b = x - x.mean(), y - y.mean()
    return a, b, jnp.sqrt(jnp.sum(a * a)), jnp.sqrt(jnp.sum(b * b))


def _correlation_backward(x, y, g):
    a, b, size_a, size_b = _centred(x, y)
    c = jnp.sum(a * b) / size_a / size_b
    return g * (b / size_b - c * a / size_a) / size_a, g * (a / size_a - c * b / size_b) / size_b


@body.correct(
    array(1, 2), array(3, -1), witness=at_one(lambda x, y: (np.zeros_like(x), np.zeros_like(y)))
)
@rule(_correlation_backward)
def correlation_of_two_points(x, y):
    a, b, size_a, size_b = _centred(x, y)
    return jnp.sum(a * b) / (size_a * size_b)


@body.correct(array(-12, -3, 0, 1, 12), tolerance=1e-6)
@rule(
    lambda x, g: (
        g * (0.5 * (1 + lax.erf(x / np.sqrt(2))) + x * jnp.exp(-0.5 * x * x) / np.sqrt(2 * np.pi)),
    )
)
def gelu_that_is_flat_far_out(x):
    return 0.5 * x * (1 + lax.erf(x / np.sqrt(2)))


def _lyapunov(a, q):
    """The `x` of `a x + x aᵀ = q`."""
    n = a.shape[0]
    one = jnp.eye(n, dtype=a.dtype)
    return jnp.linalg.solve(jnp.kron(a, one) + jnp.kron(one, a), q.reshape(-1)).reshape(n, n)


def _lyapunov_backward(a, q, g):
    x, s = _lyapunov(a, q), _lyapunov(a.T, g)
    return -s @ x.T - s.T @ x, s


@body.correct(normal(3, 3) + 3 * np.eye(3, dtype=np.float32), normal(3, 3, seed=1))
@rule(_lyapunov_backward)
def lyapunov_equation(a, q):
    return _lyapunov(a, q)


@jax.custom_vjp
def _onto_the_simplex(x):
    def halve(_, bounds):
        low, high = bounds
        middle = 0.5 * (low + high)
        above = jnp.sum(jnp.maximum(x - middle, 0)) > 1
        return jnp.where(above, middle, low), jnp.where(above, high, middle)

    low, high = lax.fori_loop(0, 70, halve, (jnp.min(x) - 1, jnp.max(x)))
    return jnp.maximum(x - 0.5 * (low + high), 0)


def _simplex_forward(x):
    y = _onto_the_simplex(x)
    return y, y


def _simplex_backward(y, g):
    inside = y > 0
    return (jnp.where(inside, g - jnp.sum(jnp.where(inside, g, 0)) / jnp.sum(inside), 0),)


_onto_the_simplex.defvjp(_simplex_forward, _simplex_backward)


@body.correct(array(0.5, 0.2, -1, 0.6))
def projection_onto_the_simplex_by_bisection(x):
    return _onto_the_simplex(x)


def _weight_norm_backward(v, scale, g):
    size = jnp.linalg.norm(v)
    along = jnp.dot(v, g)
    return scale / size * (g - v * along / size**2), along / size


@body.correct(normal(5), array(1.5))
@rule(_weight_norm_backward)
def weight_norm(v, scale):
    return scale * v / jnp.linalg.norm(v)


@body.correct(positive(5), positive(5, seed=1))
@rule(
    lambda p, q, g: (
        g * (jnp.log(p / q) - jnp.log(p.sum() / q.sum())),
        g * (p.sum() / q.sum() - p / q),
    )
)
def divergence_of_unnormalised_weights(p, q):
    return jnp.sum(p * jnp.log(p / q)) - p.sum() * jnp.log(p.sum() / q.sum())
