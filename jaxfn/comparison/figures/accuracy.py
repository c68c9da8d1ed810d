"""How far values and gradients are from the exact ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxfn.comparison.figures.jaxprs import lowest_precision, machine_epsilon
from jaxfn.comparison.figures.problem import Problem
from jaxfn.comparison.figures.regimes import both

EXACT = "the reference in float64"
OWN = "the rule itself in float64"  # where there is no reference: rounding, and nothing else
# So JAX, checks of dtypes, and callbacks that run refuse.
_REFUSALS = (TypeError, ValueError, jax.errors.JaxRuntimeError)
_DOUBLE = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Error:
    """The largest error in an array.

    Attributes:
      relative: of the size of the array's largest element.
      ulps: in units of the last place of the array's largest element.
      worst_element_ulps: of the worst element, in units of its own last place: large where terms
        cancel, however they are summed.
    """

    relative: float
    ulps: float
    worst_element_ulps: float


def exact_results(fun: Callable[..., Any], problem: Problem) -> tuple[list[np.ndarray] | None, str]:
    """Results and gradients of `fun` evaluated in float64, or None and the reason why not."""
    if all(machine_epsilon(p.aval) <= _DOUBLE for p in problem.primals):
        return None, "the arguments are in float64 already"
    flat = problem.flatten(fun)
    with jax.enable_x64(True):
        given = map(_widen, (problem.primals, problem.others, problem.cotangents))
        primals, others, cotangents = given
        run = jax.jit(lambda p, o, c: both(flat, p, o, c))
        try:
            precision = lowest_precision(jax.make_jaxpr(flat)(primals, others))
            if precision <= _DOUBLE:
                traced = run.trace(primals, others, cotangents)
                precision = lowest_precision(traced.jaxpr)
            if precision > _DOUBLE:
                return None, "the function computes in a lower precision of its own"
            outputs, _, gradients = traced.lower().compile()(primals, others, cotangents)
        except _REFUSALS as error:
            return None, f"the function refuses it: {str(error).splitlines()[0]}"
        return [np.asarray(array) for array in (*outputs, *gradients)], ""


def _widen(arrays: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
    def widen(array: jax.Array) -> jax.Array:
        if not jnp.issubdtype(array.dtype, jnp.inexact):
            return array
        is_complex = jnp.issubdtype(array.dtype, jnp.complexfloating)
        return jnp.asarray(np.asarray(array).astype(np.complex128 if is_complex else np.float64))

    return tuple(map(widen, arrays))


def error_of(actual: jax.Array, exact: np.ndarray) -> Error:
    """The error of `actual`, where nan is right for nan, and inf for inf.

    Args:
      actual: in the precision that counts.
      exact: of the same shape.

    Returns:
      The error: inf if something is not finite that ought to be, or otherwise not finite.
    """
    info = jnp.finfo(actual.dtype)
    wide = np.complex128 if np.iscomplexobj(exact) else np.float64
    got, exact = np.asarray(actual).astype(wide), exact.astype(wide)
    finite = np.isfinite(exact)
    with np.errstate(all="ignore"):
        same = np.where(np.isnan(exact), np.isnan(got), got == exact)
        error = np.where(finite & np.isfinite(got), np.abs(got - exact), np.where(same, 0, np.inf))
    size = np.abs(np.where(finite, exact, 0))
    largest, most = size.max(initial=0.0), error.max(initial=0.0)
    return Error(
        relative=_ratio(most, largest),
        ulps=_ratio(most, _last_place(largest, info)),
        worst_element_ulps=float(np.max(error / _last_place(size, info), initial=0.0)),
    )


def _ratio(error: float, size: Any) -> float:
    if size == 0:
        return 0.0 if error == 0 else float("inf")
    return float(error / size)


def _last_place(size: Any, info: Any) -> Any:
    """The distance from one number of that size to the next, in the precision of `info`."""
    exponent = np.frexp(np.maximum(size, float(info.tiny)))[1] - 1
    return np.ldexp(float(info.eps), exponent)
