"""The flags that say which function is meant, and what it is called with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import jax
import numpy as np
import tyro

from jaxfn.commands.program import UserError, check, errors_of
from jaxfn.commands.specs import call_factory, load_function, parse_argument


@dataclass(frozen=True)
class Target:
    """A function and its arguments."""

    target: Annotated[str, tyro.conf.Positional]
    """package.module:function. The current folder's modules are found."""
    arguments: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """One for each positional argument: 'f32[64,128]', 'i32[3]', 'key', 'f32[]' for an array of
    example values; a Python literal, such as 0.5, True, None or "'same'", for a static one."""
    args: str | None = None
    """package.module:function that takes nothing and returns the tuple of arguments, any pytrees,
    instead of writing them."""
    seed: int = 0
    """Of the example values and of all random choices."""

    @property
    def call(self) -> str:
        """The call as messages name it."""
        given = f"*{self.args}()" if self.args else ", ".join(self.arguments)
        return f"{self.target}({given})"

    def load(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """The function and its arguments.

        Raises:
          UserError: if one of them is not there, or cannot be read.
        """
        check(0 <= self.seed < 2**32, f"--seed: expected 0 to 2³² - 1, got {self.seed}")
        with errors_of("JAX cannot start"):  # JAX_PLATFORMS names one that is not here
            jax.default_backend()
        fun = load_function(self.target)
        if self.args:
            written = " ".join(self.arguments)
            check(not written, f"expected arguments or --args, got both: {written}, {self.args}")
            return fun, call_factory(self.args)
        if not self.arguments:
            raise UserError(
                f"{self.target}: expected its arguments, such as 'f32[64,128]', or --args "
                "package.module:function that returns them, got none"
            )
        rng = np.random.RandomState(self.seed)
        return fun, tuple(parse_argument(spec, rng) for spec in self.arguments)


def load_optional(target: str | None) -> Callable[..., Any] | None:
    """The function that a flag names, if it names one."""
    return load_function(target) if target else None
