"""What a check found: elements, layers, the whole, and the exception that carries it."""

from __future__ import annotations

import json
import textwrap
from dataclasses import asdict, dataclass, field, replace
from typing import Any

PASS, FAIL, INCONCLUSIVE, SKIPPED = "pass", "fail", "inconclusive", "skipped"
COLUMNS = 100
VERDICT, POWER = 12, 15  # columns of a verdict, and of "catches 1.2e-10"


@dataclass(frozen=True)
class Element:
    """One element of a gradient: what the rule gives there and what was expected."""

    path: str
    index: tuple[int, ...]
    rule: float | complex
    reference: float | complex
    ulps: float
    probe: str = "the given point"

    def __str__(self) -> str:
        where = f"{self.path}{list(self.index)}" if self.index else self.path
        return (
            f"{where}: rule {self.rule:.9g}, expected {self.reference:.9g} "
            f"({self.ulps:.3g} ulp) at {self.probe}"
        )


@dataclass(frozen=True)
class Check:
    """One layer: its verdict, what it shows and what not, and how small an error it catches.

    `power` is the smallest relative error that this run would have caught in the elements that
    the layer compares, or None where the layer compares no numbers. `reproduce` is a line of
    Python that shows a failure again, where the layer has one of its own. `notes` are what is to be
    said of the function on the way, `warnings` what is wrong with it without making it fail,
    `scope` what a pass leaves open because the given arguments are not like it.
    """

    name: str
    verdict: str
    shows: str
    does_not_show: str
    power: float | None = None
    worst: Element | None = None
    detail: str = ""
    diagnosis: str = ""
    cause: str = ""
    reproduce: str = ""
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    scope: tuple[str, ...] = ()


@dataclass(frozen=True)
class Mutant:
    """A fault planted in the rule under test, and whether the check caught it."""

    name: str
    verdict: str

    @property
    def caught(self) -> bool:
        return self.verdict == FAIL


