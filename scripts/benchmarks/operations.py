"""Each operation alone, its rule beside autodiff of the same operation in plain JAX."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import jaxfn
from scripts.benchmarks.timing import Contestant, Effort, Row, add_speed, compiled, measure
from scripts.cases import Case

OURS, PLAIN = "jaxfn", "plain JAX"
FORWARD, BOTH, BACKWARD = "forward", "forward and backward", "backward alone"

Operation = Callable[..., jax.Array]


def plain_linear(x: jax.Array, weight: jax.Array, bias: jax.Array | None = None) -> jax.Array:
    return x @ weight if bias is None else x @ weight + bias


def plain_relu(x: jax.Array, *, grad_at_zero: float = 0.0) -> jax.Array:
    if grad_at_zero == 0:
        return jax.nn.relu(x)
    # JAX halves the gradient of a maximum between equal arguments.
    return jnp.where(x < 0, 0, x) if grad_at_zero == 1 else jnp.maximum(x, 0)


def plain_conv2d(
    x: jax.Array,
    kernel: jax.Array,
    bias: jax.Array | None = None,
    *,
    stride: Any = 1,
    padding: Any = "VALID",
    dilation: Any = 1,
    groups: int = 1,
) -> jax.Array:
    y = lax.conv_general_dilated(
        x,
        kernel,
        _pair(stride),
        padding,
        rhs_dilation=_pair(dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )
    return y if bias is None else y + bias


def plain_max_pool2d(
    x: jax.Array, window: Any = 2, *, stride: Any = None, padding: Any = "VALID"
) -> jax.Array:
    windows = (1, *_pair(window), 1)
    strides = windows if stride is None else (1, *_pair(stride), 1)
    pads = padding if isinstance(padding, str) else ((0, 0), *padding, (0, 0))
    return lax.reduce_window(x, -np.inf, lax.max, windows, strides, pads)


def plain_relu_max_pool2d(x: jax.Array, window: Any = 2, **options: Any) -> jax.Array:
    return plain_max_pool2d(jax.nn.relu(x), window, **options)


def plain_conv2d_relu_max_pool2d(
    x: jax.Array,
    kernel: jax.Array,
    bias: jax.Array | None = None,
    *,
    window: Any = 2,
    **options: Any,
) -> jax.Array:
    return plain_relu_max_pool2d(plain_conv2d(x, kernel, bias, **options), window)


def plain_rms_norm(
    x: jax.Array, scale: jax.Array | None = None, *, epsilon: float = 1e-6
) -> jax.Array:
    y = x * lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + epsilon)
    return y if scale is None else y * scale


def plain_layer_norm(
    x: jax.Array,
    scale: jax.Array | None = None,
    bias: jax.Array | None = None,
    *,
    epsilon: float = 1e-6,
) -> jax.Array:
    y = x - jnp.mean(x, axis=-1, keepdims=True)
    y = y * lax.rsqrt(jnp.var(x, axis=-1, keepdims=True) + epsilon)
    y = y if scale is None else y * scale
    return y if bias is None else y + bias


def plain_swiglu(gate: jax.Array, up: jax.Array) -> jax.Array:
    return jax.nn.silu(gate) * up


def plain_geglu(gate: jax.Array, up: jax.Array, *, approximate: bool = True) -> jax.Array:
    return jax.nn.gelu(gate, approximate=approximate) * up


def plain_dropout(key: jax.Array, x: jax.Array, rate: float) -> jax.Array:
    return jnp.where(jax.random.bernoulli(key, 1 - rate, x.shape), x / (1 - rate), 0)


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


PLAIN_OPERATIONS: dict[Operation, Operation] = {
    jaxfn.linear: plain_linear,
    jaxfn.relu: plain_relu,
    jaxfn.conv2d: plain_conv2d,
    jaxfn.max_pool2d: plain_max_pool2d,
    jaxfn.relu_max_pool2d: plain_relu_max_pool2d,
    jaxfn.conv2d_relu_max_pool2d: plain_conv2d_relu_max_pool2d,
    jaxfn.rms_norm: plain_rms_norm,
    jaxfn.layer_norm: plain_layer_norm,
    jaxfn.silu: jax.nn.silu,
    jaxfn.gelu: jax.nn.gelu,
    jaxfn.swiglu: plain_swiglu,
    jaxfn.geglu: plain_geglu,
    jaxfn.dropout: plain_dropout,
}


def plain(operation: Operation) -> Operation | None:
    """The same operation as people write it with `jax.lax` and `jax.nn`, or None if there is no
    such form here."""
    if isinstance(operation, functools.partial):
        whole = plain(operation.func)
        if whole is plain_max_pool2d and "dilation" in operation.keywords:
            return None  # `lax.reduce_window` has no gradient there
        return whole and functools.partial(whole, *operation.args, **operation.keywords)
    return PLAIN_OPERATIONS.get(operation)


def operations(cases: Iterable[Case], effort: Effort) -> Iterator[list[Row]]:
    """Each case forward, and forward and backward."""
    for case in cases:
        other = plain(case.operation) or case.reference
        args = case.timed_args(seed=effort.seed)
        yield from _against_plain(case.name, case.operation, other, args, effort)


def pool_gradient(effort: Effort, batch: int = 1024) -> Iterator[list[Row]]:
    """The gradient of pooling LeNet's first feature maps, a large batch of them."""
    args = normal(effort.seed, (batch, 30, 30, 6))
    for name, operation in (
        ("max_pool2d", jaxfn.max_pool2d),
        ("relu_max_pool2d", jaxfn.relu_max_pool2d),
    ):
        group = f"{name} {batch}×30×30×6"
        other = PLAIN_OPERATIONS[operation]
        yield from _against_plain(group, operation, other, args, effort, (BACKWARD, BOTH))


