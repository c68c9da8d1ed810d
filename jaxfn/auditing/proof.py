"""The proof of one rule that was met: `gradcheck`, at the operands and cotangents of the run."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxfn.auditing import known, shrinking
from jaxfn.auditing.likeness import likeness
from jaxfn.auditing.meeting import Met
from jaxfn.auditing.report import AuditedRule
from jaxfn.verification.gradcheck import checked
from jaxfn.verification.points.visited import Visited
from jaxfn.verification.report import FAIL, INCONCLUSIVE, PASS, GradcheckReport
from jaxfn.verification.subject.coordinates import is_inexact
from jaxfn.verification.subject.setup import line

AT_FULL_SIZE = ("types", "linearity", "autodiff")
Surrogates = Mapping[str, Callable[..., Any] | None]
Call = tuple[Sequence[Any], tuple[Sequence[Any], ...]]  # operands; cotangents, of each the leaves


@dataclass(frozen=True)
class Finding:
    """What is known of a rule: the verdict, the report that it rests on, and words."""

    verdict: str
    report: GradcheckReport | None = None
    note: str = ""


class Proofs:
    """Proves rules, one after another; of two that shrink to the same operands once.

    Attributes:
        surrogates: by name what a gradient is the derivative of; None where it is not to be
            checked.
        order: of derivatives.
        seed: of random choices.
        used: the names among the surrogates that were asked for.
    """

    def __init__(self, surrogates: Surrogates, order: int, seed: int) -> None:
        self.surrogates, self.order, self.seed = surrogates, order, seed
        self.used: set[str] = set()
        self._whole: dict[Any, GradcheckReport] = {}

    def prove(self, met: Met, where: Sequence[str] = ()) -> AuditedRule:
        """A rule's part of the report, with the places at which it is applied."""
        start = time.perf_counter()
        found = self._finding(met)
        return AuditedRule(
            name=met.name,
            kind=met.kind,
            source=met.source or None,
            where=tuple(dict.fromkeys(where)),
            count=max(len(where), 1),
            signature=met.signature,
            verdict=found.verdict,
            report=found.report,
            note=found.note,
            seconds=time.perf_counter() - start,
            applied_by=tuple(met.by),
        )

    def _finding(self, met: Met) -> Finding:
        calls = calls_of(met)
        if not calls:
            return Finding(INCONCLUSIVE, note="its application was traced and never run")
        operands = calls[0][0]
        name = self._named(met)
        if name is not None and self.surrogates[name] is None:
            form = likeness(met.with_closed(operands), met, operands)
            return Finding(PASS, note=_joined("meant so, not checked", form))
        if not any(map(is_inexact, operands)):
            return Finding(PASS, note="no operand is floating, so there is no gradient")
        if name is None and (said := known.passed_before(met)):
            return Finding(PASS, note=said)
        try:
            found = self._checked(met, calls, self._options(met, name))
        except Exception as error:  # whatever stands in the way of a check is the reason
            return Finding(INCONCLUSIVE, note=f"cannot be called by itself: {line(error)}")
        if found.verdict == PASS and name is None:
            known.remember(met)
        if found.verdict == FAIL:
            form = likeness(met.with_closed(operands), met, operands)
            return Finding(FAIL, found.report, _joined(found.note, _advice(met, form)))
        return found

    def _named(self, met: Met) -> str | None:
        """The name among the surrogates that means this rule."""
        names = {met.name, f"{met.module}:{met.name}", getattr(met.rule, "__qualname__", met.name)}
        for name in self.surrogates:
            if name in names:
                self.used.add(name)
                return name
        return None

    def _options(self, met: Met, name: str | None) -> dict[str, Any]:
        declared = getattr(met.rule, "declared", None)
        surrogate = self.surrogates[name] if name is not None else None
        linear = True
        if declared is not None and surrogate is None:
            surrogate, linear = declared.surrogate, declared.linear_in_cotangent
        return {
            "reference": None,
            "surrogate": surrogate,
            "linear_in_cotangent": linear,
            "order": self.order,
            "layers": None,
            "domain": None,
            "seed": self.seed,
            "strict": False,
        }

    def _checked(self, met: Met, calls: list[Call], options: dict[str, Any]) -> Finding:
        """All layers at operands that are small or made so; a few at those of the run as well."""
        operands = calls[0][0]
        count = shrinking.elements(operands) + shrinking.elements(shrinking.outputs(met, operands))
        rule = met.with_closed(operands)
        if count <= shrinking.SMALL:
            report, _ = checked(
                rule, _at(met, calls[0]).args, options, visited=[_at(met, c) for c in calls]
            )
            return Finding(report.verdict, report)
        sizes = shrinking.shrunk(met, calls)
        note = f"{count} elements"
        if sizes:
            report = self._of_shrunk(met, calls, sizes, options)
            note = f"all layers at shorter axes ({shrinking.described(sizes)})"
            if report.verdict == FAIL:
                return Finding(FAIL, report, note)
        few = {**options, "order": 1, "layers": AT_FULL_SIZE}
        visited = [_at(met, call) for call in calls]
        whole, _ = checked(rule, visited[0].args, few, visited=visited, own_points=False)
        if not sizes:
            return Finding(
                whole.verdict,
                whole,
                f"{count} elements, which cannot be fewer: at the operands of the run alone",
            )
        note += ", autodiff at its own as well"
        worse = (
            whole if whole.verdict == FAIL or report.verdict == PASS != whole.verdict else report
        )
        return Finding(worse.verdict, worse, note)

    def _of_shrunk(
        self, met: Met, calls: list[Call], sizes: shrinking.Sizes, options: dict[str, Any]
    ) -> GradcheckReport:
        visited = [shrinking.cut_call(met, call, sizes) for call in calls]
        closed = shrinking.cut(met, calls[0][0], sizes)
        rule = met.with_closed(closed)
        report, _ = checked(rule, visited[0].args, options, visited=visited)
        return report


def calls_of(met: Met) -> list[Call]:
    """Calls of the run: the first with its cotangents if any came back, one later, the last."""
    pairs = [(operands, (cotangents,)) for operands, cotangents in met.pairs.chosen()]
    alone = [(operands, ()) for operands in met.values.chosen()]
    return [*pairs, *(a for a in alone if not any(_same(a[0], p[0]) for p in pairs))]


def _same(some: Sequence[Any], others: Sequence[Any]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(some, others, strict=True))


def _at(met: Met, call: Call) -> Visited:
    operands, cotangents = call
    return Visited(met.arguments(met.arrays(operands)), cotangents)


def _joined(*texts: str) -> str:
    return "; ".join(filter(None, texts))


def _advice(met: Met, form: str) -> str:
    if not form:
        return ""
    return (
        f'{form}; if it is meant so, surrogates={{"{met.name}": fun}} names what it differentiates'
    )
