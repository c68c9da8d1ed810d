"""The rule in the arguments' own precision: as close to the truth as the plain operation."""

import jax.numpy as jnp
import numpy as np

from jaxfn.verification.agreement import Comparison
from jaxfn.verification.diagnosis import Cause
from jaxfn.verification.elements import element_of
from jaxfn.verification.probes import EXTREME, FAR, GIVEN, NEAR
from jaxfn.verification.report import FAIL, PASS, SKIPPED, Check
from jaxfn.verification.subject import Subject, run_rows

SHOWS = (
    "in its own precision the error against float64 is at most a few times the plain operation's",
    "that the plain operation is accurate in that precision",
)
TIMES = 8.0


def check_precision(subject: Subject, found: Comparison) -> Check:
    """Errors of rule and plain operation against float64, and values that are not finite."""
    if not subject.wide:
        detail = "skipped because the agreement is already in the arguments' own precision"
        return Check("precision", SKIPPED, *SHOWS, detail=detail)
    items = np.array([found.items_of(i)[-1] for i in np.unique(found.which[found.usable])], int)
    probes = [found.probes[found.which[i]] for i in items]
    x = np.stack([p.x for p in probes])
    integers = tuple(np.stack(part) for part in zip(*(p.integers for p in probes), strict=True))
    rows = (x, integers, found.cotangents[items])
    primal, rule = run_rows(subject.native.pull, *rows)
    plain = None
    if subject.native_reference is not None:
        plain = run_rows(subject.native_reference.pull, *rows)[1]
    # each against itself in float64: at kinks the two may follow different conventions
    truth = found.rule[items]
    plain_truth = truth if found.reference is None else found.reference[items]
    near = [k for k, probe in enumerate(probes) if probe.kind in (GIVEN, NEAR)]
    typical = _typical(subject, truth[near])
    for k, probe in enumerate(probes):
        if not np.isfinite(primal[k]).all():
            continue
        reference = plain[k] if plain is not None else None
        fault = _fault(
            subject, probe.kind, (rule[k], truth[k]), (reference, plain_truth[k]), typical
        )
        if fault is not None:
            coordinate, text, cause = fault
            name = f"{probe.name}, in the arguments' own precision"
            worst = element_of(subject.arguments, coordinate, rule[k], truth[k], name)
            return Check("precision", FAIL, *SHOWS, None, worst, text, cause.text, cause.name)
    return Check("precision", PASS, *SHOWS, _factor(subject) * subject.native_eps)


def _typical(subject: Subject, truth: np.ndarray) -> np.ndarray:
    """The usual size of each leaf's gradient: at a point where it vanishes, rounding does not."""
    sizes = np.zeros(subject.arguments.size)
    finite = np.where(np.isfinite(truth), np.abs(truth), 0)
    for leaf in subject.arguments.leaves:
        largest = finite[:, leaf.part].max(axis=1, initial=0)
        sizes[leaf.part] = np.median(largest) if largest.size else 0.0
    return sizes


def _factor(subject: Subject) -> float:
    return 4.0 if subject.native_eps > 1e-5 else 16.0


def _fault(
    subject: Subject,
    kind: str,
    own: tuple[np.ndarray, np.ndarray],
    other: tuple[np.ndarray | None, np.ndarray],
    typical: np.ndarray,
) -> tuple[int, str, Cause] | None:
    (rule, truth), (plain, plain_truth) = own, other
    limit = min(float(np.finfo(np.float32).max), _largest(subject)) / 1e3
    with np.errstate(all="ignore"):
        lost = ~np.isfinite(rule) & np.isfinite(truth) & (np.abs(truth) < limit)
        if plain is not None:
            lost &= np.isfinite(plain)
        elif kind not in (GIVEN, NEAR):
            lost[:] = False
        if lost.any():
            text = "the gradient is not finite where that of the plain operation is"
            diagnosis = f"nan or inf in {_dtype(subject)}: {text} (overflow or underflow)"
            return int(np.argmax(lost)), text, Cause("nan", diagnosis)
        if plain is None or kind in (EXTREME, FAR):
            return None
        for leaf in subject.arguments.leaves:
            part = leaf.part
            error = np.abs(rule[part] - truth[part])
            error = np.fmin(error, np.abs(rule[part] - plain[part]))
            usual = np.abs(plain[part] - plain_truth[part])
            if not np.isfinite(error).all() or not np.isfinite(usual).all() or error.size == 0:
                continue
            eps = float(np.finfo(np.float32).eps) if leaf.is_complex else _eps(leaf.dtype)
            size = max(np.abs(truth[part]).max(initial=0), typical[part.start])
            allowed = TIMES * usual.max() + _factor(subject) * eps * size
            if error.max() > allowed:
                text = (
                    f"the error of {leaf.path}'s gradient is {error.max() / size:.2g} of its size, "
                    f"the plain operation's {usual.max() / size:.2g}"
                )
                k = part.start + int(np.argmax(error))
                said = f"loses accuracy in low precision ({_dtype(subject)}): {text}"
                return k, text, Cause("low-precision", said)
    return None


def _eps(dtype: object) -> float:
    return float(jnp.finfo(dtype).eps)


def _largest(subject: Subject) -> float:
    return min(float(jnp.finfo(leaf.dtype).max) for leaf in subject.arguments.leaves)


def _dtype(subject: Subject) -> str:
    return ", ".join(sorted({np.dtype(leaf.dtype).name for leaf in subject.arguments.leaves}))
