"""A model as a table."""

from __future__ import annotations

import jax
from flax import nnx

# Wide enough for every column, and without colours: the table is text like any other.
_CONSOLE = {"width": 100, "color_system": None}


def summary(model: nnx.Module, *inputs: jax.Array) -> str:
    """A table of a model's layers.

    Args:
      model: any NNX module.
      *inputs: what it is called with; only their shapes and dtypes count.

    Returns:
      The layers with the shapes that they take and give, their parameters' shapes and counts, and
      the total.

    Example:
      >>> import jax.numpy as jnp, models
      >>> from flax import nnx
      >>> "40" in models.summary(models.Linear(3, 10, rngs=nnx.Rngs(0)), jnp.ones((1, 3)))
      True
    """
    # nnx.tabulate leaves every inherited method on the class itself, where nnx.capture, which wraps
    # a class's own methods, then finds its own `sow` and calls it without end.
    kinds = {type(module) for _, module in nnx.iter_modules(model)}
    own = {kind: set(vars(kind)) for kind in kinds}
    try:
        return nnx.tabulate(model, *inputs, console_kwargs=_CONSOLE)
    finally:
        for kind, names in own.items():
            for name in set(vars(kind)) - names:
                delattr(kind, name)
