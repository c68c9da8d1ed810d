"""Settings of every test: two host devices, before JAX starts its backends; the same examples of
hypothesis each time (`--hypothesis-profile=default` draws others)."""

import gc

import jax
from hypothesis import settings

jax.config.update("jax_num_cpu_devices", 2)

settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")


def pytest_collection_finish():
    """What the imports made lives to the end: the collector need not walk it again and again."""
    gc.collect()
    gc.freeze()
