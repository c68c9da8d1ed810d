"""PyTorch's own sample inputs for the operations that both libraries have: which of them can be
said in jaxfn, and whether values and gradients agree.

    python -m tests.parity.samples

PyTorch tests its operators on the samples of `op_db` (`torch.testing._internal`). Here are all of
`linear`, `relu`, `conv2d` and `max_pool2d`, in float64 and float32: `sample_inputs`, and
`reference_inputs` of an operator that has some of its own, which is `relu`; 3,066 in all. Besides
them those of `max_pool2d` once more with few different numbers, so that most windows have several
maxima; there a layout of memory makes no other sample.

An argument goes over as it is, but for its layout: NCHW to NHWC, OIHW to HWIO, [out, in] to
[in, out]. An image without a batch jaxfn does not take: such a sample is counted apart, and given
as a batch of one. What jaxfn refuses counts as not sayable, with the error that it raises. It
takes some minutes, in which more than a thousand programs are compiled.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

import jaxfn
from tests.parity.comparison import RELATIVE
from tests.quick_compilation import compile_quickly

Axes = tuple[int, ...]
DTYPES = ("float64", "float32")
TIE = 4.0  # of the samples with ties the numbers, which are from −9 to 9, are multiples of it

NHWC, HWIO = (0, 2, 3, 1), (2, 3, 1, 0)


@dataclasses.dataclass(frozen=True)
class Operation:
    """An operation of jaxfn, and where its arguments differ from PyTorch's.

    Attributes:
      ours: the operation.
      axes: by the place of an argument, the order in which its dimensions become ours; of those
        that are not here, no other. The result's is that of the first.
      names: of options that are called differently, by PyTorch's name.
    """

    ours: Callable[..., Any]
    axes: tuple[Axes, ...] = ()
    names: Mapping[str, str] = dataclasses.field(default_factory=dict)


OPERATIONS = {
    "linear": Operation(jaxfn.linear, ((), (1, 0))),
    "relu": Operation(jaxfn.relu),
    "conv2d": Operation(jaxfn.conv2d, (NHWC, HWIO)),
    "max_pool2d": Operation(jaxfn.max_pool2d, (NHWC,), {"kernel_size": "window"}),
}
TIED = "max_pool2d, tied"
NAMES = (*OPERATIONS, TIED)


@dataclasses.dataclass(frozen=True)
class Sample:
    """What PyTorch is given, and what it computes.

    Attributes:
      args: arrays in PyTorch's layout, or None.
      options: the keyword arguments.
      y_bar: the cotangent of the first result.
      results: the results; the second are indices.
      gradients: of the arrays among `args`.
    """

    args: tuple[np.ndarray | None, ...]
    options: Mapping[str, Any]
    y_bar: np.ndarray
    results: tuple[np.ndarray, ...]
    gradients: tuple[np.ndarray, ...]


@dataclasses.dataclass
class Tally:
    """How many samples of an operation there are, and what became of them.

    Attributes:
      as_it_is: how many were said as they are.
      batch_of_one: how many after a batch of one was put around the image.
      refused: how many could not be said, by the error.
      wrong: the samples whose values, indices or gradients differ, and how.
      seconds: that all of it took.
    """

    as_it_is: int = 0
    batch_of_one: int = 0
    refused: Counter[str] = dataclasses.field(default_factory=Counter)
    wrong: list[str] = dataclasses.field(default_factory=list)
    seconds: float = 0.0

    @property
    def sayable(self) -> int:
        return self.as_it_is + self.batch_of_one

    @property
    def samples(self) -> int:
        return self.sayable + self.refused.total()


def tally(name: str) -> Tally:
    """All samples of an operation, in every dtype."""
    from tests.parity import samples_pytorch

    counts = Tally()
    operation = OPERATIONS[name.removesuffix(", tied")]
    start = time.perf_counter()
    for dtype in DTYPES:
        tie = TIE if name == TIED else None
        with jax.enable_x64(dtype == "float64"):
            for sample in samples_pytorch.samples(operation.ours.__name__, dtype, tie):
                _count(counts, operation, sample, RELATIVE[dtype])
    counts.seconds = time.perf_counter() - start
    return counts


def _count(counts: Tally, operation: Operation, sample: Sample, tolerance: float) -> None:
    unbatched = NHWC in operation.axes and np.ndim(sample.args[0]) == len(NHWC) - 1
    try:
        results, gradients = _ours(operation, sample, unbatched)
    except (TypeError, ValueError) as error:
        counts.refused[str(error)] += 1
        return
    if unbatched:
        counts.batch_of_one += 1
    else:
        counts.as_it_is += 1
    y, *indices = results
    their_y, *their_indices = sample.results
    pairs = [("y", y, their_y, tolerance)]
    pairs += [("indices", *pair, 0.0) for pair in zip(indices, their_indices, strict=True)]
    for i, pair in enumerate(zip(gradients, sample.gradients, strict=True)):
        pairs.append((f"gradient {i}", *pair, tolerance))
    for what, actual, expected, within in pairs:
        if difference := _difference(actual, expected, within):
            shapes = [np.shape(arg) for arg in sample.args]
            counts.wrong.append(f"{what} of {shapes}, {dict(sample.options)}: {difference}")


def _ours(
    operation: Operation, sample: Sample, unbatched: bool
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Results and gradients as jaxfn computes them, in PyTorch's layout.

    Raises:
      TypeError: if jaxfn cannot be given the sample, as ValueError.
    """

    def axes(place: int) -> Axes:
        return operation.axes[place] if place < len(operation.axes) else ()

    def to_ours(place: int, array: np.ndarray) -> np.ndarray:
        array = array[None] if unbatched and place == 0 else array
        return array.transpose(axes(place)) if axes(place) else array

    def to_theirs(place: int, array: jax.Array) -> np.ndarray:
        theirs = np.asarray(array)
        theirs = theirs.transpose(np.argsort(axes(place))) if axes(place) else theirs
        return theirs[0] if unbatched and place == 0 else theirs

    given = [(i, arg) for i, arg in enumerate(sample.args) if arg is not None]
    options = {operation.names.get(name, name): v for name, v in sample.options.items()}
    run = _compiled(operation.ours, tuple(options.items()))
    results, gradients = run(to_ours(0, sample.y_bar), *(to_ours(i, arg) for i, arg in given))
    in_theirs = [to_theirs(i, gradient) for (i, _), gradient in zip(given, gradients, strict=True)]
    return [to_theirs(0, result) for result in results], in_theirs


