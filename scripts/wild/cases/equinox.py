"""Cases of Equinox."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from scripts.wild.case import (
    Entry,
    X,
    by,
    get,
    of,
)


def _while_loop(kind: str) -> Callable[..., Any]:
    while_loop = get("equinox.internal:while_loop")

    def fun(x: Any) -> Any:
        step = lambda state: (state[0] + 1, jnp.sin(state[1]) * x)  # noqa: E731
        options = {"max_steps": 8, "kind": kind, **({"checkpoints": 2} if kind[0] == "c" else {})}
        return while_loop(lambda state: state[0] < 6, step, (jnp.array(0), x), **options)[1]

    return fun


def _error_if() -> Callable[..., Any]:
    error_if = get("equinox:error_if")
    return lambda x: jnp.sin(error_if(x, jnp.any(x > 1e30), "too large"))


CHECKPOINTED = ("_checkpointed_while_loop", "_stop_gradient_on_unperturbed")

CASES = (
    Entry(
        "equinox",
        "internal.while_loop (checkpointed)",
        by(functools.partial(_while_loop, "checkpointed"), X),
        rules=tuple(f"equinox.internal._loop.checkpointed.{name}" for name in CHECKPOINTED),
    ),
    Entry(
        "equinox", "internal.while_loop (bounded)", by(functools.partial(_while_loop, "bounded"), X)
    ),
    Entry("equinox", "internal.nextafter", of("equinox.internal:nextafter", X)),
    Entry("equinox", "internal.prevbefore", of("equinox.internal:prevbefore", X)),
    Entry("equinox", "error_if", by(_error_if, X), rules=("equinox._errors._error",)),
)
