"""Cases of Diffrax, Lineax, Optimistix and Quadax."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from scripts.wild.case import (
    INVERTIBLE,
    Entry,
    X,
    by,
    normal,
    of,
)


def _diffeqsolve(adjoint: str) -> Callable[..., Any]:
    dfx = importlib.import_module("diffrax")

    def solve(y: Any, rate: Any) -> Any:
        term = dfx.ODETerm(lambda t, y, rate: -rate * y + jnp.sin(y))
        steps = dfx.PIDController(rtol=1e-10, atol=1e-10)
        options = {"stepsize_controller": steps, "adjoint": getattr(dfx, adjoint)()}
        solved = dfx.diffeqsolve(term, dfx.Dopri5(), 0.0, 1.0, 0.1, y, rate, **options)
        return solved.ys[-1]

    return solve


def _optimistix(solver: str, problem: str) -> Callable[..., Any]:
    optx = importlib.import_module("optimistix")
    solve = getattr(optx, problem)
    residual = (
        (lambda y, a: jnp.tanh(y) * a + 0.5 - y)
        if problem != "fixed_point"
        else (lambda y, a: 0.5 * jnp.cos(a * y))
    )

    def fun(a: Any) -> Any:
        tight = getattr(optx, solver)(rtol=1e-12, atol=1e-12)
        return solve(residual, tight, jnp.zeros_like(a), a, throw=False).value

    return fun


def _linear_solve() -> Callable[..., Any]:
    lx = importlib.import_module("lineax")
    return lambda a, b: lx.linear_solve(lx.MatrixLinearOperator(a), b).value


CASES = (
    Entry(
        "diffrax",
        "diffeqsolve (RecursiveCheckpointAdjoint)",
        by(functools.partial(_diffeqsolve, "RecursiveCheckpointAdjoint"), [1.0, -0.5], 0.7),
    ),
    Entry(
        "diffrax",
        "diffeqsolve (BacksolveAdjoint)",
        by(functools.partial(_diffeqsolve, "BacksolveAdjoint"), [1.0, -0.5], 0.7),
        "the adjoint is solved anew: approximate by design",
        ("diffrax._adjoint._loop_backsolve",),
    ),
    Entry("lineax", "two_norm", of("lineax.internal:two_norm", X)),
    Entry(
        "lineax",
        "two_norm (at 0)",
        of("lineax.internal:two_norm", [0.0, 0.0]),
        "0 at the kink by design",
    ),
    Entry("lineax", "two_norm (complex)", of("lineax.internal:two_norm", normal(3, complex_=True))),
    Entry(
        "lineax",
        "two_norm (one complex element)",
        of("lineax.internal:two_norm", normal(1, complex_=True)),
    ),
    Entry("lineax", "rms_norm", of("lineax.internal:rms_norm", X)),
    Entry("lineax", "max_norm", of("lineax.internal:max_norm", X)),
    Entry("lineax", "linear_solve", by(_linear_solve, INVERTIBLE, [1.0, 2.0, -1.0])),
    Entry(
        "optimistix",
        "root_find (Newton)",
        by(functools.partial(_optimistix, "Newton", "root_find"), [0.3, 0.6]),
        rules=("optimistix._ad._implicit_impl",),
    ),
    Entry(
        "optimistix",
        "fixed_point",
        by(functools.partial(_optimistix, "FixedPointIteration", "fixed_point"), [0.3, 0.6]),
        rules=("optimistix._ad._implicit_impl",),
    ),
    Entry(
        "optimistix",
        "least_squares (LevenbergMarquardt)",
        by(functools.partial(_optimistix, "LevenbergMarquardt", "least_squares"), [0.3, 0.6]),
        rules=("optimistix._ad._implicit_impl",),
    ),
)
