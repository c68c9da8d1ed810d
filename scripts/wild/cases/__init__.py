"""The cases, a module for a package or a few that belong together."""

from __future__ import annotations

from scripts.wild.case import Entry
from scripts.wild.cases import (
    distrax,
    equinox,
    flax,
    jax_attention,
    jax_functions,
    jax_special,
    jaxopt,
    mechanics,
    numerics,
    optax,
    ott,
    probability,
    quantized,
    solvers,
    tfp,
    tfp_distributions,
)

MODULES = (
    jax_functions,
    jax_special,
    jax_attention,
    optax,
    flax,
    equinox,
    distrax,
    tfp,
    tfp_distributions,
    solvers,
    jaxopt,
    ott,
    probability,
    mechanics,
    numerics,
    quantized,
)
REGISTRY: tuple[Entry, ...] = tuple(entry for module in MODULES for entry in module.CASES)