@dataclass(frozen=True)
class GradcheckReport:
    """The outcome of `gradcheck`: prints as a table, serialises as JSON.

    `reproduce` is a program in Python that shows the failure again. What it cannot import or write
    out (a function inside another one, large arrays) it names in a comment. `hint` is the option of
    `gradcheck` that would settle what did not pass, if one would. `warnings` say what is wrong with
    a rule that passes: digits that it loses at magnitudes far from the given ones, or rounding that
    differs from call to call. `scope` is what a pass leaves open, for the given arguments are not
    like it. `verbose` is whether `str()` gives all of it; `text(verbose=True)` does so for any
    report.
    """

    function: str
    verdict: str
    checks: tuple[Check, ...]
    diagnosis: str = ""
    cause: str = ""
    notes: tuple[str, ...] = ()
    reproduce: str = ""
    mutants: tuple[Mutant, ...] = ()
    warnings: tuple[str, ...] = ()
    scope: tuple[str, ...] = ()
    hint: str = ""
    verbose: bool = field(default=False, compare=False, kw_only=True)

    def check(self, name: str) -> Check:
        """The layer of that name; raises KeyError when the run has none."""
        for check in self.checks:
            if check.name == name:
                return check
        raise KeyError(name)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain dicts, lists, strings and numbers."""
        found = asdict(self)
        del found["verbose"]  # how it prints is no finding
        return _plain(found)

    def to_json(self, **options: Any) -> str:
        """The report as JSON; complex numbers become `[re, im]`, nan and inf strings."""
        return json.dumps(self.to_dict(), **options)

    def with_mutants(self, mutants: tuple[Mutant, ...]) -> GradcheckReport:
        return replace(self, mutants=mutants)

    def text(self, verbose: bool | None = None) -> str:
        """The report to read, short or with all of it.

        Args:
            verbose: False for the verdict, the diagnosis, the worst elements and a line for each
                layer, in lines of 100 columns at most; True for what each layer shows and does not
                show, the notes and `reproduce` as well; by default what `gradcheck` was told.
        """
        full = self.verbose if verbose is None else verbose
        return _long(self) if full else _short(self)

    def __str__(self) -> str:
        return self.text()


class GradcheckError(AssertionError):
    """A rule failed `gradcheck`; `.report` says where and, if it fits a pattern, why."""

    def __init__(self, report: GradcheckReport) -> None:
        super().__init__(str(report))
        self.report = report


def overall(checks: tuple[Check, ...]) -> str:
    """The verdict of the whole: one failure fails it, one open question leaves it open."""
    verdicts = {check.verdict for check in checks}
    for verdict in (FAIL, INCONCLUSIVE):
        if verdict in verdicts:
            return verdict
    return PASS


def _short(report: GradcheckReport) -> str:
    """Verdict, diagnosis, worst elements, a line for each layer, and what would settle it."""
    lines = _headed(report)
    worst = [c for c in report.checks if c.worst is not None and _open(c)]
    width = _width(worst)
    for check in worst:
        lines += _wrapped(f"worst, {check.name + ':':<{width + 1}} {check.worst}")
    for check in report.checks:
        detail = "" if check.detail == report.diagnosis else check.detail
        lines.append(_shortened(f"{_columns(check, _width(report.checks))}  {detail}".rstrip()))
    lines += _of_mutants(report)
    if report.hint:
        lines += _wrapped(f"hint: {report.hint}")
    if report.verdict != PASS:
        rest = f"{len(report.notes)} notes, " if report.notes else ""
        again = " and a program that shows it again" if report.reproduce else ""
        lines += _wrapped(f"{rest}what each layer shows{again}: report.text(verbose=True)")
    return "\n".join(lines)


def _long(report: GradcheckReport) -> str:
    """All of the report: what each layer shows and does not show, notes, how to see it again."""
    lines = _headed(report)
    width = _width(report.checks)
    for check in report.checks:
        said = check.detail or check.shows
        if check.verdict == PASS:
            said = f"{check.shows}; not shown: {check.does_not_show}"
            said += f"; {check.detail}" if check.detail else ""
        lines.append(f"{_columns(check, width)}  {said}")
        if check.worst is not None and _open(check):
            lines.append(f"  {'':<{width}}  worst: {check.worst}")
    lines.extend(f"  note: {note}" for note in report.notes)
    lines += _of_mutants(report)
    if report.hint:
        lines += _wrapped(f"hint: {report.hint}")
    if report.reproduce:
        lines += ["  reproduce:", textwrap.indent(report.reproduce, "    ")]
    return "\n".join(lines)


def _headed(report: GradcheckReport) -> list[str]:
    verdict = report.verdict.upper()
    if report.verdict == PASS and report.scope:
        verdict += f", but not shown for {'; '.join(report.scope)}"
    lines = textwrap.wrap(
        f"gradcheck of {report.function}: {verdict}", COLUMNS, subsequent_indent="    "
    )
    lines += _wrapped(f"diagnosis: {report.diagnosis}") if report.diagnosis else []
    for warning in report.warnings:
        lines += _wrapped(f"warning: {warning}")
    return lines


def _open(check: Check) -> bool:
    return check.verdict in (FAIL, INCONCLUSIVE)


def _width(checks: list[Check] | tuple[Check, ...]) -> int:
    return max((len(check.name) for check in checks), default=0)


def _columns(check: Check, width: int) -> str:
    power = "" if check.power is None else f"catches {check.power:.1e}"
    return f"  {check.name:<{width}}  {check.verdict:<{VERDICT}}  {power:<{POWER}}"


def _of_mutants(report: GradcheckReport) -> list[str]:
    if not report.mutants:
        return []
    caught = sum(mutant.caught for mutant in report.mutants)
    missed = ", ".join(m.name for m in report.mutants if not m.caught)
    lines = [f"  planted faults: {caught} of {len(report.mutants)} caught"]
    return lines + (_wrapped(f"planted faults missed: {missed}") if missed else [])


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(
        text, COLUMNS, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False
    )


def _shortened(line: str) -> str:
    line = " ".join(line.splitlines())
    return line if len(line) <= COLUMNS else f"{line[: COLUMNS - 1].rstrip()}…"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, complex):
        return [_plain(value.real), _plain(value.imag)]
    if isinstance(value, float) and not abs(value) < float("inf"):
        return str(value)
    return value
