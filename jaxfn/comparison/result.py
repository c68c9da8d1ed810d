"""What a comparison found."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, Generic, TypeVar

from jaxfn.comparison.accuracy import Error
from jaxfn.comparison.compiled import ProgramFigures
from jaxfn.comparison.residuals import Residuals
from jaxfn.comparison.timing import Timing
from jaxfn.verification.report import GradcheckReport

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Pair(Generic[T]):
    """The same figure of both sides.

    Attributes:
      rule: of the function with its custom rule.
      reference: of what it is compared with.
    """

    rule: T
    reference: T


@dataclasses.dataclass(frozen=True)
class Figures:
    """All that was measured; what was not is empty or None, and a note says why.

    Attributes:
      errors: by quantity: the value, the gradient of each argument.
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


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A custom rule beside what it is compared with. Prints as a table.

    Attributes:
      name: the function's.
      against: what it is compared with: `"autodiff"`, or the reference's name.
      arguments: the differentiable and the other arrays, such as `"x float32[8,3]"`.
      rules: the names of the custom rules that the function applies.
      verdict: one line that says what the figures bear out, and no more.
      findings: a sentence for each difference.
      proof: what `gradcheck` said of the rule.
      figures: the figures; None if there are none, because the rule is wrong or there is nothing
        to compare it with.
      environment: versions, device and date.
      seed: of the cotangents.
    """

    name: str
    against: str
    arguments: tuple[str, ...]
    rules: tuple[str, ...]
    verdict: str
    findings: tuple[str, ...]
    proof: GradcheckReport
    figures: Figures | None
    environment: dict[str, str]
    seed: int

    def __str__(self) -> str:
        from jaxfn.comparison.text import as_text

        return as_text(self)

    def __rich__(self) -> Any:
        from jaxfn.comparison.text import as_rich

        return as_rich(self)

    def to_dict(self) -> dict[str, Any]:
        """Everything, as dicts, lists, strings and numbers.

        Returns:
          A dict; residuals have their totals by kind beside the leaves.
        """
        plain = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in ("proof", "figures")
        }
        figures = None if self.figures is None else dataclasses.asdict(self.figures)
        return _plain({**plain, "proof": self.proof.to_dict(), "figures": figures})

    def to_json(self, **options: Any) -> str:
        """Everything, as JSON; nan and infinity become strings.

        Args:
          **options: of `json.dumps`, such as `indent=2`.

        Returns:
          The JSON text.
        """
        return json.dumps(self.to_dict(), **options)

    def plot(self, path: str | Path) -> None:
        """Draws time, memory, residuals and errors as a PNG.

        Args:
          path: of the file that is written.

        Raises:
          ImportError: without matplotlib (`pip install "jaxfn[train]"`).
          ValueError: if there are no figures.
        """
        from jaxfn.comparison.plot import draw

        draw(self, path)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not abs(value) < float("inf"):
        return str(value)
    return value
