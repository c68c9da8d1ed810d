"""What is shown of a comparison."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from jaxfn.comparison.figures.records import Figures
from jaxfn.verification.report import GradcheckReport

RULE = "custom rule"  # what the side with the rule is called


class Compared(Protocol):
    """Figures, what they say, and of what they are; `jaxfn.Comparison` says more of each."""

    @property
    def name(self) -> str:
        """The function's."""
        ...

    @property
    def against(self) -> str:
        """What the function is compared with; empty if with nothing."""
        ...

    @property
    def arguments(self) -> tuple[str, ...]:
        """The arrays and their types."""
        ...

    @property
    def rules(self) -> tuple[str, ...]:
        """The names of the custom rules."""
        ...

    @property
    def verdict(self) -> str:
        """In a line."""
        ...

    @property
    def findings(self) -> tuple[str, ...]:
        """A sentence for each difference."""
        ...

    @property
    def proof(self) -> GradcheckReport:
        """What `gradcheck` said."""
        ...

    @property
    def figures(self) -> Figures | None:
        """None if there are none."""
        ...

    @property
    def environment(self) -> Mapping[str, str]:
        """Versions, device and date."""
        ...

    @property
    def seed(self) -> int:
        """Of the cotangents."""
        ...


def sides_of(comparison: Compared) -> tuple[str, ...]:
    """What the sides are called: the rule, and what it is compared with if there is such."""
    return (RULE, comparison.against) if comparison.against else (RULE,)
