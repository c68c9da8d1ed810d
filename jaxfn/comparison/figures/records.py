"""The records of what is measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Generic, TypeVar

from jaxfn.comparison.figures.accuracy import Error
from jaxfn.comparison.figures.compiled import ProgramFigures
from jaxfn.comparison.figures.residuals import Residuals
from jaxfn.comparison.figures.timing import Timing

T = TypeVar("T")
R = TypeVar("R")


@dataclasses.dataclass(frozen=True)
class Pair(Generic[T]):
    """The same figure of both sides, or of the rule alone.

    Attributes:
      rule: of the function with its custom rule.
      reference: of what it is compared with; None where there is nothing to compare with.
    """

    rule: T
    reference: T | None = None

    @property
    def sides(self) -> tuple[T, ...]:
        """Those there are, the rule first."""
        return (self.rule,) if self.reference is None else (self.rule, self.reference)

    @property
    def both(self) -> tuple[T, T]:
        """The rule and the reference, of a comparison that has one."""
        assert self.reference is not None
        return self.rule, self.reference

    def map(self, fun: Callable[[T], R]) -> Pair[R]:
        """What `fun` gives for each side there is."""
        return Pair(*map(fun, self.sides))


@dataclasses.dataclass(frozen=True)
class Figures:
    """All that was measured; what was not is empty or None, and a note says why.

    Attributes:
      errors: by quantity: the value, the gradient of each argument; none where there is nothing
        to measure them against.
      errors_against: what the errors are measured against.
      residuals: what is kept between forward and backward pass.
      programs: by regime, what the compiler made of it.
      stages: the seconds to trace, lower and compile value and gradients in one jit.
      times: by regime, the seconds of a run.
      notes: what was not measured, and why.
    """

    errors: dict[str, Pair[Error]]
    errors_against: str
    residuals: Pair[Residuals]
    programs: dict[str, Pair[ProgramFigures]]
    stages: dict[str, Pair[Timing]]
    times: dict[str, Pair[Timing]]
    notes: tuple[str, ...] = ()
