"""A small package with custom rules of every make, that tests import and look through."""

import sys

import pytest

INIT = """
import jax
from toyrules import hidden


@jax.custom_jvp
def square(x):
    return x * x


@square.defjvp
def _(primals, tangents):
    return square(*primals), 2 * primals[0] * tangents[0]


class Holder:
    @staticmethod
    @jax.custom_vjp
    def cube(x):
        return x**3


Holder.cube.defvjp(lambda x: (x**3, x), lambda x, g: (3 * x**2 * g,))
jitted = jax.jit(hidden.wrapped)

if jax.__version__ == "":

    @jax.custom_jvp
    def never(x):
        return x


def made_anew(x):
    @jax.custom_jvp
    def inner(x):
        return x

    inner.defjvps(lambda t, out, x: t)
    return inner(x)
"""
HIDDEN = """
import jax


def _wrap(rule):
    def outer(x):
        return rule(x)

    return outer


def body(x):
    return 2 * x


wrapped = _wrap(jax.custom_jvp(body))
"""
BROKEN = """
import jax
import no_such_module


@jax.custom_vjp
def unreachable(x):
    return x
"""
SOURCES = {"__init__": INIT, "hidden": HIDDEN, "broken": BROKEN, "hidden_test": BROKEN}


@pytest.fixture
def toy_package(tmp_path, monkeypatch):
    """Makes `toyrules` importable, and returns its folder."""
    folder = tmp_path / "toyrules"
    folder.mkdir()
    for name, source in SOURCES.items():
        (folder / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "toyrules"]:
        del sys.modules[name]
