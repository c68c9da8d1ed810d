"""Cases of packages for probability and physics: NumPyro, FlowJAX, NetKet, JAX-GalSim, Jaxley."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from scripts.wild.case import MONTE_CARLO, POSITIVE, Entry, by, get, normal, of

POWER_LAW = ((1.1, 2.9), (-4.0, 3.0), (0.5, 1.0), (3.0, 5.0))


def _power_law(method: str) -> Callable[..., Any]:
    make = get("numpyro.distributions:DoublyTruncatedPowerLaw")
    return lambda value, *parameters: getattr(make(*parameters), method)(value)


def _truncated(method: str, value: float, alpha: float, shown: str = "") -> Entry:
    domain = (((0.05, 0.95) if method == "icdf" else POWER_LAW[0]), *POWER_LAW[1:])
    make = by(functools.partial(_power_law, method), [value], [alpha], [0.8], [3.5], domain=domain)
    return Entry("numpyro", f"DoublyTruncatedPowerLaw.{method}{shown}", make)


def _inverse() -> Callable[..., Any]:
    bijections = importlib.import_module("flowjax.bijections")
    search = get("flowjax.root_finding:root_finder_to_inverter")
    bisect = get("flowjax.root_finding:bisection_search")

    leaky = bijections.LeakyTanh(3.0)

    def fun(y: Any, scale: Any) -> Any:
        tight = functools.partial(bisect, lower=-50.0, upper=50.0, atol=1e-12)
        chain = bijections.Chain([bijections.Scale(scale), leaky])
        return bijections.NumericalInverse(chain, search(tight)).inverse(y)

    return fun


def _expect() -> Callable[..., Any]:
    """The mean over samples that stay as they are: its gradient is that of the expectation."""
    expect = get("netket.jax:expect")
    samples = normal(40, 2)

    def log_density(w: Any, x: Any) -> Any:
        return -0.5 * jnp.sum((x - w) ** 2, axis=-1)

    return lambda w: expect(log_density, lambda w, x: jnp.sin(x @ w), w, samples)[0]


def _packed() -> Callable[..., Any]:
    packed = get("netket.jax:apply_packed")
    x, where = normal(5, 2), np.array([True, False, True, True, False])
    fun = lambda w, x: jnp.sin(x @ w)  # noqa: E731
    return lambda w: packed(fun, w, x, jnp.asarray(where), 0.0, chunk_size=2)


def _solve_tree() -> Callable[..., Any]:
    """The voltages of a branching cable of seven compartments."""
    make = get("jaxley.solver_voltage:_get_dhs_solve")
    edges = np.array([[1, 0], [2, 1], [3, 1], [4, 2], [5, 3], [6, 3]])
    levels = [edges[:1], edges[1:3], edges[3:]]
    children, parents = edges.T
    indexer = {"node_order_grouped": levels, "all_children": children, "all_parents": parents}
    solve = make(indexer, optimize_for_gpu=False, n_nodes=7)

    def fun(*system: Any) -> Any:
        padding = (1, 0, 0, 0)  # an eighth compartment that the solver wants, and does not use
        padded = (jnp.append(x, pad) for x, pad in zip(system, padding, strict=True))
        return solve(*padded)[:7]

    return fun


CASES = (
    _truncated("log_prob", 1.7, 0.6),
    _truncated("log_prob", 1.7, -1.0, " (alpha = −1)"),
    _truncated("cdf", 1.7, 0.6),
    _truncated("cdf", 1.7, -1.0, " (alpha = −1)"),
    _truncated("icdf", 0.3, 0.6),
    _truncated("icdf", 0.3, -1.0, " (alpha = −1)"),
    Entry(
        "numpyro",
        "distributions.util.log1mexp",
        of("numpyro.distributions.util:log1mexp", [-7.5, -2.3, -0.9, -0.2]),
    ),
    Entry(
        "flowjax",
        "NumericalInverse",
        by(_inverse, 0.7, 1.3, domain=((-2.5, 2.5), (0.3, 4.0))),
        rules=("flowjax.bijections.utils.wrapped_inverter",),
    ),
    Entry(
        "netket",
        "jax.expect",
        by(_expect, normal(2, seed=1)),
        MONTE_CARLO,
    ),
    Entry(
        "netket",
        "jax.apply_packed",
        by(_packed, normal(2, seed=1)),
        rules=("netket.jax._apply_packed.batched",),
    ),
    Entry(
        "jax_galsim",
        "bessel.kv",
        of("jax_galsim.bessel:kv", np.array(0.7), np.array(POSITIVE)),
        "0 in the order by its documentation",
    ),
    Entry(
        "jaxley",
        "solver_voltage, a tree",
        by(
            _solve_tree,
            [3.0, 4.0, 3.5, 4.5, 3.0, 2.5, 3.5],
            [0.0, -0.3, -0.5, -0.4, -0.7, -0.2, -0.6],
            [0.0, -0.4, -0.2, -0.6, -0.3, -0.5, -0.1],
            [1.0, -2.0, 0.5, 0.3, 0.8, -0.4, 1.5],
        ),
    ),
)
