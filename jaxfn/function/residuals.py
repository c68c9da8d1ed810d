"""What one call of an operation keeps between its forward and its backward rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from jaxfn.function.context import Content, Context


class Residuals:
    """The arrays that the forward rule hands to JAX, and how to make a context of them again.

    A jitted function that is called twice is one jaxpr, and its derivatives may need gradients of
    other arguments in the two calls: `layer(layer(x))` with `x` fixed. JAX then runs the forward
    rule once for each set of needs, before any backward rule, and remembers the structure of the
    residuals of the last run alone. So it is given a plain tuple that is equally long each time,
    filled up with arrays of no elements, whose shapes say which set of needs they belong to.
    """

    def __init__(self, name: str, everything: tuple[bool, ...]):
        self.name = name
        self.everything = everything  # the needs of all gradients at once
        self.contents: dict[tuple[bool, ...], Content] = {}  # of each run of the rule, by its needs
        self.plain: Content | None = None  # of the forward pass without the rule
        self.length: int | None = None  # of the tuple, once it is known

    def trace(self, content: Content) -> None:
        """Tells of a forward pass without rules: JAX may differentiate it later, and repeatedly."""
        self.plain = content

    def keep(
        self,
        arrays: list[jax.Array],
        content: Content,
        run: Callable[..., tuple[list[jax.Array], Content]],
        inputs: Sequence[jax.Array],
    ) -> tuple[Any, ...]:
        """The residuals for JAX.

        Args:
          arrays, content: what the forward pass leaves, as `close` returns it.
          run: the same for all gradients at once, as a function of the inputs.
          inputs: the inputs.
        """
        self.contents[content.needs] = content
        if self.plain is None:
            return tuple(arrays)
        if self.length is None:
            self.length = self._length(self.plain, content, run, inputs)
        return *arrays, *self._filling(content)

    def _length(
        self, plain: Content, content: Content, run: Callable[..., Any], inputs: Sequence[jax.Array]
    ) -> int:
        """How many arrays there are to be, with whatever needs the rule runs later."""
        if content.needs == self.everything:
            # Others are shorter, or the same arrays: then the needs can be taken together, unless
            # attributes depend on them.
            return len(content.types) + (_alike(plain, content) and not plain.agrees_with(content))
        longest = []  # with all gradients; only shapes are traced for it
        jax.eval_shape(lambda *x: longest.append(len(run(*x)[0])), *inputs)
        return max(*longest, len(content.types)) + 1

    def recall(self, residuals: tuple[Any, ...]) -> Context:
        """The context for the backward rule that JAX gave these residuals."""
        found = list(self.contents.values())
        if len(found) > 1:
            shapes = _shapes(residuals)
            found = [c for c in found if shapes == _shapes([*c.types, *self._filling(c)])]
        if not all(content.agrees_with(found[0]) for content in found):
            raise ValueError(
                f"{self.name}: attributes of ctx depend on ctx.needs_input_grad, and one compiled "
                "call is differentiated with respect to several sets of arguments; save arrays "
                "that depend on it instead"
            )
        # Alike but for the needs: what any of them needs is computed, JAX drops the rest.
        needs = tuple(map(any, zip(*(content.needs for content in found), strict=True)))
        return found[0]._replace(needs=needs).restore(residuals)

    def _filling(self, content: Content) -> list[np.ndarray]:
        number = list(self.contents).index(content.needs)
        return [np.zeros((0, number), np.float32)] * ((self.length or 0) - len(content.types))


def _alike(one: Content, other: Content) -> bool:
    return _shapes(one.types) == _shapes(other.types)


def _shapes(arrays: Sequence[Any]) -> list[tuple[Any, Any]]:
    return [(array.shape, array.dtype) for array in arrays]
