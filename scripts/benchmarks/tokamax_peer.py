"""tokamax's operations as XLA compiles them, where it is installed (`pip install tokamax`, on
Python 3.12 and up). ejkernel, whose operations are similar, does not import beside jax 0.12."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable


def cross_entropies() -> dict[str, Callable]:
    """`(x, weight, labels)` → the mean loss, by the name of each implementation."""
    import tokamax  # pyright: ignore[reportMissingImports]

    def loss(x, weight, labels, *, implementation):
        return tokamax.linear_softmax_cross_entropy_loss(
            x, labels, weight, reduction="mean", implementation=implementation
        )

    return _each(loss, "xla", "chunked_xla")


def attentions() -> dict[str, Callable]:
    """Its attention, by the name of each implementation."""
    import tokamax  # pyright: ignore[reportMissingImports]

    return _each(tokamax.dot_product_attention, "xla", "xla_chunked")


def is_installed() -> bool:
    return importlib.util.find_spec("tokamax") is not None


def _each(fun: Callable, *implementations: str) -> dict[str, Callable]:
    return {f"tokamax, {i}": functools.partial(fun, implementation=i) for i in implementations}
