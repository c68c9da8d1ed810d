"""What the patterns of errors are looked for in, and what they are called."""

import functools
from dataclasses import dataclass

import numpy as np

from jaxfn.verification.evidence.agreement import Comparison
from jaxfn.verification.evidence.observation import BASIS
from jaxfn.verification.subject.coordinates import Leaf
from jaxfn.verification.subject.subject import Subject, run_rows

MOST_OUTPUTS, MOST_ENTRIES = 1024, 2_000_000


@dataclass(frozen=True)
class Cause:
    """A pattern that fits: its name, and the sentence that says it with numbers."""

    name: str
    text: str


@dataclass(frozen=True)
class Jacobians:
    """The whole Jacobians of rule and reference at the given point, if they are not too large."""

    subject: Subject
    found: Comparison

    @functools.cached_property
    def both(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Of the rule and of the reference, `[outputs, inputs]`."""
        found, size = self.found, self.subject.rule.size
        assert found.reference is not None
        if size < 2 or 0 not in found.which[found.usable]:
            return None
        if size > BASIS:
            return self._pulled()
        items = np.flatnonzero((found.which == 0) & found.usable)[:size]
        if len(items) < size:
            return None
        scale = found.cotangents[items].diagonal()[:, None]
        return found.rule[items] / scale, found.reference[items] / scale

    def _pulled(self) -> tuple[np.ndarray, np.ndarray] | None:
        subject, found, size = self.subject, self.found, self.subject.rule.size
        probe = found.probes[0]
        entries = size * subject.arguments.size
        if subject.reference is None or size > MOST_OUTPUTS or entries > MOST_ENTRIES:
            return None
        x = np.repeat(probe.x[None], size, axis=0)
        integers = tuple(np.repeat(part[None], size, axis=0) for part in probe.integers)
        rows = (x, integers, found.cotangent_scale * np.eye(size))
        rule, reference = (
            run_rows(engine.pull, *rows)[1] for engine in (subject.rule, subject.reference)
        )
        return rule, reference


@dataclass(frozen=True)
class Seen:
    """The gradients of one leaf, as the patterns see them: `[items, elements]`."""

    subject: Subject
    found: Comparison
    leaf: Leaf
    items: np.ndarray
    jacobians: Jacobians

    @property
    def rule(self) -> np.ndarray:
        return self.found.rule[np.ix_(self.items, np.r_[self.leaf.part])]

    @property
    def reference(self) -> np.ndarray:
        assert self.found.reference is not None
        return self.found.reference[np.ix_(self.items, np.r_[self.leaf.part])]

    @property
    def bad(self) -> np.ndarray:
        return self.found.bad[np.ix_(self.items, np.r_[self.leaf.part])]

    @functools.cached_property
    def matrices(self) -> tuple[np.ndarray, np.ndarray] | None:
        """The leaf's part of the Jacobians, `[outputs, elements]`, where they differ."""
        if self.jacobians.both is None:
            return None
        rule, expected = (whole[:, self.leaf.part] for whole in self.jacobians.both)
        if not np.isfinite(rule).all() or not np.isfinite(expected).all() or close(rule, expected):
            return None
        return rule, expected


def close(a: np.ndarray, b: np.ndarray, rtol: float = 1e-5) -> bool:
    """Whether two arrays are the same, and not zero."""
    scale = np.abs(b).max(initial=0)
    return scale > 0 and bool(np.abs(a - b).max() <= rtol * scale)


def relative_error(rule: np.ndarray, expected: np.ndarray) -> float:
    """The norm of the error beside that of what is expected, which is not zero."""
    return float(np.linalg.norm(rule - expected) / np.linalg.norm(expected))
