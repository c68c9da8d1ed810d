"""The rule in the arguments' own precision: as close to the truth as the plain operation."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from jaxfn.verification import constants
from jaxfn.verification.diagnosis.seen import Cause
from jaxfn.verification.evidence.agreement import Comparison
from jaxfn.verification.evidence.differences import steps_of
from jaxfn.verification.layers.observed import Observed
from jaxfn.verification.points.probes import EXTREME, FAR, GIVEN, NEAR, columns_of
from jaxfn.verification.report import FAIL, PASS, SKIPPED, Check
from jaxfn.verification.subject.coordinates import Leaf
from jaxfn.verification.subject.elements import element_of
from jaxfn.verification.subject.subject import Subject, run_rows

WARNED = "digits"  # the name of what is no failure: a few digits lost in single precision
LOW = 1e-5  # a machine epsilon above it: half precision
SHOWS = (
    "in its own precision the error against float64 is at most a few times the plain operation's",
    "that the plain operation is accurate in that precision",
)


@dataclass(frozen=True)
class Gradients:
    """The gradients at one probe, in the arguments' own precision and in float64.

    Each is compared with itself in float64: at kinks rule and plain operation may follow different
    conventions. `plain` is None where the plain operation has no gradient in that precision;
    `least` are the slopes that an ulp of the value makes over the size of the arguments, `nothing`
    those of which a gradient in float64 is rounding alone.
    """

    kind: str
    least: np.ndarray
    nothing: np.ndarray
    rule: np.ndarray
    truth: np.ndarray
    plain: np.ndarray | None
    plain_truth: np.ndarray

    @property
    def near(self) -> bool:
        return self.kind in (GIVEN, NEAR)


def check_precision(observed: Observed) -> Check:
    """Errors of rule and plain operation against float64, and values that are not finite."""
    subject, found = observed.subject, observed.found
    if not subject.wide:
        detail = "skipped because the agreement is already in the arguments' own precision"
        return Check("precision", SKIPPED, *SHOWS, detail=detail)
    items = np.array([found.items_of(i)[-1] for i in np.unique(found.which[found.usable])], int)
    seen = _evaluated(subject, found, items)
    near = [one.truth for one in seen.values() if one.near]
    typical = _typical(subject, np.stack(near) if near else np.zeros((0, subject.arguments.size)))
    elementwise = _evaluated(subject, found, _single_elements(found))
    faults = [(i, _lost(subject, o) or _inaccurate(subject, o, typical)) for i, o in seen.items()]
    faults += [(i, _vanished(subject, one)) for i, one in elementwise.items()]
    seen |= elementwise
    warnings: dict[str, None] = {}
    for item, fault in faults:
        if fault is not None:
            (coordinate, text, cause), one = fault, seen[item]
            probe = found.probe_of(item).name
            if cause.name == WARNED:
                warnings[cause.text] = None
                continue
            name = f"{probe}, in the arguments' own precision"
            worst = element_of(subject.arguments, coordinate, one.rule, one.truth, name)
            return Check("precision", FAIL, *SHOWS, None, worst, text, cause.text, cause.name)
    power = _power(subject, list(seen.values()), typical)
    return Check("precision", PASS, *SHOWS, power, warnings=tuple(warnings)[:1])


def _single_elements(found: Comparison) -> np.ndarray:
    """The items at the given point in which one output alone depends on one input alone."""
    items = found.items_of(0)
    single = np.count_nonzero(found.cotangents[items], axis=1) == 1
    single &= np.count_nonzero(found.rule[items], axis=1) == 1
    return items[single]


def _evaluated(subject: Subject, found: Comparison, items: np.ndarray) -> dict[int, Gradients]:
    """The gradients for those items whose value is finite in the arguments' own precision."""
    if not items.size:
        return {}
    x, integers = columns_of([found.probe_of(i) for i in items])
    rows = (x, integers, found.cotangents[items])
    primal, rule = run_rows(subject.native.pull, *rows)
    plain = [None] * len(items)
    if subject.native_reference is not None:
        plain = list(run_rows(subject.native_reference.pull, *rows)[1])
    seen = {}
    for k, item in enumerate(map(int, items)):
        if np.isfinite(primal[k]).all():
            kind, truth = found.probe_of(item).kind, found.rule[item]
            plain_truth = truth if found.reference is None else found.reference[item]
            slopes = np.linalg.norm(found.cotangents[item] * primal[k]) / steps_of(
                subject, found.probe_of(item)
            )
            least, nothing = subject.native_eps * slopes, constants.VANISHES * subject.eps * slopes
            seen[item] = Gradients(kind, least, nothing, rule[k], truth, plain[k], plain_truth)
    return seen


def _power(subject: Subject, seen: list[Gradients], typical: np.ndarray) -> float | None:
    """The error, relative to the largest element of a leaf, that is caught at the given point."""
    if not seen or seen[0].kind != GIVEN or seen[0].plain is None:
        return None
    powers = []
    for leaf in subject.arguments.leaves:
        _, allowed, size = _errors(subject, seen[0], leaf, typical)
        if size > 0 and np.isfinite(allowed):
            powers.append(allowed / size)
    return max(powers, default=None)


