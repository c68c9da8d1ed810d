"""Convolution of sequences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxfn.functional._checks import as_array, check_rank, other_names
from jaxfn.functional._convolutions.arguments import checked
from jaxfn.functional.convolution import of_checked

# An int, a name, or (left, right).
Padding1d: TypeAlias = int | Literal["VALID", "SAME", "SAME_LOWER", "valid", "same"] | Sequence[int]


@other_names(strides="stride", weight="kernel")
def conv1d(
    x: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: int = 1,
    padding: Padding1d = "VALID",
    dilation: int = 1,
    groups: int = 1,
) -> jax.Array:
    """One-dimensional convolution with an optional bias and a hand-written gradient: `conv2d` of
    images of one row.

    y[n, i, o] = Σ_{k, c} x[n, i·s + k·d − left, c] kernel[k, c, o] + bias[o]

    with stride s, dilation d, and zeros outside of x. A causal convolution has
    `padding=(d·(k − 1), 0)`.

    Forward mode is no part of `jax.custom_vjp`: `jax.jvp` and `jax.jacfwd` raise a `TypeError`;
    take them of `jaxfn.autodiff(jaxfn.conv1d)`.

    Args:
      x: `[N, L, in]`, floating.
      kernel: `[k, in / groups, out]`.
      bias: `[out]`, or None.
      stride: step of the window, an int.
      padding: zeros around x: `"VALID"` (none), `"SAME"` (as many as make ceil(L / stride) results,
        the odd one at the right), `"SAME_LOWER"` (the odd one at the left), an int (on both sides),
        or `(left, right)`.
      dilation: distance of the kernel's elements, an int.
      groups: a divisor of in and of out.

    Returns:
      `[N, L', out]` with L' = (L + left + right − d·(k − 1) − 1) // stride + 1; of the dtype to
      which JAX promotes the inputs' dtypes.

    Raises:
      TypeError: if an input is not an array of floating dtype, or another argument not of a form
        above.
      ValueError: if the shapes do not fit, or another argument is out of range.

    Example:
      >>> import jax.numpy as jnp, jaxfn
      >>> x, kernel = jnp.ones((8, 100, 3)), jnp.ones((5, 3, 16))
      >>> jaxfn.conv1d(x, kernel, padding=(4, 0)).shape  # causal
      (8, 100, 16)

    Source: `torch.nn.functional.conv1d`, in the layouts NWC and WIO of JAX and Flax.
    """
    op = "conv1d"
    x, kernel = as_array(op, "x", x), as_array(op, "kernel", kernel)
    check_rank(op, "x", x, 3, "[N, L, in]")
    check_rank(op, "kernel", kernel, 3, "[k, in / groups, out]")
    for name, value in (("stride", stride), ("dilation", dilation)):
        if isinstance(value, Sequence):
            raise TypeError(f"{op}: expected {name} to be an int, got {value!r}")
    pads = padding if isinstance(padding, str) else ((0, 0), _sides(op, padding))
    rows = jnp.expand_dims(x, 1), jnp.expand_dims(kernel, 0)
    arguments = checked(op, *rows, bias, (1, stride), pads, (1, dilation), groups)
    return jnp.squeeze(of_checked(*arguments), 1)


def _sides(op: str, padding: int | Sequence[int]) -> tuple[int, int]:
    def is_int(value: object) -> bool:
        return isinstance(value, int | np.integer) and not isinstance(value, bool)

    sides = (padding, padding) if not isinstance(padding, Sequence) else tuple(padding)
    if len(sides) != 2 or not all(map(is_int, sides)):
        raise TypeError(
            f'{op}: expected padding "VALID", "SAME", an int or (left, right), got {padding!r}'
        )
    return int(sides[0]), int(sides[1])
