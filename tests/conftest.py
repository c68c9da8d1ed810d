"""Settings of every test: two host devices, unless the environment says how many, before JAX starts
its backends; the same examples of hypothesis each time (`--hypothesis-profile=default` draws
others)."""

import gc
import os

import jax
import pytest
from hypothesis import settings

from tests.quick_compilation import compile_quickly

jax.config.update("jax_num_cpu_devices", int(os.environ.get("JAX_NUM_CPU_DEVICES", "2")))
compile_quickly(True)  # what modules compute when they are imported is numbers

settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")


def pytest_collection_finish():
    """What the imports made lives to the end: the collector need not walk it again and again."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items):
    """In each module those that look at optimised programs come first: they have to compile again
    what was compiled quickly, once for a module."""
    modules = {module: i for i, module in enumerate(dict.fromkeys(item.path for item in items))}
    items.sort(key=lambda item: (modules[item.path], item.get_closest_marker("optimized") is None))


@pytest.fixture(autouse=True, scope="module")
def _passes_of_the_module(request):
    """Most of XLA's passes are left out of modules marked `numbers`: no test in them looks at a
    program, its memory, its time or its bits, but for those marked `optimized`."""
    compile_quickly(request.node.get_closest_marker("numbers") is not None)


@pytest.fixture(autouse=True)
def _passes_of_the_test(request, _passes_of_the_module):
    marked = request.node.get_closest_marker
    compile_quickly(marked("numbers") is not None and marked("optimized") is None)
