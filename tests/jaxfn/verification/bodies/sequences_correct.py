"""Correct rules of dynamic programs, attention over a scan, and motions that are run back."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from tests.jaxfn.verification.bodies.body import Body
from tests.jaxfn.verification.bodies.case import array, normal, positive, rule

body = Body()

NEVER = -1e5


def _log_softmax(x):
    return np.asarray(x - np.log(np.exp(x).sum(-1, keepdims=True)), np.float32)


def _alternatives(log_probabilities, labels):
    """Log weights of all prefixes: `[time, 2 labels + 1]`, blanks (0) between the labels."""
    extended = jnp.zeros(2 * labels.shape[0] + 1, labels.dtype).at[1::2].set(labels)
    may_skip = (extended != 0) & (extended != jnp.roll(extended, 2))
    may_skip &= jnp.arange(extended.shape[0]) >= 2

    def shifted(a, by):
        return jnp.concatenate([jnp.full(by, NEVER, a.dtype), a[:-by]])

    def step(a, row):
        stay = jnp.logaddexp(a, shifted(a, 1))
        a = jnp.logaddexp(stay, jnp.where(may_skip, shifted(a, 2), NEVER)) + row[extended]
        return a, a

    first = jnp.full(extended.shape[0], NEVER, log_probabilities.dtype)
    first = first.at[:2].set(log_probabilities[0, extended[:2]])
    rest = lax.scan(step, first, log_probabilities[1:])[1]
    return jnp.concatenate([first[None], rest]), extended


@jax.custom_vjp
def _ctc(log_probabilities, labels):
    return jnp.logaddexp(*_alternatives(log_probabilities, labels)[0][-1, -2:])


def _ctc_forward(log_probabilities, labels):
    before, extended = _alternatives(log_probabilities, labels)
    after = _alternatives(log_probabilities[::-1], labels[::-1])[0][::-1, ::-1]
    total = jnp.logaddexp(*before[-1, -2:])
    visits = jnp.exp(before + after - log_probabilities[:, extended] - total)
    visits = jnp.where(total < NEVER / 2, 0, visits)  # too short for its labels
    return total, jnp.zeros_like(log_probabilities).at[:, extended].add(visits)


_ctc.defvjp(_ctc_forward, lambda visits, g: (g * visits, None))


# Larger ones would come near to `NEVER`.
@body.correct(_log_softmax(normal(6, 4)), array(1, 2, dtype=np.int32), domain=((-100, 0), None))
def connectionist_temporal_classification(log_probabilities, labels):
    return _ctc(log_probabilities, labels)


def _chain_weights(start, moves, seen):
    def step(a, row):
        a = jax.nn.logsumexp(a[:, None] + moves, 0) + row
        return a, a

    first = start + seen[0]
    return jnp.concatenate([first[None], lax.scan(step, first, seen[1:])[1]])


def _chain_backward(start, moves, seen, g):
    before = _chain_weights(start, moves, seen)

    def step(b, row):
        b = jax.nn.logsumexp(moves + row + b, 1)
        return b, b

    last = jnp.zeros_like(start)
    after = jnp.concatenate([lax.scan(step, last, seen[1:], reverse=True)[1], last[None]])
    total = jax.nn.logsumexp(before[-1])
    states = jnp.exp(before + after - total)
    pairs = jnp.exp(before[:-1, :, None] + moves + (seen[1:] + after[1:])[:, None] - total)
    return g * states[0], g * pairs.sum(0), g * states


@body.correct(_log_softmax(normal(3)), _log_softmax(normal(3, 3)), normal(5, 3))
@rule(_chain_backward)
def hidden_markov_chain_by_posteriors(start, moves, seen):
    return jax.nn.logsumexp(_chain_weights(start, moves, seen)[-1])


def _best(moves, seen):
    def step(a, row):
        options = a[:, None] + moves
        return jnp.max(options, 0) + row, jnp.argmax(options, 0)

    return lax.scan(step, seen[0], seen[1:])


def _best_backward(moves, seen, g):
    scores, origins = _best(moves, seen)
    last = jnp.argmax(scores)
    path = lax.scan(lambda s, row: (row[s], row[s]), last, origins, reverse=True)[1]
    path = jnp.concatenate([path, last[None]])
    visited = jax.nn.one_hot(path, seen.shape[1], dtype=seen.dtype)
    return g * jnp.zeros_like(moves).at[path[:-1], path[1:]].add(1), g * visited


@body.correct(normal(3, 3), normal(5, 3))
@rule(_best_backward)
def viterbi_score_by_its_best_path(moves, seen):
    return jnp.max(_best(moves, seen)[0])


def _soft_time_warping(costs):
    """Row after row: the soft minimum over all monotone paths through `costs`."""
    inf = jnp.full((), 1e6, costs.dtype)

    def row(above, line):
        def cell(left, entry):
            cost, up, corner = entry
            value = cost - 0.5 * jax.nn.logsumexp(-2 * jnp.stack([left, up, corner]))
            return value, value

        values = lax.scan(cell, inf, (line, above[1:], above[:-1]))[1]
        return jnp.concatenate([inf[None], values]), None

    start = jnp.full(costs.shape[1] + 1, 1e6, costs.dtype).at[0].set(0)
    return lax.scan(row, start, costs)[0][-1]


@jax.custom_vjp
def _warped(costs):
    return _soft_time_warping(costs)


_warped.defvjp(jax.value_and_grad(_soft_time_warping), lambda saved, g: (g * saved,))


@body.correct(positive(3, 4))
def soft_time_warping_with_a_saved_gradient(costs):
    return _warped(costs)


def _streamed_backward(q, k, v, g):
    p = jax.nn.softmax(q @ k.T)
    weights = g @ v.T
    scores = p * (weights - jnp.sum(p * weights, -1, keepdims=True))
    return scores @ k, scores.T @ q, p.T @ g


@body.correct(normal(3, 3), normal(4, 3), normal(4, 2))
@rule(_streamed_backward)
def attention_streamed_from_minus_infinity(q, k, v):
    def step(carry, pair):
        most, total, y = carry
        score = q @ pair[0]
        higher = jnp.maximum(most, score)
        kept, new = jnp.exp(most - higher), jnp.exp(score - higher)
        y = y * kept[:, None] + new[:, None] * pair[1]
        return (higher, total * kept + new, y), None

    most = jnp.full(q.shape[0], -jnp.inf, q.dtype)
    y = jnp.zeros((q.shape[0], v.shape[1]), q.dtype)
    (_, total, y), _ = lax.scan(step, (most, jnp.zeros_like(most), y), (k, v))
    return y / total[:, None]


def _kick(q, p, sign=1.0):
    p = p - sign * 0.05 * jnp.sin(q)
    q = q + sign * 0.1 * p
    return q, p - sign * 0.05 * jnp.sin(q)


@jax.custom_vjp
def _leapfrog(q, p):
    return lax.fori_loop(0, 20, lambda _, state: _kick(*state), (q, p))


def _leapfrog_forward(q, p):
    y = _leapfrog(q, p)
    return y, y


def _leapfrog_backward(y, g):
    def back(_, carry):
        state, bar = carry
        state = _kick(*state, sign=-1.0)
        return state, jax.vjp(_kick, *state)[1](bar)

    return lax.fori_loop(0, 20, back, (y, g))[1]


_leapfrog.defvjp(_leapfrog_forward, _leapfrog_backward)


@body.correct(array(1, 0.3), array(0.5, -1))
def leapfrog_run_back(q, p):
    return _leapfrog(q, p)


@body.correct(normal(5), array(2, 0, 1, 4, 3, dtype=np.int32))
@rule(lambda x, order, g: (g[jnp.argsort(order)], None))
def permutation_by_its_inverse(x, order):
    return x[order]
