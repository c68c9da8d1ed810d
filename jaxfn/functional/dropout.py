"""Dropout."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jaxfn._jax_internals import checkpointed_tangent
from jaxfn.functional._checks import as_array, check_elements, check_key
from jaxfn.functional._rules import explicit_sharding
from jaxfn.functional._surrogate import as_scalar, declare, widened


def dropout(key: jax.Array, x: ArrayLike, rate: ArrayLike) -> jax.Array:
    """Sets elements to zero at random, and scales the others so that the mean is x.

    y = m·x / (1 − rate) with m = 0 with probability `rate`, else 1, and x̄ = m·ȳ / (1 − rate). The
    key alone is kept for the backward pass, which draws m again, bit for bit the same. Both modes,
    any order.

    An element is dropped if its 32 bits of `jax.random.bits(key, x.shape)` are less than rate·2³²,
    rounded down: the probability is the rate to 2.4e-10. A key drops the same elements in every
    dtype. A dropped element is 0 even where x is nan or infinite. Where rate is 0, a Python number,
    no bits are drawn and y is x; where it is 1 all is 0.

    Under `vmap` over keys each example is dropped by its own. Inside `shard_map` one key drops the
    same elements of each device's part: give each its own by `jax.random.fold_in`.

    Args:
      key: a key of `jax.random`, or an old one (`jax.random.PRNGKey`).
      x: any shape, of floating dtype.
      rate: the probability to be dropped, in [0, 1]: a number or scalar array, perhaps traced; its
        gradient is zero.

    Returns:
      Same shape and dtype as x; 16-bit types are computed in float32 and rounded once.

    Raises:
      TypeError: if x is not an array of floating dtype, `key` no key, or `rate` not a real scalar.
      ValueError: if `key` is an array of several keys, or `rate` outside [0, 1]; a traced one is
        not looked at.

    Example:
      >>> import jax, jax.numpy as jnp, jaxfn
      >>> y = jaxfn.dropout(jax.random.key(0), jnp.ones(10_000), 0.2)
      >>> sorted({*y.tolist()}), abs(y.mean() - 1).item() < 0.02
      ([0.0, 1.25], True)

    Source: Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting",
    2014.
    """
    check_key("dropout", key)
    x = as_array("dropout", "x", x)
    rate = as_scalar("dropout", "rate", rate)
    check_elements("dropout", "rate", rate, "in [0, 1]", lambda a: (a >= 0) & (a <= 1))
    if isinstance(rate, float) and rate in (0, 1):
        return jnp.zeros_like(x) if rate else x
    return _dropout(x, key, *_threshold_and_factor(rate))


def _threshold_and_factor(rate: Any) -> tuple[jax.Array, jax.Array]:
    """The bits below which an element is dropped, and 1/(1 − rate); 0 where all are dropped."""
    if isinstance(rate, float):
        return jnp.uint32(int(rate * 2**32)), jnp.asarray(1 / (1 - rate))
    rate = lax.stop_gradient(jnp.asarray(rate).astype(jnp.promote_types(rate.dtype, "float32")))
    some = rate < 1
    rate = jnp.where(some, rate, 0)
    return (rate * 2.0**32).astype("uint32"), jnp.where(some, 1 / (1 - rate), 0)


@jax.custom_jvp
def _dropout(x: jax.Array, key: jax.Array, threshold: jax.Array, factor: jax.Array) -> jax.Array:
    # Selected, not multiplied: 0·inf is nan. Compared as bits: floats would be made of them first.
    bits = jax.random.bits(key, x.shape, "uint32", out_sharding=explicit_sharding(x))
    kept = (bits >= threshold) & (factor > 0)
    return jnp.where(kept, (widened(x) * factor).astype(x.dtype), jnp.zeros_like(x))


# y is linear in x: ẏ is y at ẋ. Checkpointed, it keeps what it is called with, and not m.
_dropout_tangent = checkpointed_tangent(prevent_cse=False)(_dropout.fun)
_dropout.defjvps(
    lambda x_dot, y, x, key, threshold, factor: _dropout_tangent(x_dot, key, threshold, factor),
    None,
    None,
    None,
)
declare(
    _dropout,
    lambda x, key, threshold, factor: _dropout.fun(x, key, threshold, lax.stop_gradient(factor)),
)
