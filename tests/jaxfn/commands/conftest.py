"""What the tests of the commands share."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from jaxfn.commands.main import main

OPS = """
import jax, jax.numpy as jnp

@jax.custom_vjp
def sine(x):
    return jnp.sin(x)

sine.defvjp(lambda x: (jnp.sin(x), x), lambda x, g: (g * jnp.cos(x),))

def of_tree(params, scale):
    return scale * sine(params["w"])

def example_args():
    return [{"w": jnp.ones(3)}, 2]

def raises():
    raise RuntimeError("no data here\\nand a second line")

def a_dict():
    return {"x": 1}
"""


@pytest.fixture
def ops(tmp_path, monkeypatch) -> Path:
    """The current folder, with nothing but a module `ops`, as `python -m` finds it."""
    (tmp_path / "ops.py").write_text(OPS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "ops", raising=False)
    yield tmp_path
    sys.modules.pop("ops", None)


@pytest.fixture
def command(capsys) -> Callable[..., tuple[int, str, str]]:
    """Runs `python -m jaxfn` in this process: exit code, stdout, stderr."""

    def run(*argv: object) -> tuple[int, str, str]:
        code = 0
        try:
            main([str(arg) for arg in argv])
        except SystemExit as end:
            code = int(end.code or 0)
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def refused(command) -> Callable[..., str]:
    """The one line with which a command that is wrong ends."""

    def run(*argv: object) -> str:
        code, out, err = command(*argv)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert err.startswith("error: ")
        return err

    return run
