"""From the figures of a rule that has nothing beside it to words: amounts, and no ratios."""

from __future__ import annotations

from jaxfn.comparison.figures import regimes, residuals
from jaxfn.comparison.figures.records import Figures
from jaxfn.comparison.verdict.units import format_bytes, format_seconds

NOTHING = "nothing to compare with: autodiff cannot differentiate it, and there is no reference="


def judge_alone(
    figures: Figures, reason: str, differences: float | None
) -> tuple[str, tuple[str, ...]]:
    """The verdict in a line, and every finding.

    Args:
      figures: of the rule.
      reason: why autodiff cannot.
      differences: the smallest relative error that finite differences would have shown, where the
        rule agrees with them; None where they were not taken.
    """
    amounts = [_residuals(figures), *_memory(figures), *_times(figures)]
    accuracy = _accuracy(differences)
    findings = (f"autodiff cannot differentiate it: {reason}", *amounts, accuracy)
    return f"{NOTHING}; by itself: {', '.join([*amounts, accuracy])}", findings


def _residuals(figures: Figures) -> str:
    new = figures.residuals.rule.nbytes(residuals.NEW)
    return f"{format_bytes(new)} of residual memory" if new else "no residual memory"


def _memory(figures: Figures) -> list[str]:
    """Where residuals have to be buffers."""
    program = figures.programs.get(regimes.LAYERS)
    if program is None or program.rule.temp_bytes is None:
        return []
    return [f"{format_bytes(program.rule.temp_bytes)} of temporary memory in a scan over layers"]


def _times(figures: Figures) -> list[str]:
    value, both = (figures.times.get(name) for name in (regimes.VALUE, regimes.BOTH))
    if value is None or both is None:
        return []
    seconds = [format_seconds(timing.rule.median) for timing in (both, value)]
    return [f"{seconds[0]} in one jit (the value alone: {seconds[1]})"]


def _accuracy(differences: float | None) -> str:
    if differences is None:
        return "not checked against finite differences"
    return f"agrees with finite differences, which show relative errors above {differences:.1g}"
