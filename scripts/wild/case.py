"""What a case of `scripts.rules_in_the_wild` is, and short ways to write one down."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

X = [-2.5, -0.7, 0.3, 1.9]
POSITIVE = [0.2, 0.9, 2.3, 7.5]
UNIT = [0.05, 0.3, 0.55, 0.9]
STRAIGHT = "straight-through by design: compared with what it means to have"
PATHWISE = "a sampler: implicit reparameterisation"
MONTE_CARLO = "a Monte Carlo estimate by design"


class Case(NamedTuple):
    """What is checked: a function, its arguments, and options of `gradcheck`."""

    fun: Callable[..., Any]
    args: tuple[Any, ...]
    options: dict[str, Any] = {}  # noqa: RUF012, never changed


class Entry(NamedTuple):
    """A public function of a package, and how to call it.

    Attributes:
      package: the package, by the name under which it is imported.
      function: the name that the table shows.
      make: makes the case; imports what it needs.
      note: what the package documents of the rule, or what is special about the arguments.
      rules: names of rules that it meets and whose names the trace does not tell: those that are
        made by a wrapper such as `equinox.filter_custom_jvp`.
    """

    package: str
    function: str
    make: Callable[[], Case]
    note: str = ""
    rules: tuple[str, ...] = ()


def get(path: str) -> Any:
    """What `package.module:name` names, with dots in the name where it is nested.

    Args:
      path: the name of a module, a colon, and a name in it.

    Returns:
      The object.
    """
    module, _, name = path.partition(":")
    return functools.reduce(getattr, name.split("."), importlib.import_module(module))


def of(path: str, *args: Any, **options: Any) -> Callable[[], Case]:
    """A case: the function that `path` names, at `args`.

    Args:
      path: `package.module:name`.
      *args: its arguments; lists become float32 arrays, all else stays.
      **options: of `gradcheck`.

    Returns:
      A function that makes the case.
    """
    return lambda: Case(get(path), arrays(args), options)


def by(make: Callable[..., Callable[..., Any]], *args: Any, **options: Any) -> Callable[[], Case]:
    """A case: the function that `make` returns, at `args`; otherwise as `of`.

    Args:
      make: returns the function.
      *args: its arguments.
      **options: of `gradcheck`.

    Returns:
      A function that makes the case.
    """
    return lambda: Case(make(), arrays(args), options)


def arrays(args: Sequence[Any]) -> tuple[Any, ...]:
    """The arguments, with float32 arrays for lists and numbers, and arrays of JAX for NumPy's.

    Args:
      args: the arguments.

    Returns:
      The same as a tuple.
    """
    return tuple(map(_array, args))


def _array(arg: Any) -> Any:
    if isinstance(arg, (list, float)):
        return jnp.asarray(arg, jnp.float32)
    return jnp.asarray(arg) if isinstance(arg, np.ndarray) else arg


def normal(*shape: int, seed: int = 0, complex_: bool = False) -> Any:
    """Standard normal numbers, an array.

    Args:
      *shape: of the array.
      seed: of the numbers.
      complex_: whether they are complex.

    Returns:
      The array, a NumPy one: no device is touched where the registry is written down.
    """
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(shape)
    if complex_:
        return (values + 1j * rng.standard_normal(shape)).astype(np.complex64)
    return values.astype(np.float32)


def positive_definite(n: int, seed: int = 0) -> Any:
    """A well-conditioned symmetric positive definite matrix.

    Args:
      n: its size.
      seed: of its numbers.

    Returns:
      The matrix, a NumPy array.
    """
    factor = normal(n, n, seed=seed)
    return (factor @ factor.T + n * np.eye(n)).astype(np.float32)


INVERTIBLE = normal(3, 3, seed=4)
