"""What a comparison found."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from jaxfn.comparison.figures.records import Figures
from jaxfn.comparison.rendering.plot import draw
from jaxfn.comparison.rendering.text import as_rich, as_text
from jaxfn.verification import GradcheckReport


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A custom rule beside what it is compared with, if anything. Prints as a table.

    Attributes:
      name: the function's.
      against: what it is compared with: `"autodiff"`, or the reference's name; `""` where autodiff
        cannot differentiate the function and there is no reference.
      arguments: the differentiable and the other arrays, such as `"x float32[8,3]"`.
      rules: the names of the custom rules that the function applies.
      verdict: one line that says what the figures bear out, and no more.
      findings: a sentence for each difference.
      proof: what `gradcheck` said of the rule.
      figures: the figures, of the rule alone where it is compared with nothing; None if there are
        none, because the rule is wrong, or what is given cannot be differentiated.
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
        return as_text(self)

    def __rich__(self) -> Any:
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
          ImportError: without matplotlib (`pip install "jaxfn[cli]"`).
          ValueError: if there are no figures.
        """
        draw(self, path)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not abs(value) < float("inf"):
        return str(value)
    return value
