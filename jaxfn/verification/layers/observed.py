"""What a layer is given: what is under test, what was observed, what the layers before it found."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from jaxfn.verification.evidence.agreement import Comparison
from jaxfn.verification.report import Check
from jaxfn.verification.subject.subject import Subject


@dataclass(frozen=True)
class Observed:
    """All that a layer may rest on.

    Attributes:
        subject: what is under test.
        out: the function's own output at the given point.
        found: the gradients of rule and reference at all points, and where they differ.
        checks: those of the layers before.
    """

    subject: Subject
    out: Any
    found: Comparison
    checks: tuple[Check, ...] = ()

    def check(self, name: str) -> Check | None:
        """What the layer of that name found, or None if it was not asked."""
        return next((check for check in self.checks if check.name == name), None)

    def verdict(self, name: str) -> str | None:
        """The verdict of the layer of that name, or None if it was not asked."""
        check = self.check(name)
        return None if check is None else check.verdict

    def with_check(self, check: Check) -> "Observed":
        """The same with what one more layer found."""
        return replace(self, checks=(*self.checks, check))


Layer = Callable[[Observed], Check]
