"""The proof of one rule that was met: `gradcheck`, at the operands and cotangents of the run."""

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxfn.auditing import known, shrinking
from jaxfn.auditing.likeness import likeness
from jaxfn.auditing.meeting import Met
from jaxfn.auditing.report import AuditedRule
from jaxfn.functional._surrogate import Declared
from jaxfn.verification.gradcheck import checked
from jaxfn.verification.points.probes import EXTREME, KINDS
from jaxfn.verification.points.visited import Visited
from jaxfn.verification.report import FAIL, INCONCLUSIVE, PASS, GradcheckReport
from jaxfn.verification.subject.coordinates import is_inexact
from jaxfn.verification.subject.setup import line

NOTHING_DECLARED = Declared(None)
# A program shows what magnitudes its operands have: overflow far beyond them is none of its faults.
WITHOUT_EXTREMES = KINDS - {EXTREME}
FEW_LAYERS = ("types", "linearity", "autodiff", "precision")  # long sums lose digits
Surrogates = Mapping[str, Callable[..., Any] | None]
Call = tuple[Sequence[Any], tuple[Sequence[Any], ...]]  # operands; cotangents, of each the leaves


@dataclass(frozen=True)
class Finding:
    """What is known of a rule: the verdict, the report that it rests on, and words."""

    verdict: str
    report: GradcheckReport | None = None
    note: str = ""


class Proofs:
    """Proves rules, one after another.

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
        self._passed: dict[Any, str] = {}  # by family, the signature at which all layers were asked

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
            found = self._checked(met, calls, self._declared(met, name))
        except Exception as error:  # whatever stands in the way of a check is the reason
            return Finding(INCONCLUSIVE, note=f"cannot be called by itself: {line(error)}")
        if found.verdict == PASS:
            self._passed.setdefault(met.family, met.signature)
            if name is None:
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

    def _declared(self, met: Met, name: str | None) -> Declared:
        """Whose derivative the gradient is meant to be: as the caller says, or the rule itself."""
        given = self.surrogates[name] if name is not None else None
        if given is not None:
            return Declared(given)
        return getattr(met.rule, "declared", NOTHING_DECLARED)

    def _checked(self, met: Met, calls: list[Call], declared: Declared) -> Finding:
        """All layers at operands that are small or made so; a few at those of the run as well."""
        operands = calls[0][0]
        visited = [_at(met, call) for call in calls]
        rule = met.with_closed(operands)
        count = shrinking.elements(operands) + shrinking.elements(shrinking.outputs(met, operands))
        small, known_one = count <= shrinking.SMALL, self._passed.get(met.family)
        if small:
            layers = None if known_one is None else FEW_LAYERS
            report = self._asked(rule, visited, declared, layers)
            note = "" if known_one is None else f"all layers at {known_one}, autodiff here"
            return Finding(report.verdict, report, note)
        if known_one is not None:
            whole, at = self._of_all(met, calls, declared)
            return Finding(whole.verdict, whole, f"all layers at {known_one}, autodiff {at}")
        sizes = shrinking.shrunk(met, calls)
        if not sizes:
            whole, at = self._of_all(met, calls, declared)
            note = f"{count} elements, which cannot be fewer: autodiff {at} alone"
            return Finding(whole.verdict, whole, note)
        report = self._of_shrunk(met, calls, sizes, declared)
        note = f"all layers at shorter axes ({shrinking.described(sizes)})"
        if report.verdict == FAIL:
            return Finding(FAIL, report, note)
        whole, at = self._of_all(met, calls, declared)
        note += f", autodiff {at}"
        worse = whole if whole.verdict == FAIL or report.verdict == PASS else report
        return Finding(worse.verdict, worse if worse.verdict != PASS else report, note)

    def _of_all(
        self, met: Met, calls: list[Call], declared: Declared
    ) -> tuple[GradcheckReport, str]:
        """Of a few layers at the operands of the run, or at half their lengths if too many."""
        sizes = shrinking.halved(met, calls)
        report = self._of_shrunk(met, calls, sizes, declared, FEW_LAYERS, frozenset())
        at = f"at longer ones ({shrinking.described(sizes)})" if sizes else "at its own"
        return report, at

    def _of_shrunk(
        self,
        met: Met,
        calls: list[Call],
        sizes: shrinking.Sizes,
        declared: Declared,
        layers: tuple[str, ...] | None = None,
        kinds: frozenset[str] = WITHOUT_EXTREMES,
    ) -> GradcheckReport:
        visited = [shrinking.cut_call(met, call, sizes) for call in calls]
        rule = met.with_closed(shrinking.cut(met, calls[0][0], sizes))
        return self._asked(rule, visited, declared, layers, kinds)

    def _asked(
        self,
        rule: Any,
        visited: list[Visited],
        declared: Declared,
        layers: tuple[str, ...] | None = None,
        kinds: frozenset[str] = WITHOUT_EXTREMES,
    ) -> GradcheckReport:
        """What `gradcheck` says: all layers or some, at the points visited and of those kinds."""
        options = {
            "reference": None,
            "surrogate": _holding(declared.surrogate, visited[0].args, declared.held),
            "linear_in_cotangent": declared.linear_in_cotangent,
            "order": self.order if layers is None else 1,
            "layers": layers,
            "domain": None,
            "seed": self.seed,
            "strict": False,
        }
        fun = _holding(rule, visited[0].args, declared.held)
        free = [call._replace(args=_free(call.args, declared.held)) for call in visited]
        report, _ = checked(fun, free[0].args, options, visited=free, kinds=kinds)
        return report


def _free(args: tuple[Any, ...], held: tuple[int, ...]) -> tuple[Any, ...]:
    return tuple(arg for i, arg in enumerate(args) if i not in held)


def _holding(fun: Any, args: tuple[Any, ...], held: tuple[int, ...]) -> Any:
    """A function of the other arguments alone."""
    if fun is None or not held:
        return fun

    @functools.wraps(fun, updated=())
    def of_free(*free: Any) -> Any:
        given = iter(free)
        return fun(*(arg if i in held else next(given) for i, arg in enumerate(args)))

    del of_free.__wrapped__  # its signature is another
    return of_free


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
