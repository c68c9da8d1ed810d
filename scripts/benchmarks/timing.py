"""Timing of contestants side by side: in turn, each as it is when it runs alone."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxfn.comparison.figures.compiled import build

FEWEST = 5  # rounds, unless fewer are asked for, or they take far too long
_SAMPLE = 20e-3  # seconds that a sample lasts about: shorter ones are mostly the clock's
_MOST_CALLS = 100  # in one sample


@dataclasses.dataclass(frozen=True)
class Effort:
    """How much to measure.

    Attributes:
      repeats: the most rounds.
      seconds: no round is begun after so many, beyond the fifth; after three times as many none
        but the first.
      seed: of the weights and the data.
    """

    repeats: int
    seconds: float
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Timing:
    """Seconds of a call, measured again and again."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def disturbed(self) -> bool:
        """Whether most runs took far longer than the quickest: something else had the machine."""
        return self.median > 1.5 * min(self.seconds)

    def times(self, factor: float) -> Timing:
        """Of `factor` times the work."""
        return Timing(tuple(factor * second for second in self.seconds))


@dataclasses.dataclass(frozen=True)
class Contestant:
    """Something to time.

    Attributes:
      run: one call, whose result is awaited; None if it cannot run here.
      figures: what is known of it besides its time.
      note: why it cannot run.
    """

    run: Callable[[], object] | None
    figures: Mapping[str, float] = dataclasses.field(default_factory=dict)
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Row:
    """A line of a table.

    Attributes:
      group: what was timed, the same for all rows that were timed in turn.
      contestant: which of them.
      timing: None if it could not run; then `note` says why.
      figures: what else there is to say; `report.HEADINGS` has their names.
      note: what the reader has to know.
    """

    group: str
    contestant: str
    timing: Timing | None
    figures: Mapping[str, float] = dataclasses.field(default_factory=dict)
    note: str = ""

    def with_figures(self, **figures: float) -> Row:
        return dataclasses.replace(self, figures={**self.figures, **figures})


def compiled(fun: Callable[..., Any], *args: Any) -> Contestant:
    """A call of `fun`, compiled for `args`, with the seconds that compiling took and the temporary
    memory that the program takes: its peak beyond arguments and results."""
    program = build(fun, args)
    figures = {"compile_seconds": sum(program.seconds.values())}
    figures["gflop"] = program.figures.flops.total / 1e9
    if program.figures.temp_bytes is not None:
        figures["temporary_bytes"] = program.figures.temp_bytes
    return Contestant(program.run, figures)


def carried(step: Callable[..., tuple[Any, Any]], state: Any, *data: Any) -> Contestant:
    """Calls of `step(state, *data) -> (state, result)` as a training makes them: each takes over
    the state that the one before left, and its memory. The figures are those of `compiled`."""
    start = time.perf_counter()
    program = jax.jit(step, donate_argnums=0).lower(state, *data).compile()
    figures = {"compile_seconds": time.perf_counter() - start}
    if (memory := program.memory_analysis()) is not None:
        figures["temporary_bytes"] = memory.temp_size_in_bytes
    states = [jax.tree.map(jnp.array, state)]  # a copy: the contestants start from the same

    def run() -> Any:
        # The result and the state are one program's, ready at once: it is enough to wait for one.
        states[0], result = program(states[0], *data)
        return result

    return Contestant(run, figures)


def rounds(effort: Effort) -> Iterator[int]:
    """0, to warm up, and then 1, 2, … as far as the effort goes."""
    yield 0
    start = time.perf_counter()
    for count in range(effort.repeats):
        most = (1 if count >= FEWEST else 3) * effort.seconds
        if count and time.perf_counter() - start > most:
            return
        yield 1 + count


def interleave(
    contestants: Mapping[str, Callable[[], object]], effort: Effort
) -> dict[str, Timing]:
    """Runs the contestants in turn, again and again, after a round that warms up.

    A sample is as many calls as last some milliseconds; each ends when its result is there. Before
    each sample the contestant runs untimed for as long: it then finds the caches as it left them
    itself, and no thread of another's still spins.
    """
    calls = dict.fromkeys(contestants, 1)
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for count in rounds(effort):
        for name, run in contestants.items():
            _sample(run, calls[name])
            sample = _sample(run, calls[name])
            if count == 0:
                calls[name] = max(1, min(_MOST_CALLS, round(_SAMPLE / sample)))
            else:
                seconds[name].append(sample)
    return {name: Timing(tuple(runs)) for name, runs in seconds.items()}


def _sample(run: Callable[[], object], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        jax.block_until_ready(run())
    return (time.perf_counter() - start) / calls


def measure(group: str, contestants: Mapping[str, Contestant], effort: Effort) -> list[Row]:
    """A row for each contestant, those that can run timed in turn."""
    runs = {name: c.run for name, c in contestants.items() if c.run is not None}
    timings = interleave(runs, effort)
    return [
        Row(group, name, timings.get(name), c.figures, c.note) for name, c in contestants.items()
    ]


def add_speed(rows: list[Row], figure: str, against: Callable[[Row], bool]) -> list[Row]:
    """The rows with their speed as a multiple of that of the fastest that `against` picks; as they
    are, if it picks none that ran."""
    others = [row.timing.median for row in rows if row.timing and against(row)]
    if not others:
        return rows
    return [
        row.with_figures(**{figure: min(others) / row.timing.median}) if row.timing else row
        for row in rows
    ]
