"""The arguments of a convolution, checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import jax
from jax.typing import ArrayLike

from jaxfn.functional._checks import (
    as_array,
    as_padding,
    as_pair,
    check_int,
    check_rank,
    layout_hint,
)
from jaxfn.functional._convolutions.steps import Steps, spread

# An int, a name, (vertical, horizontal), or ((top, bottom), (left, right)).
Padding: TypeAlias = (
    int
    | Literal["VALID", "SAME", "SAME_LOWER", "valid", "same", "same_lower"]
    | Sequence[int]
    | Sequence[Sequence[int]]
)


def checked(
    op: str,
    x: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None,
    stride: int | Sequence[int],
    padding: Padding,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> tuple[jax.Array, jax.Array, jax.Array | None, Steps]:
    """The arguments of a convolution, or an error in the name of `op`."""
    x = as_array(op, "x", x)
    kernel = as_array(op, "kernel", kernel)
    check_rank(op, "x", x, 4, "[N, H, W, in]")
    groups = check_groups(op, x.shape[3], groups)
    each = x.shape[3] // groups
    check_rank(op, "kernel", kernel, 4, f"[h, w, {each}, out]")
    if kernel.shape[2] != each or kernel.shape[3] % groups:
        hint = layout_hint(x, kernel) if groups == 1 else f" and groups {groups}"
        out = "out" if groups == 1 else f"a multiple of {groups}"
        raise ValueError(
            f"{op}: expected kernel [h, w, {each}, {out}] to match x "
            f"{list(x.shape)}, got kernel {list(kernel.shape)}{hint}"
        )
    if bias is not None:
        bias = as_array(op, "bias", bias)
        if bias.shape != kernel.shape[3:]:
            raise ValueError(
                f"{op}: expected bias [{kernel.shape[3]}] to match kernel "
                f"{list(kernel.shape)}, got bias {list(bias.shape)}"
            )
    strides = as_pair(op, "stride", stride, 1)
    dilations = as_pair(op, "dilation", dilation, 1)
    reach = spread((kernel.shape[0], kernel.shape[1]), dilations)
    pads = as_padding(op, padding, (x.shape[1], x.shape[2]), reach, strides)
    return x, kernel, bias, Steps(strides, pads, dilations, groups)


def check_groups(op: str, channels: int, groups: Any) -> int:
    """`groups`, a divisor of the channels of x."""
    groups = check_int(op, "groups", groups, 1, max(channels, 1))
    if channels % groups:
        raise ValueError(
            f"{op}: expected groups to divide the {channels} channels of x, got {groups}"
        )
    return groups
