"""Most tests here look at numbers of small programs, each run once: XLA's optimisations cost more
than they save, and the numbers have to be right without them as well."""

from __future__ import annotations

import jax
import pytest


@pytest.fixture(autouse=True)
def _compiled_as_fast_as_possible(request: pytest.FixtureRequest):
    """Tests marked `optimized` look at what XLA makes of a program: they get it as users do."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update(
        "jax_disable_most_optimizations", request.node.get_closest_marker("optimized") is None
    )
    yield
    jax.config.update("jax_disable_most_optimizations", before)
