"""What the patterns of errors are looked for in, and what they are called."""

from dataclasses import dataclass

import numpy as np

from jaxfn.verification.agreement import Comparison
from jaxfn.verification.coordinates import Leaf
from jaxfn.verification.subject import Subject


@dataclass(frozen=True)
class Cause:
    """A pattern that fits: its name, and the sentence that says it with numbers."""

    name: str
    text: str


@dataclass(frozen=True)
class Seen:
    """The gradients of one leaf, as the patterns see them: `[items, elements]`."""

    subject: Subject
    found: Comparison
    leaf: Leaf
    items: np.ndarray

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


def close(a: np.ndarray, b: np.ndarray, rtol: float = 1e-5) -> bool:
    """Whether two arrays are the same, and not zero."""
    scale = np.abs(b).max(initial=0)
    return scale > 0 and bool(np.abs(a - b).max() <= rtol * scale)