@functools.cache
def _compiled(fun: Callable[..., Any], options: tuple[tuple[str, Any], ...]) -> Callable[..., Any]:
    """`(ȳ, *args)` → the results of `fun` as a tuple, and the first one's gradients."""

    def results(*args: jax.Array) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        y = fun(*args, **dict(options))
        return y if isinstance(y, tuple) else (y,)

    def both(y_bar: jax.Array, *args: jax.Array) -> Any:
        (y, *others), vjp = jax.vjp(results, *args)
        zeros = tuple(np.zeros(other.shape, jax.dtypes.float0) for other in others)
        return (y, *others), vjp((y_bar, *zeros))

    return jax.jit(both)


def _difference(actual: np.ndarray, expected: np.ndarray, tolerance: float) -> str:
    """How `actual` differs by more than `tolerance` relative to the largest finite element of
    `expected`; empty if it does not."""
    if actual.shape != expected.shape:
        return f"shape {actual.shape}, expected {expected.shape}"
    if expected.dtype.kind == "f" and actual.dtype != expected.dtype:
        return f"dtype {actual.dtype}, expected {expected.dtype}"
    finite = np.abs(expected[np.isfinite(expected)])
    scale = np.max(finite, initial=0)
    same = np.isclose(actual, expected, rtol=0, atol=tolerance * scale, equal_nan=True)
    return "" if np.all(same) else f"{np.sum(~same)} of {same.size} elements"


def table(tallies: Mapping[str, Tally]) -> Iterator[str]:
    """The tallies as lines, and what is to be said of the samples that fail."""
    titles = ("", "samples", "as they are", "in a batch of 1", "not", "differ", "seconds")
    yield "{:18}{:>9}{:>13}{:>17}{:>6}{:>8}{:>9}".format(*titles)
    line = "{:18}{:9,}{:13,}{:17,}{:6,}{:8,}{:9.0f}"
    groups = [(name, [counts]) for name, counts in tallies.items()]
    groups.append(("all but the tied", [c for name, c in tallies.items() if name != TIED]))
    for name, group in groups:
        figures = [
            (c.samples, c.as_it_is, c.batch_of_one, c.refused.total(), len(c.wrong), c.seconds)
            for c in group
        ]
        yield line.format(name, *map(sum, zip(*figures, strict=True)))
    for name, counts in tallies.items():
        for reason, count in counts.refused.most_common():
            yield f"{name}: {count} not sayable: {reason}"
        yield from (f"{name}: {text}" for text in counts.wrong)


def main() -> None:
    """Prints the table."""
    compile_quickly(True)  # more than a thousand programs, each of which runs once or twice
    print(*table({name: tally(name) for name in NAMES}), sep="\n")


if __name__ == "__main__":
    main()
