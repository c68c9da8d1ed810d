"""Cases of OTT, optimal transport."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from scripts.wild.case import POSITIVE, Entry, X, by, get, normal, of

UTILS = "ott.math.utils:"


def _root(name: str) -> Callable[..., Any]:
    """A matrix root of a matrix that is positive definite whatever the argument is."""
    root = get(f"ott.math.matrix_square_root:{name}")

    def fun(x: Any) -> Any:
        roots = root(x @ x.T + 3 * jnp.eye(x.shape[0], dtype=x.dtype), threshold=1e-13)
        return roots[:2] if name == "sqrtm" else roots

    return fun


def _legendre() -> Callable[..., Any]:
    costs = importlib.import_module("ott.geometry.costs")
    regularizers = importlib.import_module("ott.geometry.regularizers")
    return costs.RegTICost(regularizers.L1(), lam=0.5).h_legendre


def _sinkhorn(**options: Any) -> Callable[..., Any]:
    pointcloud = get("ott.geometry.pointcloud:PointCloud")
    problem = get("ott.problems.linear.linear_problem:LinearProblem")
    sinkhorn = get("ott.solvers.linear.sinkhorn:Sinkhorn")

    def fun(x: Any, y: Any) -> Any:
        solver = sinkhorn(**{"threshold": 1e-9, "max_iterations": 2000, **options})
        return solver(problem(pointcloud(x, y, epsilon=0.5))).reg_ot_cost

    return fun


def _unrolled() -> Callable[..., Any]:
    return _sinkhorn(implicit_diff=None, max_iterations=20, min_iterations=20)


def _semidiscrete() -> Callable[..., Any]:
    pointcloud = get("ott.geometry.pointcloud:PointCloud")
    problem = get("ott.problems.linear.linear_problem:LinearProblem")
    loss = get("ott.solvers.linear.semidiscrete:_semidiscrete_loss")
    x, y = normal(5, 2), normal(3, 2, seed=1)
    return lambda g: loss(g, problem(pointcloud(x, y, epsilon=0.5)))


def _ott(name: str, *args: Any, shown: str = "", note: str = "", **options: Any) -> Entry:
    title = f"math.utils.{name}" + (f" ({shown})" if shown else "")
    return Entry("ott", title, of(UTILS + name, *args, **options), note)


INFINITE = np.array([[0.5, -np.inf, 1.0], [-np.inf, -np.inf, -np.inf]], np.float32)

CASES = (
    _ott("norm", X),
    _ott("norm", [0.0, 0.0, 0.0], shown="at 0"),
    _ott("logsumexp", normal(3, 4), 1),
    _ott("logsumexp", INFINITE, 1, shown="a row of −∞"),
    _ott("softmin", X, 0.7),
    _ott("lambertw", POSITIVE),
    *(
        Entry("ott", f"math.matrix_square_root.{name}", by(lambda n=name: _root(n), normal(3, 3)))
        for name in ("sqrtm", "sqrtm_only", "inv_sqrtm_only")
    ),
    Entry("ott", "geometry.costs.RegTICost.h_legendre", by(_legendre, X)),
    Entry(
        "ott",
        "solvers.linear.sinkhorn.Sinkhorn (implicit)",
        by(_sinkhorn, normal(4, 2), normal(3, 2, seed=1)),
    ),
    Entry(
        "ott",
        "solvers.linear.sinkhorn.Sinkhorn (unrolled)",
        by(_unrolled, normal(4, 2), normal(3, 2, seed=1)),
    ),
    Entry("ott", "solvers.linear.semidiscrete loss", by(_semidiscrete, normal(3, seed=2))),
)
