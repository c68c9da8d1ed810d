"""What a check found: elements, layers, the whole, and the exception that carries it."""

import json
from dataclasses import asdict, dataclass, replace
from typing import Any

PASS, FAIL, INCONCLUSIVE, SKIPPED = "pass", "fail", "inconclusive", "skipped"


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
    said of the function on the way, `warnings` what is wrong with it without making it fail.
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

    `reproduce` is a line of Python that shows the failure again, to run where `jax`, `jnp`,
    `jaxfn`, `gradcheck`, the function and `args` are known by these names. `warnings` say what is
    wrong with a rule that passes: digits that it loses at magnitudes far from the given ones, or
    rounding that differs from call to call.
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

    def check(self, name: str) -> Check:
        """The layer of that name; raises KeyError when the run has none."""
        for check in self.checks:
            if check.name == name:
                return check
        raise KeyError(name)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain dicts, lists, strings and numbers."""
        return _plain(asdict(self))

    def to_json(self, **options: Any) -> str:
        """The report as JSON; complex numbers become `[re, im]`, nan and inf strings."""
        return json.dumps(self.to_dict(), **options)

    def with_mutants(self, mutants: tuple[Mutant, ...]) -> "GradcheckReport":
        return replace(self, mutants=mutants)

    def __str__(self) -> str:
        lines = [f"gradcheck of {self.function}: {self.verdict.upper()}"]
        if self.diagnosis:
            lines.append(f"  diagnosis: {self.diagnosis}")
        width = max((len(check.name) for check in self.checks), default=0)
        for check in self.checks:
            power = "" if check.power is None else f"catches {check.power:.1e}"
            lines.append(
                f"  {check.name:<{width}}  {check.verdict:<12}  {power:<15}  {_text(check)}"
            )
            if check.worst is not None and check.verdict in (FAIL, INCONCLUSIVE):
                lines.append(f"  {'':<{width}}  worst: {check.worst}")
        lines.extend(f"  warning: {warning}" for warning in self.warnings)
        lines.extend(f"  note: {note}" for note in self.notes)
        if self.mutants:
            caught = sum(mutant.caught for mutant in self.mutants)
            missed = ", ".join(m.name for m in self.mutants if not m.caught)
            lines.append(f"  planted faults: {caught} of {len(self.mutants)} caught")
            if missed:
                lines.append(f"  planted faults missed: {missed}")
        if self.reproduce:
            lines.append(f"  reproduce: {self.reproduce}")
        return "\n".join(lines)


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


def _text(check: Check) -> str:
    if check.verdict == PASS:
        said = f"{check.shows}; not shown: {check.does_not_show}"
        return f"{said}; {check.detail}" if check.detail else said
    return check.detail or check.shows


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