def cifar(effort: Effort, batch: int = 128) -> Iterator[list[Row]]:
    """The layers of a net for CIFAR's images: 32×32×3, kernels of 5×5, 64 channels, pooled by 2."""
    layers = (
        ("conv2d 32×32, 3→64", jaxfn.conv2d, ((batch, 32, 32, 3), (5, 5, 3, 64), (64,))),
        ("max_pool2d 28×28×64", jaxfn.max_pool2d, ((batch, 28, 28, 64),)),
        ("relu_max_pool2d 28×28×64", jaxfn.relu_max_pool2d, ((batch, 28, 28, 64),)),
        ("conv2d 14×14, 64→64", jaxfn.conv2d, ((batch, 14, 14, 64), (5, 5, 64, 64), (64,))),
    )
    for name, operation, shapes in layers:
        args = normal(effort.seed, *shapes)
        other = PLAIN_OPERATIONS[operation]
        yield from _against_plain(name, operation, other, args, effort)


def _against_plain(
    name: str,
    operation: Operation,
    other: Operation,
    args: tuple[jax.Array, ...],
    effort: Effort,
    regimes: tuple[str, ...] = (FORWARD, BOTH),
) -> Iterator[list[Row]]:
    y_bar = jnp.ones(jax.eval_shape(operation, *args).shape, args[0].dtype)
    for regime in regimes:
        contestants = {
            OURS: _contestant(operation, regime, args, y_bar),
            PLAIN: _contestant(other, regime, args, y_bar),
        }
        rows = measure(f"{name}, {regime}", contestants, effort)
        yield add_speed(rows, "speed_against_plain", lambda row: row.contestant == PLAIN)


def _contestant(
    operation: Operation, regime: str, args: tuple[jax.Array, ...], y_bar: jax.Array
) -> Contestant:
    if regime == FORWARD:
        return compiled(operation, *args)
    if regime == BACKWARD:
        # A compiled forward pass leaves what it keeps as it would for a backward pass of its own.
        _, vjp = jax.jit(lambda *args: jax.vjp(operation, *args))(*args)
        return compiled(lambda vjp, y_bar: vjp(y_bar), vjp, y_bar)
    return compiled(with_gradients(operation), y_bar, *args)


def with_gradients(fun: Callable[..., Any]) -> Callable[..., Any]:
    """`(ȳ, *args)` → the value of `fun` and its gradients."""

    def both(y_bar: jax.Array, *args: jax.Array) -> tuple[Any, ...]:
        y, vjp = jax.vjp(fun, *args)
        return y, vjp(y_bar)

    return both


def normal(seed: int, *shapes: tuple[int, ...]) -> tuple[jax.Array, ...]:
    """Arrays in float32 of these shapes."""
    rng = np.random.RandomState(seed)
    return tuple(jnp.asarray(rng.standard_normal(shape), jnp.float32) for shape in shapes)
