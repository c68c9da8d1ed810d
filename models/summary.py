"""A model as a table."""

from __future__ import annotations

import jax
from flax import nnx

# Wide enough for every column, and without colours: the table is text like any other.
_CONSOLE = {"width": 100, "color_system": None}


def summary(model: nnx.Module, *inputs: jax.Array) -> str:
    """Table of the layers of `model` with the shapes that they take and give for `inputs`, their
    parameters' shapes and counts, and the total."""
    return nnx.tabulate(model, *inputs, console_kwargs=_CONSOLE)
