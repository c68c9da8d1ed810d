"""Settings of every test: two host devices, before JAX starts its backends; the same examples of
hypothesis each time (`--hypothesis-profile=default` draws others)."""

import gc

import jax
import pytest
from hypothesis import settings

jax.config.update("jax_num_cpu_devices", 2)

settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")


def pytest_collection_finish():
    """What the imports made lives to the end: the collector need not walk it again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module")
def compiled_quickly():
    """XLA leaves most of its passes out: for modules that look at numbers, and at no program, its
    memory, its time or its bits; `compiled_fully` is for the single test in them that does."""
    before = jax.config.values["jax_disable_most_optimizations"]
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture
def compiled_fully():
    """XLA's passes as anybody has them, also in what an earlier test has compiled, which JAX would
    not compile again: an initial weight, say, has other last bits then."""
    before = jax.config.values["jax_disable_most_optimizations"]
    jax.config.update("jax_disable_most_optimizations", False)
    if before:
        jax.clear_caches()
    yield
    jax.config.update("jax_disable_most_optimizations", before)
