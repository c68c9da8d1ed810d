"""What a function calls its arguments."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

POSITIONAL = inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD


def parameter_names(fun: Callable[..., Any], count: int) -> tuple[str, ...]:
    """The names of the first arguments; `args[i]` where the function's signature has none."""
    numbered = tuple(f"args[{i}]" for i in range(count))
    try:
        parameters = inspect.signature(fun).parameters.values()
    except (TypeError, ValueError):  # built in, or its signature is not described
        return numbered
    named = tuple(p.name for p in parameters if p.kind in POSITIONAL)[:count]
    return named + numbered[len(named) :]


def with_names(fun: Callable[..., Any], names: Sequence[str]) -> Callable[..., Any]:
    """A function of `*args` with a signature that names them, unless one has no name."""
    if all(map(str.isidentifier, names)) and len(set(names)) == len(names):
        kind = inspect.Parameter.POSITIONAL_ONLY
        signature = inspect.Signature([inspect.Parameter(name, kind) for name in names])
        fun.__signature__ = signature  # pyright: ignore[reportFunctionMemberAccess]
    return fun
