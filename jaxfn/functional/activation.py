"""Activation functions."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jaxfn.functional._checks import as_array


def relu(x: ArrayLike, *, grad_at_zero: float = 0.0) -> jax.Array:
    """Rectified linear unit, with a hand-written gradient.

    relu(x) = max(x, 0), and x̄ = ȳ where x > 0, `grad_at_zero`·ȳ where x = 0, 0 where x < 0.

    Special values are those of PyTorch: nan stays nan and passes the gradient on, ±0 stays itself
    and takes `grad_at_zero`, and subnormal numbers count as what they are, though XLA's own
    comparisons take them for zero on some platforms. What is kept for the backward pass is one
    byte per element, not the input.

    Forward mode is no part of `jax.custom_vjp`: `jax.jvp` and `jax.jacfwd` raise a `TypeError`;
    take them of `jaxfn.autodiff(jaxfn.relu)`. `jax.hessian` works, whose tangents
    pass through the gradient alone.

    Args:
      x: any shape, of floating dtype.
      grad_at_zero: the derivative at exactly 0, a Python number in [0, 1]: every such number is a
        subgradient. 0.0 is the convention of `jax.nn.relu` and of PyTorch's `F.relu`, 1.0 that of
        PyTorch's `clamp(min=0)` and of a rule that zeroes the gradient where x < 0.

    Returns:
      Same shape and dtype as x.

    Raises:
      TypeError: if x is not an array of floating dtype, or `grad_at_zero` not a Python number.
      ValueError: if `grad_at_zero` is outside [0, 1].

    Example:
      >>> import jax, jax.numpy as jnp, jaxfn
      >>> x = jnp.array([-1.0, 0.0, 2.0])
      >>> jax.grad(lambda x: jaxfn.relu(x).sum())(x).tolist()
      [0.0, 0.0, 1.0]
      >>> jax.grad(lambda x: jaxfn.relu(x, grad_at_zero=1.0).sum())(x).tolist()
      [0.0, 1.0, 1.0]

    Source: Nair and Hinton, "Rectified Linear Units Improve Restricted Boltzmann Machines", 2010.
    """
    x = as_array("relu", "x", x)
    is_number = isinstance(grad_at_zero, int | float | np.number)
    if not is_number or isinstance(grad_at_zero, bool):
        raise TypeError(
            f"relu: expected grad_at_zero to be a Python number, got {type(grad_at_zero).__name__}"
        )
    if not 0 <= grad_at_zero <= 1:
        raise ValueError(f"relu: expected grad_at_zero in [0, 1], got {grad_at_zero}")
    return _relu(x, float(grad_at_zero))


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _relu(x: jax.Array, grad_at_zero: float) -> jax.Array:
    return _relu_impl(x, grad_at_zero)


def _relu_impl(x: jax.Array, grad_at_zero: float) -> jax.Array:
    del grad_at_zero  # the value has no convention
    # Not maximum(x, 0): that turns -0 into 0, and autodiff of it gives 1/2 at 0.
    return jnp.where(_is_negative(x), jnp.zeros_like(x), x)


# What is saved of an element where the slope has three values.
_NEGATIVE, _ZERO, _POSITIVE = np.arange(3, dtype=np.uint8)


def _relu_fwd(x: jax.Array, grad_at_zero: float) -> tuple[jax.Array, jax.Array]:
    if grad_at_zero == 0:
        slope = is_positive_or_nan(x)
    elif grad_at_zero == 1:
        slope = ~_is_negative(x)
    else:
        slope = jnp.where(_is_negative(x), _NEGATIVE, _ZERO)
        slope = jnp.where(is_positive_or_nan(x), _POSITIVE, slope)
    return _relu_impl(x, grad_at_zero), slope


def _relu_bwd(grad_at_zero: float, slope: jax.Array, y_bar: jax.Array) -> tuple[jax.Array]:
    # y = s(x)·x with the slope s: 1 where x > 0, grad_at_zero where x = 0, 0 where x < 0; so
    # x̄ = s(x)·ȳ. Of x only the slope is needed: saved is one byte per element, the smallest that
    # an array holds. Selected, not multiplied: 0·inf is nan, but the gradient there is 0.
    zero = jnp.zeros_like(y_bar)
    if grad_at_zero in (0, 1):
        return (jnp.where(slope, y_bar, zero),)
    at_zero = jnp.where(slope == _ZERO, y_bar * grad_at_zero, zero)
    return (jnp.where(slope == _POSITIVE, y_bar, at_zero),)


_relu.defvjp(_relu_fwd, _relu_bwd)


# The sign of x is read off its bits: XLA compares subnormal numbers as zeros on a CPU and a TPU.
# As a signed integer the bits of a positive number are positive, those of 0 are 0, those of -0 the
# least integer. (Masking the sign bit out and comparing with 0 will not do: the compiler makes the
# comparison of floats of it again.)


def is_positive_or_nan(x: jax.Array) -> jax.Array:
    """x > 0 or nan, where relu passes the gradient on."""
    return (_bits(x) > 0) | jnp.isnan(x)


def _is_negative(x: jax.Array) -> jax.Array:
    bits = _bits(x)
    return (bits < 0) & (bits != jnp.iinfo(bits.dtype).min) & ~jnp.isnan(x)


def _bits(x: jax.Array) -> jax.Array:
    return lax.bitcast_convert_type(x, f"int{8 * x.dtype.itemsize}")
