"""The same call gives the same gradients: compiled once, and each operation by itself."""

import numpy as np

from jaxfn.verification.evidence.agreement import Comparison, differs
from jaxfn.verification.layers.observed import Observed
from jaxfn.verification.layers.variants import settled_probes
from jaxfn.verification.points.probes import columns_of
from jaxfn.verification.report import FAIL, PASS, Check
from jaxfn.verification.subject.elements import element_of
from jaxfn.verification.subject.programs import precision, quickly_compiled
from jaxfn.verification.subject.setup import line
from jaxfn.verification.subject.subject import Subject, run_rows

REPEATABLE = ("the same gradients each time, traced anew or not", "rare or slow changes of state")
TIMES = 3  # that the same call is made


def check_determinism(observed: Observed) -> Check:
    """The same pullback again and again: traced once, and without jit each time anew."""
    subject, found = observed.subject, observed.found
    compiled = _compiled(subject, found)
    eager, reason = _eagerly(subject, found)
    warnings = []
    for kind, series in (("compiled", compiled), ("without jit", eager)):
        others = [a for a in series[1:] if not np.array_equal(series[0], a, equal_nan=True)]
        if not others:
            continue
        for again in others:
            if not _rounding_alone(subject, series[0], again):
                return _failure(subject, kind, series[0], again)
        farthest = max(others, key=lambda a: np.nan_to_num(np.abs(a - series[0])).max())
        warnings.append(f"{_differ(kind, series[0], farthest)}: by rounding alone")
    return Check("determinism", PASS, *REPEATABLE, detail=reason, warnings=tuple(warnings))


def _rounding_alone(subject: Subject, first: np.ndarray, again: np.ndarray) -> bool:
    """Whether outputs and gradients of two calls differ by no more than a few ulps."""
    m, leaves = subject.rule.size, subject.arguments.leaves
    parts = [slice(0, m), *(slice(m + leaf.start, m + leaf.start + leaf.size) for leaf in leaves)]
    for one, other in ((first[part], again[part]) for part in parts):
        size = np.abs(np.where(np.isfinite(one), one, 0.0))
        tolerance = subject.relative_floor * size + subject.absolute_floor * size.max(initial=0.0)
        if differs(one, other, tolerance).any():
            return False
    return True


def _differ(kind: str, first: np.ndarray, again: np.ndarray) -> str:
    """That two calls differ, and by how much."""
    with np.errstate(all="ignore"):
        gap = np.abs(first - again)
    largest = np.abs(np.where(np.isfinite(first), first, 0.0)).max(initial=0.0)
    share = (
        f", {gap.max() / largest:.2g} of the largest" if largest and np.isfinite(gap).all() else ""
    )
    text = "not deterministic: two calls with the same arguments differ"
    return f"{text} ({kind}) by up to {gap.max():.3g}{share}"


def _failure(subject: Subject, kind: str, first: np.ndarray, again: np.ndarray) -> Check:
    m = subject.rule.size
    k = int(np.argmax(np.abs(np.nan_to_num(first - again))))
    text = _differ(kind, first, again)
    worst = None
    if k >= m:
        worst = element_of(subject.arguments, k - m, again[m:], first[m:], "a second call")
    return Check("determinism", FAIL, *REPEATABLE, None, worst, text, text, "nondeterministic")


def _cotangent(found: Comparison) -> np.ndarray:
    """A dense one of those at the given point."""
    given = found.cotangents[found.which == 0]
    return given[np.argmax(np.count_nonzero(given, axis=1))]


def _compiled(subject: Subject, found: Comparison) -> list[np.ndarray]:
    x, integers = columns_of(settled_probes(found, 1))
    rows = (x, integers, _cotangent(found)[None])
    return [np.concatenate(run_rows(subject.rule.pull, *rows), axis=1)[0] for _ in range(TIMES)]


def _eagerly(subject: Subject, found: Comparison) -> tuple[list[np.ndarray], str]:
    engine, gamma = subject.rule, _cotangent(found)
    first, other = settled_probes(found, 2)
    seen = []
    with quickly_compiled(engine.wide), precision(engine.wide):
        try:
            for k in range(TIMES):
                pull = engine.without_jit(first.x, first.integers, gamma)
                if k == TIMES - 1:  # a rule that keeps its residuals outside of them loses them
                    engine.without_jit(other.x, first.integers, gamma)
                seen.append(pull())
        except Exception as error:  # works under jit alone: reported, not judged
            return [], f"without jit skipped because {line(error)}"
    return seen, ""
