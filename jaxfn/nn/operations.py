"""The functions of `flax.nnx` that an operation computes, with Flax's signatures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jax.typing import ArrayLike

import jaxfn
from jaxfn.functional._checks import REAL


def relu(x: ArrayLike) -> jax.Array:
    """`jaxfn.relu`, with `flax.nnx.relu`'s signature; integers and complex numbers are Flax's.

    Args:
      x: any shape.

    Returns:
      Same shape and dtype as x.

    Raises:
      TypeError: if x is no array.
    """
    return jaxfn.relu(x) if _is_real(x) else nnx.relu(x)


def silu(x: ArrayLike) -> jax.Array:
    """`jaxfn.silu`, with `flax.nnx.silu`'s signature; complex numbers are Flax's.

    Args:
      x: any shape, of floating or complex dtype.

    Returns:
      Same shape and dtype as x.

    Raises:
      TypeError: if x is no array of floating or complex dtype.
    """
    return jaxfn.silu(x) if _is_real(x) else nnx.silu(x)


swish = silu


def gelu(x: ArrayLike, approximate: bool = True) -> jax.Array:
    """`jaxfn.gelu`, with `flax.nnx.gelu`'s signature; integers and complex numbers are Flax's.

    Args:
      x: any shape.
      approximate: whether by tanh.

    Returns:
      Same shape as x, and its dtype if that is floating.

    Raises:
      TypeError: if x is no array.
    """
    approximate = bool(approximate)
    return jaxfn.gelu(x, approximate=approximate) if _is_real(x) else nnx.gelu(x, approximate)


def _is_real(x: ArrayLike) -> bool:
    return getattr(getattr(x, "dtype", None), "name", None) in REAL


def max_pool(
    inputs: jax.Array,
    window_shape: Sequence[int],
    strides: Sequence[int] | None = None,
    padding: Any = "VALID",
) -> jax.Array:
    """`jaxfn.max_pool2d`, with `flax.nnx.max_pool`'s signature; sequences, volumes and what the
    operation does not say are pooled by Flax.

    Args:
      inputs: `[..., H, W, C]`: any number of dimensions before an image's.
      window_shape: size of the window.
      strides: of the window; None for 1, as in Flax.
      padding: a name, or (low, high) for each dimension of the window.

    Returns:
      The maximum of each window.
    """
    return _pooled(nnx.max_pool, jaxfn.max_pool2d, inputs, window_shape, strides, padding, {})


def avg_pool(
    inputs: jax.Array,
    window_shape: Sequence[int],
    strides: Sequence[int] | None = None,
    padding: Any = "VALID",
    count_include_pad: bool = True,
) -> jax.Array:
    """`jaxfn.avg_pool2d`, with `flax.nnx.avg_pool`'s signature; sequences, volumes and what the
    operation does not say are pooled by Flax.

    Args:
      inputs: `[..., H, W, C]`: any number of dimensions before an image's.
      window_shape: size of the window.
      strides: of the window; None for 1, as in Flax.
      padding: a name, or (low, high) for each dimension of the window.
      count_include_pad: whether the mean counts the padding.

    Returns:
      The mean of each window.
    """
    options = {"count_include_pad": bool(count_include_pad)}
    default = jnp.result_type(float)
    if not count_include_pad and inputs.dtype != jnp.promote_types(inputs.dtype, default):
        # Flax divides by a count in JAX's default dtype, to which the result is promoted.
        return nnx.avg_pool(inputs, window_shape, strides, padding, count_include_pad)
    return _pooled(nnx.avg_pool, jaxfn.avg_pool2d, inputs, window_shape, strides, padding, options)


def _pooled(
    of_flax: Callable[..., jax.Array],
    ours: Callable[..., jax.Array],
    inputs: jax.Array,
    window: Sequence[int],
    strides: Sequence[int] | None,
    padding: Any,
    options: dict[str, Any],
) -> jax.Array:
    images = inputs.reshape(-1, *inputs.shape[-3:]) if len(window) == 2 <= inputs.ndim - 1 else None
    if images is None or not _is_pooled(images, window, strides, padding):
        return of_flax(inputs, window, strides, padding, **options)
    y = ours(images, (*window,), stride=(*(strides or (1, 1)),), padding=padding, **options)
    return y.reshape(*inputs.shape[:-3], *y.shape[1:])


def _is_pooled(
    images: jax.Array, window: Sequence[int], strides: Sequence[int] | None, padding: Any
) -> bool:
    """Whether the operation says the same: it refuses windows that hold no element."""
    if not _is_known(images) or len(strides or window) != 2:
        return False
    pads = _pads(images, window, strides or (1, 1), padding, (1, 1))
    return all(
        n + low + high >= k and max(low, high) < k and min(low, high) >= 0
        for n, k, (low, high) in zip(images.shape[1:3], window, pads, strict=True)
    )


def _is_known(images: jax.Array) -> bool:
    """Whether their dtype is floating and their size known, as it need not be in `jax.export`."""
    return images.dtype.name in REAL and all(isinstance(n, int) for n in images.shape[1:-1])


def convolve(
    lhs: jax.Array,
    rhs: jax.Array,
    window_strides: Sequence[int],
    padding: Any,
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    precision: Any = None,
    **options: Any,
) -> jax.Array:
    """`jax.lax.conv_general_dilated` as `flax.nnx.Conv` calls it, by `jaxfn.conv2d` and
    `jaxfn.conv1d` where they say the same.

    Args:
      lhs: `[N, ..., in]`.
      rhs: `[..., in / groups, out]`.
      window_strides: as in `jax.lax`.
      padding: as in `jax.lax`.
      lhs_dilation: as in `jax.lax`; any but 1 is left to it.
      rhs_dilation: as in `jax.lax`.
      dimension_numbers: channels last.
      feature_group_count: as in `jax.lax`.
      precision: as in `jax.lax`; any but None is left to it.
      options: what else `jax.lax` takes; any is left to it.

    Returns:
      `[N, ..., out]`.
    """
    rank = lhs.ndim - 2
    dilation = (*(rhs_dilation or (1,) * rank),)
    asked = {name: value for name, value in options.items() if value is not None}
    dtypes = {lhs.dtype, rhs.dtype}
    plain = not asked and precision is None and all(d == 1 for d in lhs_dilation or ())
    if plain and rank in (1, 2) and len(dtypes) == 1 and _is_known(lhs):
        pads = _pads(lhs, rhs.shape[:rank], window_strides, padding, dilation)
        if _is_convolved(lhs, rhs, pads, dilation):
            steps = {"stride": window_strides, "padding": pads, "dilation": dilation}
            if rank == 1:
                steps = {name: value[0] for name, value in steps.items()}
            operation = jaxfn.conv2d if rank == 2 else jaxfn.conv1d
            return operation(lhs, rhs, groups=feature_group_count, **steps)
    return lax.conv_general_dilated(
        lhs,
        rhs,
        window_strides,
        padding,
        lhs_dilation=lhs_dilation,
        rhs_dilation=rhs_dilation,
        dimension_numbers=dimension_numbers,
        feature_group_count=feature_group_count,
        precision=precision,
        **options,
    )


def _is_convolved(
    lhs: jax.Array, rhs: jax.Array, pads: Sequence[Sequence[int]], dilation: Sequence[int]
) -> bool:
    return all(
        low >= 0 and high >= 0 and n + low + high >= d * (k - 1) + 1
        for n, k, d, (low, high) in zip(lhs.shape[1:-1], rhs.shape, dilation, pads, strict=False)
    )


def _pads(
    images: jax.Array,
    window: Sequence[int],
    strides: Sequence[int],
    padding: Any,
    dilation: Sequence[int],
) -> tuple[tuple[int, int], ...]:
    if not isinstance(padding, str):
        return tuple((int(low), int(high)) for low, high in padding)
    reach = [d * (k - 1) + 1 for k, d in zip(window, dilation, strict=True)]
    pads = lax.padtype_to_pads(images.shape[1:-1], reach, strides, padding)
    return tuple((int(low), int(high)) for low, high in pads)


def steps_of_transposed(
    size: Sequence[int],
    window: Sequence[int],
    strides: int | Sequence[int] | None,
    padding: Any,
    dilation: int | Sequence[int] | None,
) -> dict[str, Any] | None:
    """What `jaxfn.conv_transpose2d` is to be called with for a `flax.nnx.ConvTranspose`.

    Args:
      size: of the image, `[H, W]`, or of the sequence, `[L]`.
      window: size of the kernel.
      strides: as the layer has them.
      padding: as the layer has it: of the image, with zeros between its pixels.
      dilation: as the layer has it.

    Returns:
      `stride`, `padding`, `output_padding` and `dilation`; None for what the operation does not
      say.
    """
    rank = len(window)
    steps, dilations = (_of_each(value, rank) for value in (strides, dilation))
    reach = [d * (k - 1) + 1 for k, d in zip(window, dilations, strict=True)]
    pads = _pads_of_transposed(reach, steps, padding)
    if pads is None or rank > 2 or not all(isinstance(n, int) and n for n in size):
        return None
    crops, more = [], []
    for n, k, s, d, (low, high) in zip(size, reach, steps, dilations, pads, strict=True):
        before, after = k - 1 - low, k - 1 - high
        lacking = max(-after, 0)
        if before < 0 or lacking >= max(s, d) or (n - 1) * s + k - before - after < 1:
            return None
        crops.append((before, max(after, 0)))
        more.append(lacking)
    ones = 2 - rank
    return {
        "stride": (1,) * ones + steps,
        "padding": ((0, 0),) * ones + (*crops,),
        "output_padding": (0,) * ones + (*more,),
        "dilation": (1,) * ones + dilations,
    }


def _pads_of_transposed(
    reach: Sequence[int], steps: Sequence[int], padding: Any
) -> list[tuple[int, int]] | None:
    """How `jax.lax.conv_transpose` pads the image, with zeros between its pixels."""
    if padding == "SAME":
        total = [k + s - 2 for k, s in zip(reach, steps, strict=True)]
        low = [k - 1 if s > k - 1 else (k + s - 1) // 2 for k, s in zip(reach, steps, strict=True)]
        return [(before, both - before) for before, both in zip(low, total, strict=True)]
    if padding == "VALID":
        return [(k - 1, max(k, s) - 1) for k, s in zip(reach, steps, strict=True)]
    sides = None if isinstance(padding, str) else _of_each(padding, len(reach))
    if sides is None or len(sides) != len(reach):
        return None
    return [(side, side) if isinstance(side, int) else side for side in sides]


def _of_each(value: Any, rank: int) -> tuple[Any, ...]:
    value = 1 if value is None else value
    return (value,) * rank if isinstance(value, int) else (*value,)


def multiply(
    lhs: jax.Array, rhs: jax.Array, dimension_numbers: Any, precision: Any = None, **options: Any
) -> jax.Array:
    """`jax.lax.dot_general` as `flax.nnx.Linear` calls it, by `jaxfn.linear` where it says the
    same.

    Args:
      lhs: `[..., in]`.
      rhs: `[in, out]`.
      dimension_numbers: the last dimension of lhs with the first of rhs.
      precision: as in `jax.lax`; any but None is left to it.
      options: what else `jax.lax` takes; any is left to it.

    Returns:
      `[..., out]`.
    """
    asked = {name: value for name, value in options.items() if value is not None}
    if asked or precision is not None or lhs.dtype != rhs.dtype or lhs.dtype.name not in REAL:
        return lax.dot_general(lhs, rhs, dimension_numbers, precision=precision, **options)
    return jaxfn.linear(lhs, rhs)
