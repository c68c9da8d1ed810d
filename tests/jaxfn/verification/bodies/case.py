"""What a case is, and what the cases are made of."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

Function = Callable[..., Any]
Witness = Callable[["Case"], tuple[Any, Any]]

CAUSES = (
    "scale",  # a constant factor
    "sign",
    "transposed",
    "exchanged",  # the gradient of one argument or leaf is given to another
    "zero",  # a gradient that is zero everywhere
    "zero-region",  # zero in a part of the domain
    "region",  # wrong in a part of the domain
    "elements",  # some elements of the array are wrong, wherever the point is
    "mean-for-sum",
    "sum-for-mean",
    "constant",  # something is added that does not depend on the cotangent
    "nonlinear",  # not linear in the cotangent
    "dtype",
    "primal",  # the forward rule computes something else than the function
    "vmap",
    "second-order",
    "nan",  # nan or infinite where the derivative is finite
    "conjugate",
    "dropped-term",
    "extra-term",  # something is added that belongs elsewhere
    "nondeterministic",
    "symbolic-zero",  # wrong for an unused output or an unperturbed argument
    "low-precision",
    "jit",  # wrong only when traced
    "surrogate",  # a gradient that means to be something else than the derivative, undeclared
    "other",
)


@dataclass(frozen=True, eq=False)
class Case:
    """One rule: `fun` at `args`, wrong because of `cause`, or correct if that is None."""

    name: str
    fun: Function
    given: tuple[Any, ...]
    witness: Witness
    cause: str | None = None
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    tolerance: float = 1e-4

    @functools.cached_property
    def args(self) -> tuple[Any, ...]:
        """The arguments; those given as functions (PRNG keys) are made now."""
        return tuple(arg() if callable(arg) else arg for arg in self.given)


def rule(backward: Function, recursive: bool = False) -> Callable[[Function], Function]:
    """A `custom_vjp` that saves its arguments: `backward(*args, g)` is a tuple of gradients.

    The forward rule calls the plain function or, if `recursive`, the function with its rule: for
    second derivatives, where autodiff cannot go through the plain one.
    """

    def decorate(fun):
        op = jax.custom_vjp(fun)
        inner = op if recursive else fun
        op.defvjp(lambda *args: (inner(*args), args), lambda args, g: backward(*args, g))
        return op

    return decorate


def normal(*shape: int, seed: int = 0, dtype: Any = np.float32, scale: float = 1.0) -> np.ndarray:
    """Independent normal variates, complex ones for a complex `dtype`."""
    draw = np.random.default_rng([seed, *shape]).standard_normal
    values = draw(shape) + 1j * draw(shape) if np.dtype(dtype).kind == "c" else draw(shape)
    return (scale * values).astype(dtype)


def positive(*shape: int, seed: int = 0, dtype: Any = np.float32) -> np.ndarray:
    """Uniform variates between 0.5 and 2."""
    return np.random.default_rng([seed, *shape]).uniform(0.5, 2, shape).astype(dtype)


def array(*values: Any, dtype: Any = np.float32) -> np.ndarray:
    """An array of the values; of no dimension for a single number."""
    return np.array(values[0] if len(values) == 1 else values, dtype)
