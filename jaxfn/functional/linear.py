"""The linear (affine) map."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import CustomVJPPrimal, SymbolicZero
from jax.typing import ArrayLike, DTypeLike

from jaxfn.functional._checks import REAL_OR_COMPLEX, as_array, check_rank
from jaxfn.functional._rules import Saved, accumulator, bias_gradient, expand, save, transpose


def linear(x: ArrayLike, weight: ArrayLike, bias: ArrayLike | None = None) -> jax.Array:
    """Linear map with an optional bias, and a hand-written gradient.

    y[..., j] = Σ_i x[..., i] weight[i, j] + bias[j]

    The gradients are x̄ = ȳ weightᵀ, weight̄ = Σ xᵀ ȳ and bias̄ = Σ ȳ, the sums over all leading
    dimensions. An input that needs no gradient costs neither a product nor a residual. 16-bit
    types accumulate in float32. Complex inputs follow JAX's convention (no conjugation).

    Forward mode is no part of `jax.custom_vjp`: `jax.jvp` and `jax.jacfwd` raise a `TypeError`;
    take them of `jaxfn.autodiff(jaxfn.linear)`. `jax.hessian` works, whose tangents
    pass through the gradient alone.

    Args:
      x: `[..., in]`, floating or complex; any number of leading dimensions, of any size.
      weight: `[in, out]`.
      bias: `[out]`, or None.

    Returns:
      `[..., out]`, of the dtype to which JAX promotes the inputs' dtypes.

    Raises:
      TypeError: if an input is not an array of floating or complex dtype.
      ValueError: if the shapes do not fit. Nothing is broadcast.

    Example:
      >>> import jax, jax.numpy as jnp, jaxfn
      >>> jaxfn.linear(jnp.ones((2, 3)), jnp.ones((3, 4)), jnp.zeros(4)).shape
      (2, 4)
      >>> jax.grad(lambda w: jaxfn.linear(jnp.ones((2, 3)), w).sum())(jnp.ones((3, 1))).tolist()
      [[2.0], [2.0], [2.0]]

    Source: `torch.nn.functional.linear`, with the weight in Flax's layout `[in, out]`.
    """
    x = as_array("linear", "x", x, REAL_OR_COMPLEX)
    weight = as_array("linear", "weight", weight, REAL_OR_COMPLEX)
    if x.ndim == 0:
        raise ValueError("linear: expected x [..., in], got x []")
    size = x.shape[-1]
    check_rank("linear", "weight", weight, 2, f"[{size}, out]")
    if weight.shape[0] != size:
        hint = ", looks like PyTorch's [out, in]: weight.T" if weight.shape[1] == size else ""
        raise ValueError(
            f"linear: expected weight [{size}, out] to match x [..., {size}], "
            f"got weight {list(weight.shape)}{hint}"
        )
    if bias is not None:
        bias = as_array("linear", "bias", bias, REAL_OR_COMPLEX)
        if bias.shape != weight.shape[1:]:
            raise ValueError(
                f"linear: expected bias [{weight.shape[1]}] to match weight "
                f"{list(weight.shape)}, got bias {list(bias.shape)}"
            )
    return _linear(x, weight, bias)


@jax.custom_vjp
def _linear(x: jax.Array, weight: jax.Array, bias: jax.Array | None) -> jax.Array:
    return _linear_impl(x, weight, bias)


def _linear_impl(x: jax.Array, weight: jax.Array, bias: jax.Array | None) -> jax.Array:
    dtype = jnp.result_type(*(a for a in (x, weight, bias) if a is not None))
    y = _dot(x, weight, accumulator(dtype))
    if bias is not None:
        y = y + expand(bias, y)
    return y.astype(dtype)


def _linear_fwd(
    x: CustomVJPPrimal, weight: CustomVJPPrimal, bias: CustomVJPPrimal | None
) -> tuple[jax.Array, Saved]:
    bias_value = None if bias is None else bias.value
    return _linear_impl(x.value, weight.value, bias_value), save(x, weight, bias)


def _linear_bwd(saved: Saved, y_bar: jax.Array | SymbolicZero) -> tuple[Any, Any, Any]:
    # y = x·W + 1·b is linear in each of x, W and b alone, so each gradient is the transpose of one
    # term applied to ȳ:
    #   x̄ = ȳ Wᵀ,   W̄ = xᵀ ȳ (summed over the leading dimensions),   b̄ = Σ ȳ.
    # JAX transposes the terms rather than formulas standing here: the transpose knows how the
    # inputs are sharded, sums over devices where an input is replicated, and casts back to the
    # input's dtype. Saved are x for W̄ and W for x̄: nothing smaller determines the products.
    if isinstance(y_bar, SymbolicZero):
        return None, None, None
    dtype = y_bar.dtype
    wide = y_bar.astype(accumulator(dtype))
    (x, weight), (x_type, weight_type, bias_type) = saved.factors, saved.needed_types
    x_bar = transpose(lambda x: _dot(x, weight, dtype), x_type, y_bar)
    weight_bar = transpose(lambda w: _dot(x, w, dtype), weight_type, y_bar)
    return x_bar, weight_bar, bias_gradient(bias_type, wide)


_linear.defvjp(_linear_fwd, _linear_bwd, symbolic_zeros=True)


def _dot(x: jax.Array, weight: jax.Array, dtype: DTypeLike) -> jax.Array:
    """x[..., i] weight[i, j] with the result in `dtype`, at least the inputs' common dtype.

    XLA's products of 16-bit inputs accumulate in float32 also where their result is 16 bits wide.
    """
    common = jnp.result_type(x, weight)
    dimension_numbers = (((x.ndim - 1,), (0,)), ((), ()))
    return lax.dot_general(
        x.astype(common), weight.astype(common), dimension_numbers, preferred_element_type=dtype
    )
