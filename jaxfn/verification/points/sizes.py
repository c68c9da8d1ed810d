"""Other sizes for the axes of the arguments: larger, one, all different, all equal.

A rule that confuses two axes is right as long as they have the same size, and one that takes a
square matrix for a special case is right as long as none is square. So sizes that are equal are
made different, and different ones equal, as far as the function accepts that.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

Shape = tuple[int, ...]
Sizes = dict[int, int]  # other sizes in place of those of axes

DEARER = 10  # times the elements are too many when all axes grow at once
BEYOND_BLOCKS = 131  # just over 128, the usual length of a block, and a prime
LEAST = 8  # an axis that is shorter is none that anybody cuts into blocks
FEW = 8_000  # elements of all arguments together that are cheap
ALONE = 8  # axes that are tried by themselves


@dataclass(frozen=True)
class Resizing:
    """Other shapes for the arguments, in their order, and how a report names them."""

    text: str
    short: str
    shapes: tuple[Shape, ...]

    @property
    def elements(self) -> int:
        return sum(int(np.prod(shape, dtype=int)) for shape in self.shapes)


@dataclass(frozen=True)
class Axes:
    """The shapes of the arguments, their names, and which of them hold integers."""

    shapes: tuple[Shape, ...]
    names: tuple[str, ...]
    integers: frozenset[int]

    def by_size(self, sizes: Sizes) -> Resizing:
        """Every axis of a size given another one."""
        listed = ", ".join(f"axes of size {old} given size {new}" for old, new in sizes.items())
        short = ", ".join(f"{old} → {new}" for old, new in sizes.items())
        shapes = tuple(tuple(sizes.get(n, n) for n in shape) for shape in self.shapes)
        return Resizing(listed, short, shapes)

    def by_axis(self, sizes: dict[tuple[int, int], int], others: Sizes) -> Resizing:
        """Some axes of some arguments given a size each, all other axes of a size another one."""
        rest = self.by_size(others)
        shapes = [list(shape) for shape in rest.shapes]
        for (k, axis), new in sizes.items():
            shapes[k][axis] = new
        listed = [
            f"axis {axis} of {self.names[k]} given size {n}" for (k, axis), n in sizes.items()
        ]
        short = [f"axis {axis} of {self.names[k]} → {n}" for (k, axis), n in sizes.items()]
        return Resizing(
            ", ".join([*listed, *filter(None, [rest.text])]),
            ", ".join([*short, *filter(None, [rest.short])]),
            tuple(map(tuple, shapes)),
        )


def groups(axes: Axes, accepts: Callable[[Resizing], bool]) -> list[Iterator[Resizing]]:
    """Sizes to try, in groups: of each the first that the function accepts and that says something.

    They are larger ones, as different as can be; one, for the leading axes; and all equal.
    """
    leading = [shape[0] for shape in axes.shapes if shape]
    others = [size for shape in axes.shapes for size in shape[1:]]
    larger = {
        size: 2 * size + 1 if size < 16 else size + 1
        for size in filter(None, dict.fromkeys(leading + others))
    }
    too_many = axes.by_size(larger).elements > DEARER * axes.by_size({}).elements
    together = {n: n + 1 + n % 2 for n in larger} if too_many else larger
    ones = [axes.by_size({size: 1}) for size in larger if size > 1 and size in leading]
    each = [axes.by_size({old: new}) for old, new in larger.items()]
    several = each if len(each) > 1 else []
    grown = itertools.chain(_grown(axes, together, accepts), several)
    return [grown, iter([*ones[:1], *several, *ones[1:]]), _equal(axes, list(larger))]


def _grown(axes: Axes, together: Sizes, accepts: Callable[[Resizing], bool]) -> Iterator[Resizing]:
    """Larger sizes: one of them longer than a block, and equal ones made different."""
    apart = _apart(axes, together, accepts)
    for alone in [apart, {}] if apart else [{}]:
        long = [axes.by_axis(alone, {**together, n: BEYOND_BLOCKS}) for n in _long(together)]
        long += [axes.by_axis({**alone, axis: BEYOND_BLOCKS}, together) for axis in alone]
        yield from [one for one in long if one.elements <= FEW][:1]
        whole = axes.by_axis(alone, together)
        if not alone or whole.elements <= FEW:
            yield whole


def _long(sizes: Sizes) -> list[int]:
    return sorted((n for n in sizes if LEAST <= n < BEYOND_BLOCKS), reverse=True)


def _apart(
    axes: Axes, together: Sizes, accepts: Callable[[Resizing], bool]
) -> dict[tuple[int, int], int]:
    """The axes that share their size with others and can have one of their own, with such a one.

    It is larger than that of the others, which may be indices into it.
    """
    found: dict[tuple[int, int], int] = {}
    everywhere = [(k, axis) for k, shape in enumerate(axes.shapes) for axis in range(len(shape))]
    sizes = [axes.shapes[k][axis] for k, axis in everywhere]
    tried = [
        place
        for place, n in zip(everywhere, sizes, strict=True)
        if n > 1 and sizes.count(n) > 1 and place[0] not in axes.integers
    ]
    for k, axis in tried[:ALONE]:
        n = axes.shapes[k][axis]
        if accepts(axes.by_axis({(k, axis): n + 2}, {})):
            found[k, axis] = together[n] + 1 + len(found)
    return found


def _equal(axes: Axes, sizes: list[int]) -> Iterator[Resizing]:
    """All axes of one size, or those of one matrix; indices stay what they are, so axes grow."""
    if len(sizes) < 2:
        return
    size = max(sizes) if axes.integers else max(3, min(sizes))
    whole = axes.by_size({n: size for n in sizes if n != size})
    if whole.elements <= FEW:
        yield whole
    for shape in axes.shapes:
        if len(shape) > 1 and shape[-1] != shape[-2]:
            few, many = sorted(shape[-2:])
            yield axes.by_size({few: many} if axes.integers else {many: few})
