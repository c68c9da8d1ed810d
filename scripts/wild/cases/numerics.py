"""Cases of numerical packages: Dynamiqs, e3nn-jax, KFAC-JAX, Matfree, Quadax."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from scripts.wild.case import POSITIVE, Entry, X, by, get, normal, of, positive_definite


def _quadgk(adjoint: str) -> Callable[..., Any]:
    quadax = importlib.import_module("quadax")

    def fun(end: Any, rate: Any) -> Any:
        options = {"epsabs": 1e-12, "epsrel": 1e-12, "adjoint": getattr(quadax, adjoint)()}
        integrand = lambda t, rate: jnp.exp(-rate * t) * jnp.sin(3 * t)  # noqa: E731
        interval = jnp.stack([jnp.zeros_like(end), end])
        return quadax.quadgk(integrand, interval, args=(rate,), **options)[0]

    return fun


def _romberg() -> Callable[..., Any]:
    quadax = importlib.import_module("quadax")

    def fun(end: Any, rate: Any) -> Any:
        integrand = lambda t, rate: jnp.exp(-rate * t)  # noqa: E731
        interval = jnp.stack([jnp.zeros_like(end), end])
        return quadax.romberg(integrand, interval, args=(rate,), epsabs=1e-10, epsrel=1e-10)[0]

    return fun


def _harmonics(algorithm: str) -> Callable[..., Any]:
    harmonics = get("e3nn_jax:spherical_harmonics")
    options = {"normalize": False, "algorithm": ("recursive", algorithm, "custom_jvp")}
    return lambda x: harmonics("0e + 1o + 2e + 3o", x, **options).array


def _hessenberg() -> Callable[..., Any]:
    decompose = get("matfree.decomp:hessenberg")(2, custom_vjp=True, reortho="full")

    def fun(v: Any, matrix: Any) -> Any:
        result = decompose(lambda x, a: a @ x, v, matrix)
        return result.Q_tall, result.J_small, result.residual

    return fun


def _tridiagonal() -> Callable[..., Any]:
    decompose = get("matfree.decomp:tridiag_sym")(2, custom_vjp=True)

    def fun(v: Any, matrix: Any) -> Any:
        result = decompose(lambda x, a: (a + a.T) @ x, v, matrix)
        return result.J_small

    return fun


def _least_squares() -> Callable[..., Any]:
    lstsq = get("matfree.lstsq:lsmr")(atol=1e-13, btol=1e-13, ctol=1e-13, maxiter=50)
    return lambda rhs, matrix: lstsq(lambda x, a: a.T @ x, rhs, matrix)[0]


LOW_RANK = "dynamiqs.integrators.core.low_rank_integrator:"


def _cached_qr() -> Callable[..., Any]:
    solve = get(LOW_RANK + "_qr_solve_cached")
    return lambda a, b: solve(a, jnp.linalg.qr(jax.lax.stop_gradient(a)), b)


def _cached_cholesky() -> Callable[..., Any]:
    solve = get(LOW_RANK + "_cholesky_solve_cached")
    return lambda a, b: solve(a, jnp.linalg.pinv(jax.lax.stop_gradient(a)), b)


def _odd_sized() -> Callable[..., Any]:
    call = get("dynamiqs.integrators.core.unrolled_solvers:_odd_sized")
    return lambda x, y: call(lambda x, y: (jnp.sin(x) * y, x + y * y), x, y)


CASES = (
    Entry(
        "quadax",
        "quadgk (LeibnizAdjoint)",
        by(functools.partial(_quadgk, "LeibnizAdjoint"), 1.5, 0.7),
        rules=("quadax._adjoint._leibniz",),
    ),
    Entry(
        "quadax",
        "quadgk (DirectAdjoint)",
        by(functools.partial(_quadgk, "DirectAdjoint"), 1.5, 0.7),
        rules=("quadax._adjoint._direct",),
    ),
    Entry("quadax", "romberg", by(_romberg, 1.5, 0.7), rules=("quadax._adjoint._leibniz",)),
    *(
        Entry(
            "e3nn_jax",
            f"spherical_harmonics (recursive, {algorithm})",
            by(functools.partial(_harmonics, algorithm), normal(3)),
        )
        for algorithm in ("dense", "sparse")
    ),
    Entry(
        "e3nn_jax",
        "utils.einsum",
        by(
            lambda: functools.partial(get("e3nn_jax._src.utils.einsum:einsum"), "ij,jk->ik"),
            normal(2, 3),
            normal(3, 2, seed=1),
        ),
    ),
    Entry("kfac_jax", "utils.stable_sqrt", of("kfac_jax._src.utils.math:stable_sqrt", POSITIVE)),
    Entry(
        "kfac_jax",
        "utils.stable_sqrt (small)",
        of("kfac_jax._src.utils.math:stable_sqrt", [0.0, 1e-9]),
        "the gradient is at most 1000 by design",
    ),
    Entry("matfree", "decomp.hessenberg", by(_hessenberg, normal(4), normal(4, 4, seed=1))),
    Entry("matfree", "decomp.tridiag_sym", by(_tridiagonal, normal(4), positive_definite(4))),
    Entry(
        "matfree",
        "lstsq.lsmr",
        by(_least_squares, normal(4), normal(4, 2, seed=1)),
        rules=("matfree.lstsq.lstsq_fun",),
    ),
    Entry(
        "dynamiqs",
        "low-rank solve (QR)",
        by(_cached_qr, normal(4, 2), normal(4, 3, seed=1)),
        "the factors are computed outside of the rule",
    ),
    Entry(
        "dynamiqs",
        "low-rank solve (Cholesky)",
        by(_cached_cholesky, normal(4, 2), normal(4, 3, seed=1)),
        "the factors are computed outside of the rule",
    ),
    Entry("dynamiqs", "unrolled_solvers._odd_sized", by(_odd_sized, X, [0.5, -0.7, 2.0, -1.0])),
)
