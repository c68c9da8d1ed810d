"""Cases of JAX: neural networks, elementwise functions, linear algebra, implicit functions."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from scripts.wild.case import INVERTIBLE, POSITIVE, Entry, X, by, normal, of, positive_definite


def entry(path: str, *args: Any, shown: str = "", note: str = "", **options: Any) -> Entry:
    """An entry of JAX, named after the function.

    Args:
      path: `jax.module:name`.
      *args: the function's arguments; lists become arrays.
      shown: what tells the arguments from those of the function's other entries.
      note: of the entry.
      **options: of `gradcheck`.

    Returns:
      The entry.
    """
    name = path.replace(":", ".").removeprefix("jax.")
    return Entry("jax", name + (f" ({shown})" if shown else ""), of(path, *args, **options), note)


def _custom_root() -> Callable[..., Any]:
    def root(a: Any) -> Any:
        def solve(f: Any, guess: Any) -> Any:
            return jax.lax.fori_loop(0, 30, lambda _, y: y - f(y) / (3 * y**2), guess)

        def tangent_solve(g: Any, y: Any) -> Any:
            return y / g(jnp.ones_like(y))

        return jax.lax.custom_root(lambda y: y**3 - a, jnp.ones_like(a), solve, tangent_solve)

    return root


def _odeint() -> Callable[..., Any]:
    from jax.experimental.ode import odeint

    def solve(y: Any, rate: Any) -> Any:
        times = jnp.array([0.0, 0.7])
        return odeint(lambda y, t, rate: -rate * y + jnp.sin(y), y, times, rate)[-1]

    return solve


def _logaddexp(name: str) -> tuple[Entry, ...]:
    complex_ = (normal(3, seed=seed, complex_=True) for seed in range(2))
    return (
        entry(f"jax.numpy:{name}", X, [0.5, -0.7, 2.0, -1.0]),
        entry(f"jax.numpy:{name}", *complex_, shown="complex"),
    )


CASES = (
    entry("jax.nn:relu", X),
    entry("jax.nn:relu", [-1.0, 0.0, 2.0], shown="at the kink"),
    entry("jax.nn:relu6", [-1.0, 2.0, 7.0]),
    entry("jax.nn:relu6", [0.0, 6.0, 3.0], shown="at the kinks"),
    entry("jax.nn:softmax", normal(3, 4)),
    entry("jax.nn:log1mexp", POSITIVE),
    entry("jax.nn:silu", X),
    *_logaddexp("logaddexp"),
    *_logaddexp("logaddexp2"),
    entry("jax.numpy:i0", X),
    entry("jax.numpy:i0", [0.0], shown="at 0"),
    entry("jax.numpy:sinc", X),
    entry("jax.numpy:sinc", [0.0], shown="at 0"),
    entry("jax.numpy:frexp", X),
    entry("jax.numpy.linalg:det", INVERTIBLE, shown="3×3"),
    entry("jax.numpy.linalg:det", normal(4, 4), shown="4×4"),
    entry("jax.numpy.linalg:det", normal(4, 4, complex_=True), shown="complex"),
    entry("jax.numpy.linalg:det", np.diag([1, 2, 3, 0]).astype(np.float32), shown="4×4, rank 3"),
    entry("jax.numpy.linalg:det", np.diag([1, 2, 0, 0]).astype(np.float32), shown="4×4, rank 2"),
    entry("jax.numpy.linalg:slogdet", normal(2, 2), shown="2×2"),
    entry("jax.numpy.linalg:slogdet", normal(4, 4), shown="4×4"),
    entry("jax.numpy.linalg:slogdet", normal(2, 2, complex_=True), shown="2×2 complex"),
    entry("jax.numpy.linalg:slogdet", normal(3, 3, complex_=True), shown="3×3 complex"),
    Entry(
        "jax",
        "numpy.linalg.slogdet (qr)",
        by(lambda: functools.partial(jnp.linalg.slogdet, method="qr"), normal(3, 3)),
    ),
    entry("jax.numpy.linalg:pinv", normal(4, 3), shown="4×3"),
    entry("jax.numpy.linalg:pinv", normal(3, 4), shown="3×4"),
    entry("jax.numpy.linalg:pinv", normal(3, 2, complex_=True), shown="complex"),
    Entry(
        "jax",
        "numpy.linalg.pinv (hermitian)",
        by(lambda: functools.partial(jnp.linalg.pinv, hermitian=True), positive_definite(3)),
    ),
    Entry("jax", "lax.custom_root", by(_custom_root, [0.5, 2.0], domain=((0.1, 10.0),))),
    Entry("jax", "experimental.ode.odeint", by(_odeint, [1.0, -0.5], 0.7)),
)
