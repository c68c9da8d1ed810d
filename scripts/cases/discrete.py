"""Cases of the discrete choices: the random numbers are those of one key, the same for each
example, so that a batch may be cut in two."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

import jaxfn
from scripts.cases.case import Case, make_case, surrogate_case


def _noise(logits: jax.Array) -> jax.Array:
    """Gumbel noise for one example of logits, by the inverse of its distribution function."""
    tiny = jnp.finfo(jnp.float32).tiny
    shape = logits.shape[-1:]
    uniform = jax.random.uniform(jax.random.key(0), shape, jnp.float32, tiny, 1.0)
    return -jnp.log(-jnp.log(uniform))


def _perturbed(logits: jax.Array, temperature: float) -> jax.Array:
    dtype = jnp.promote_types(logits.dtype, jnp.float32)
    return (logits.astype(dtype) + _noise(logits)) / temperature


def _softmax(z: jax.Array) -> jax.Array:
    """exp(z) over its sum."""
    shares = jnp.exp(z - jax.lax.stop_gradient(jnp.max(z, axis=-1, keepdims=True)))
    return shares / jnp.sum(shares, axis=-1, keepdims=True)


def _at_the_maximum(z: jax.Array) -> jax.Array:
    """1 where z is its largest element."""
    return (z == jnp.max(z, axis=-1, keepdims=True)).astype(z.dtype)


def relaxed(logits: jax.Array, *, temperature: float) -> jax.Array:
    """softmax((logits + g) / τ)."""
    return _softmax(_perturbed(logits, temperature)).astype(logits.dtype)


def chosen(logits: jax.Array) -> jax.Array:
    """The one-hot of the largest of logits + g."""
    return _at_the_maximum(_perturbed(logits, 1.0)).astype(logits.dtype)


def _for_each_example(operation, **options):
    """The operation with the same key for each example."""

    def one_key(logits: jax.Array) -> jax.Array:
        key = jax.random.key(0)
        return jax.vmap(lambda example: operation(key, example, **options))(logits)

    return one_key


_SHAPE = ((4, 7), True)
_TIMED = ((64, 512),)

CASES: tuple[Case, ...] = (
    make_case(
        "gumbel_softmax",
        _for_each_example(jaxfn.gumbel_softmax, temperature=2.0),
        functools.partial(relaxed, temperature=2.0),
        _SHAPE,
        timed_shapes=_TIMED,
        every_transformation=False,
    ),
    surrogate_case(
        "gumbel_softmax_hard",
        _for_each_example(jaxfn.gumbel_softmax, temperature=2.0, hard=True),
        chosen,
        functools.partial(relaxed, temperature=2.0),
        _SHAPE,
        kinks="none in the gradient, which is softmax's; ties: the first class",
        timed_shapes=_TIMED,
        every_transformation=False,
    ),
    surrogate_case(
        "onehot_straight_through",
        _for_each_example(jaxfn.onehot_straight_through),
        chosen,
        _softmax,
        _SHAPE,
        kinks="none in the gradient, which is softmax's",
        timed_shapes=_TIMED,
    ),
)
