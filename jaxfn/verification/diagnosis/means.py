"""Factors that are the size of an axis, or its inverse: a mean where a sum belongs, or a sum."""

from collections.abc import Iterator

import numpy as np

from jaxfn.verification.diagnosis.seen import Cause, Seen


def mean_or_sum(seen: Seen, factor: float, text: str) -> Cause | None:
    """The axis whose size the factor is, or its inverse; a factor of two has likelier causes."""
    elementwise = seen.leaf.size == seen.subject.rule.size
    for size, what in _sizes(seen):
        if size < 2 or (size == 2 and elementwise):
            continue
        for name, times, words in (
            ("mean-for-sum", factor * size, "a mean where a sum is expected"),
            ("sum-for-mean", factor / size, "a sum where a mean is expected"),
        ):
            if abs(times - 1) < 1e-6:
                if size == 2:
                    return Cause("scale", f"{text} (scale; so would {words} over {what} be)")
                ratio = f"1/{size}" if name == "mean-for-sum" else f"{size}"
                return Cause(name, f"{text}: {words} over {what} (factor {ratio})")
    return None


def _sizes(seen: Seen) -> Iterator[tuple[int, str]]:
    """Numbers over which a mean might have been taken: axes and products of axes."""
    inside, outside = seen.leaf.size, seen.subject.rule.size
    if outside and inside % outside == 0:
        yield inside // outside, "the window of each output"
    if inside and outside % inside == 0:
        yield outside // inside, f"the outputs that share an element of {seen.leaf.path}"
    shapes = [(leaf.path, leaf.shape) for leaf in seen.subject.arguments.leaves]
    shapes += [("the output", tuple(o.shape)) for o in seen.subject.rule.outputs]
    for name, shape in shapes:
        for axis, size in enumerate(shape):
            yield size, f"axis {axis} of {name}"
    for name, shape in shapes:
        for axis in range(1, len(shape)):
            yield int(np.prod(shape[: axis + 1])), f"the first {axis + 1} axes of {name}"
            yield int(np.prod(shape[axis - 1 :])), f"the last axes of {name}"
