"""Cases of Flax."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from scripts.wild.case import (
    STRAIGHT,
    Case,
    Entry,
    X,
    arrays,
    by,
    get,
    normal,
)


def _identity(inputs: Any) -> Any:
    return inputs


def _in_qdq() -> Case:
    quantize = get("flax.linen.fp8_ops:in_qdq")
    scale, history = jnp.ones((1,)), jnp.ones((4,))
    fun = lambda x: quantize(jnp.float32, jnp.float8_e4m3fn, x, scale, history)  # noqa: E731
    return Case(fun, arrays([X]), {"surrogate": _identity})


def _out_qdq() -> Callable[..., Any]:
    quantize = get("flax.linen.fp8_ops:out_qdq")
    scale, history = jnp.ones((1,)), jnp.ones((4,))
    return lambda x: quantize(jnp.float32, jnp.float8_e5m2, x, scale, history)


def _dot_general_with_precision() -> Callable[..., Any]:
    dot = get("flax.linen.fp8_ops:dot_general_with_precision")
    return lambda a, b: dot(a, b, (((1,), (0,)), ((), ())))


def _fp8_dot() -> Case:
    dot = get("flax.linen.fp8_ops:fp8_scaled_dot_general")
    scale, history = jnp.ones((1,)), jnp.ones((4,))
    names = ("lhs", "rhs", "grad")
    options: dict[str, Any] = {f"{name}_scale": scale for name in names}
    options |= {f"{name}_amax_history": history for name in names}
    options["preferred_element_type"] = jnp.float32
    fun = lambda a, b: dot(a, b, (((1,), (0,)), ((), ())), **options)  # noqa: E731
    return Case(
        fun, (jnp.asarray(normal(3, 4)), jnp.asarray(normal(4, 2))), {"surrogate": jnp.matmul}
    )


CASES = (
    Entry(
        "flax",
        "linen.fp8_ops.dot_general_with_precision",
        by(_dot_general_with_precision, normal(3, 4), normal(4, 2)),
    ),
    Entry("flax", "linen.fp8_ops.in_qdq", _in_qdq, STRAIGHT),
    Entry(
        "flax", "linen.fp8_ops.out_qdq", by(_out_qdq, X), "rounds the cotangent to 8 bits by design"
    ),
    Entry(
        "flax",
        "linen.fp8_ops.fp8_scaled_dot_general",
        _fp8_dot,
        "rounds the operands and the cotangent to 8 bits by design",
    ),
)
