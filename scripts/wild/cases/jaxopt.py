"""Cases of JAXopt, and of RLax."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from scripts.wild.case import (
    MONTE_CARLO,
    Entry,
    X,
    by,
    get,
    normal,
    of,
)


def _perturbed(name: str) -> Callable[..., Any]:
    make = get(f"jaxopt.perturbations:{name}")
    one_hot = lambda x: jax.nn.one_hot(jnp.argmax(x), x.shape[0])  # noqa: E731
    hard = jnp.max if name == "make_perturbed_fun" else one_hot
    perturbed = make(hard, num_samples=50, sigma=0.5)
    return lambda x: perturbed(x, jax.random.key(0))


def _ridge() -> Callable[..., Any]:
    root = get("jaxopt.implicit_diff:custom_root")
    features, targets = normal(6, 3), normal(6, seed=1)

    def objective(w: Any, weight: Any) -> Any:
        return 0.5 * jnp.sum((features @ w - targets) ** 2) + 0.5 * jnp.sum(weight * w**2)

    @root(jax.grad(objective))
    def solve(_: Any, weight: Any) -> Any:
        normal_matrix = features.T @ features + jnp.diag(weight)
        return jnp.linalg.solve(normal_matrix, features.T @ targets)

    return lambda weight: solve(None, weight)


def _fixed_point() -> Callable[..., Any]:
    solver = get("jaxopt:FixedPointIteration")

    def fun(a: Any) -> Any:
        iteration = solver(lambda x, a: 0.5 * jnp.cos(a * x), maxiter=200, tol=1e-13)
        return iteration.run(jnp.zeros_like(a), a).params

    return fun


def _clip_gradient() -> Callable[..., Any]:
    clip = get("rlax:clip_gradient")
    return lambda x: jnp.sin(clip(x, -1.0, 1.0))


CASES = (
    Entry(
        "jaxopt",
        "projection.projection_simplex",
        of("jaxopt.projection:projection_simplex", normal(5)),
    ),
    Entry(
        "jaxopt",
        "projection.projection_sparse_simplex",
        by(
            lambda: lambda x: get("jaxopt.projection:projection_sparse_simplex")(x, max_nz=2),
            normal(5),
        ),
    ),
    Entry(
        "jaxopt",
        "projection.projection_l1_ball",
        of("jaxopt.projection:projection_l1_ball", normal(5)),
    ),
    Entry("jaxopt", "isotonic.isotonic_l2_pav", of("jaxopt.isotonic:isotonic_l2_pav", normal(5))),
    *(
        Entry(
            "jaxopt",
            f"perturbations.{name}",
            by(functools.partial(_perturbed, name), normal(3)),
            MONTE_CARLO,
        )
        for name in ("make_perturbed_argmax", "make_perturbed_max", "make_perturbed_fun")
    ),
    Entry("jaxopt", "implicit_diff.custom_root", by(_ridge, [0.5, 1.0, 2.0])),
    Entry("jaxopt", "FixedPointIteration", by(_fixed_point, [0.3, 0.6])),
    Entry(
        "rlax",
        "clip_gradient",
        by(_clip_gradient, X, linear_in_cotangent=False),
        "clips the cotangent by design: compared at small ones",
        ("rlax._src.clipping.clip_gradient",),
    ),
)