def _typical(subject: Subject, truth: np.ndarray) -> np.ndarray:
    """The usual size of each leaf's gradient: at a point where it vanishes, rounding does not."""
    sizes = np.zeros(subject.arguments.size)
    finite = np.where(np.isfinite(truth), np.abs(truth), 0)
    for leaf in subject.arguments.leaves:
        largest = finite[:, leaf.part].max(axis=1, initial=0)
        sizes[leaf.part] = np.median(largest) if largest.size else 0.0
    return sizes


def _factor(subject: Subject) -> float:
    low = subject.native_eps > LOW
    return constants.PRECISION_ULPS_LOW if low else constants.PRECISION_ULPS


def _lost(subject: Subject, one: Gradients) -> tuple[int, str, Cause] | None:
    """An element that is not finite where that of the plain operation is, and is right."""
    limit = min(float(np.finfo(np.float32).max), _largest(subject)) / constants.OVERFLOWS
    with np.errstate(all="ignore"):
        lost = ~np.isfinite(one.rule) & np.isfinite(one.truth) & (np.abs(one.truth) < limit)
        if one.plain is not None:
            lost &= np.isfinite(one.plain)
        if not one.near and (one.plain is None or subject.factorises):  # of a singular matrix
            return None
        if one.kind == EXTREME and len(subject.arguments.leaves) > 1:
            return None  # together they are beyond the range of the precision where one is not
    if not lost.any():
        return None
    text = "the gradient is not finite where that of the plain operation is"
    said = f"nan or inf in {_dtype(subject)}: {text} (overflow or underflow)"
    return int(np.argmax(lost)), text, Cause("nan", said)


def _vanished(subject: Subject, one: Gradients) -> tuple[int, str, Cause] | None:
    """The derivative of one element by one other, lost where the plain operation keeps it.

    Among elements that are larger this is small; a rule that computes it from the function's value
    may lose what an ulp of the value makes.
    """
    if one.plain is None:
        return None
    k = int(np.argmax(one.truth != 0))
    size = abs(one.truth[k])
    lost = (
        abs(one.rule[k] - one.truth[k]) > constants.VANISHED * size
        and abs(one.plain[k] - one.plain_truth[k]) < constants.KEPT * size
    )
    if not lost or size < max(_factor(subject) * one.least[k], _tiny(subject)):
        return None
    text = f"the gradient is {one.rule[k]:.3g} where the plain operation's is {one.plain[k]:.3g}"
    said = f"loses accuracy in low precision ({_dtype(subject)}): {text}, as where a step overflows"
    return k, text, Cause("low-precision", said)


def _inaccurate(
    subject: Subject, one: Gradients, typical: np.ndarray
) -> tuple[int, str, Cause] | None:
    """An error that is larger than a few times the plain operation's."""
    if one.plain is None or one.kind in (EXTREME, FAR):
        return None
    for leaf in subject.arguments.leaves:
        with np.errstate(all="ignore"):
            error, allowed, size = _errors(subject, one, leaf, typical)
        if error.size == 0 or not np.isfinite(error).all() or not np.isfinite(allowed):
            continue
        nothing = max(constants.VANISHING * typical[leaf.start], one.nothing[leaf.part].max())
        if np.abs(one.truth[leaf.part]).max() < nothing:
            continue  # terms that cancel do so exactly in one order of summation, not in another
        if error.max() > allowed:
            usual = np.abs(one.plain[leaf.part] - one.plain_truth[leaf.part]).max()
            text = (
                f"the error of {leaf.path}'s gradient is {error.max() / size:.2g} of its size, "
                f"the plain operation's {usual / size:.2g}"
            )
            said = f"loses accuracy in low precision ({_dtype(subject)}): {text}"
            k = leaf.start + int(np.argmax(error))
            few = _eps(leaf.dtype) <= LOW and error.max() <= _warned(leaf, allowed)
            return k, text, Cause(WARNED if few else "low-precision", said)
    return None


def _warned(leaf: Leaf, allowed: float) -> float:
    """The error up to which a rule in single precision is warned of."""
    return allowed * constants.PRECISION_ULPS_WARNED / constants.PRECISION_ULPS


def _errors(
    subject: Subject, one: Gradients, leaf: Leaf, typical: np.ndarray
) -> tuple[np.ndarray, float, float]:
    """The errors of a leaf's gradient, how large they may be, and how large the gradient is."""
    assert one.plain is not None
    rule, truth, plain, plain_truth = (
        a[leaf.part] for a in (one.rule, one.truth, one.plain, one.plain_truth)
    )
    error = np.fmin(np.abs(rule - truth), np.abs(rule - plain))
    usual = np.abs(plain - plain_truth).max(initial=0)
    size = max(np.abs(truth).max(initial=0), typical[leaf.start] if leaf.size else 0.0)
    eps = float(np.finfo(np.float32).eps) if leaf.is_complex else _eps(leaf.dtype)
    least = one.least[leaf.part].min(initial=np.inf)
    return (
        error,
        float(constants.TIMES_AS_PLAIN * usual + _factor(subject) * (eps * size + least)),
        float(size),
    )


def _eps(dtype: object) -> float:
    return float(jnp.finfo(dtype).eps)


def _largest(subject: Subject) -> float:
    return min(float(jnp.finfo(leaf.dtype).max) for leaf in subject.arguments.leaves)


def _tiny(subject: Subject) -> float:
    return max(float(jnp.finfo(leaf.dtype).tiny) for leaf in subject.arguments.leaves)


def _dtype(subject: Subject) -> str:
    return ", ".join(sorted({np.dtype(leaf.dtype).name for leaf in subject.arguments.leaves}))
