"""What an audit found: each rule, the whole, and the exception that carries it."""

from __future__ import annotations

import json
import textwrap
from dataclasses import dataclass
from typing import Any

from jaxfn.verification.report import (
    COLUMNS,
    FAIL,
    INCONCLUSIVE,
    PASS,
    GradcheckReport,
)

ORDER = (FAIL, INCONCLUSIVE, PASS)  # worst first
TESTS = 3  # that are named
WIDEST = 36  # columns of a name, of a signature


@dataclass(frozen=True)
class AuditedRule:
    """A custom rule as a program applies it.

    Attributes:
        name: of the function that has the rule.
        kind: `"custom_vjp"`, `"custom_jvp"` or `"hijax"`.
        source: where that function is defined, `"file:line"`; None if it is not known.
        where: the places at which it is applied, each the calls around it, outermost first, such as
            `"jit(loss)/scan"`; `""` is the program itself. Empty where it cannot be traced.
        count: how many times it is applied there; a loop's body counts once.
        signature: dtypes and shapes of its operands, and its static arguments.
        verdict: `"pass"`, `"fail"` or `"inconclusive"`.
        report: of `gradcheck`, at the operands that the rule got; None where it was not asked.
        note: what is to be said of the rule in words.
        seconds: that checking it took.
        applied_by: the tests that applied it, where pytest's plugin met it.
    """

    name: str
    kind: str
    source: str | None
    where: tuple[str, ...]
    count: int
    signature: str
    verdict: str
    report: GradcheckReport | None = None
    note: str = ""
    seconds: float = 0.0
    applied_by: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The same as plain dicts, lists, strings and numbers."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__}
        plain["report"] = None if self.report is None else self.report.to_dict()
        return {k: list(v) if isinstance(v, tuple) else v for k, v in plain.items()}


@dataclass(frozen=True)
class AuditReport:
    """The outcome of `audit`: prints as a table, worst first, and serialises as JSON.

    Attributes:
        function: the name of the program.
        verdict: `"fail"` if a rule fails, else `"inconclusive"` if one is, else `"pass"`.
        rules: what it applies, worst first.
        notes: what is to be said of the run.
        seconds: that all of it took.
    """

    function: str
    verdict: str
    rules: tuple[AuditedRule, ...]
    notes: tuple[str, ...] = ()
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """The report as plain dicts, lists, strings and numbers."""
        return {
            "function": self.function,
            "verdict": self.verdict,
            "rules": [rule.to_dict() for rule in self.rules],
            "notes": list(self.notes),
            "seconds": self.seconds,
        }

    def to_json(self, **options: Any) -> str:
        """The report as JSON, with the options of `json.dumps`."""
        return json.dumps(self.to_dict(), **options)

    def __str__(self) -> str:
        if not self.rules:
            lines = [f"audit of {self.function}: {self.verdict.upper()}, it applies no custom rule"]
        else:
            lines = [f"audit of {self.function}: {self.verdict.upper()}, {_counted(self.rules)}"]
            lines += _table(self.rules)
        for rule in self.rules:
            if rule.verdict != PASS or rule.note:
                lines += _said(rule)
        lines += [wrapped for note in self.notes for wrapped in _wrapped(f"note: {note}", "  ")]
        return "\n".join(lines)


class AuditError(AssertionError):
    """A rule of a program failed its `audit`; `.report` says which and why."""

    def __init__(self, report: AuditReport) -> None:
        super().__init__(str(report))
        self.report = report


def assembled(
    function: str, rules: list[AuditedRule], notes: tuple[str, ...], seconds: float
) -> AuditReport:
    """The report of these rules: worst first, those of one verdict as they were met."""
    ordered = sorted(rules, key=lambda rule: ORDER.index(rule.verdict))
    verdict = ordered[0].verdict if ordered else PASS
    return AuditReport(function, verdict, tuple(ordered), notes, seconds)


def _counted(rules: tuple[AuditedRule, ...]) -> str:
    found = [(v, sum(rule.verdict == v for rule in rules)) for v in ORDER]
    words = {FAIL: "wrong", INCONCLUSIVE: "open", PASS: "right"}
    said = ", ".join(f"{n} {words[v]}" for v, n in found if n)
    return f"{len(rules)} rule{'s' if len(rules) > 1 else ''}: {said}"


def _table(rules: tuple[AuditedRule, ...]) -> list[str]:
    rows = [
        (
            rule.verdict,
            rule.name,
            rule.signature,
            f"{rule.count}×",
            f"{rule.seconds:.1f} s",
            _places(rule),
        )
        for rule in rules
    ]
    widths = [min(WIDEST, max(len(row[i]) for row in rows)) for i in range(5)]
    return [
        "  ".join(
            ["", *(f"{_cut(c, w):<{w}}" for c, w in zip(row, [*widths, COLUMNS], strict=True))]
        ).rstrip()
        for row in rows
    ]


def _places(rule: AuditedRule) -> str:
    places = [place or "at top level" for place in dict.fromkeys(rule.where)]
    more = f" and {len(places) - 1} more" if len(places) > 1 else ""
    return f"{places[0]}{more}" if places else ""


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _said(rule: AuditedRule) -> list[str]:
    """Of a rule that did not pass: why, and where it stands."""
    source = f", {rule.source}" if rule.source else ""
    lines = [f"{rule.verdict.upper()}: {rule.name}({rule.signature}){source}"]
    report = rule.report
    if rule.verdict != PASS and report is not None and report.verdict == rule.verdict:
        lines.append(f"diagnosis: {report.diagnosis}" if report.diagnosis else "")
        worst = [
            c.worst for c in report.checks if c.worst is not None and c.verdict == rule.verdict
        ]
        lines.append(f"worst: {worst[0]}" if worst else "")
    lines.append(f"note: {rule.note}" if rule.note else "")
    if rule.verdict != PASS:
        lines += [f"applied by {test}" for test in rule.applied_by[:TESTS]]
    first, *rest = filter(None, lines)
    return [first, *(wrapped for text in rest for wrapped in _wrapped(text, "  "))]


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text,
        COLUMNS,
        initial_indent=indent,
        subsequent_indent=indent + "  ",
        break_on_hyphens=False,
    )
