"""Timing two programs so that the difference between them can be told from noise."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax

from jaxfn.comparison.constants import FEWEST_SAMPLES, MOST_CALLS, SAMPLE_SECONDS


@dataclass(frozen=True)
class Timing:
    """The seconds that one run took, measured again and again.

    Attributes:
      median: of the samples.
      low: the first quartile.
      high: the third quartile.
      samples: how many.
    """

    median: float
    low: float
    high: float
    samples: int


def summarise(samples: Sequence[float]) -> Timing:
    """Median and quartiles."""
    if len(samples) == 1:
        return Timing(samples[0], samples[0], samples[0], 1)
    low, median, high = statistics.quantiles(samples, n=4, method="inclusive")
    return Timing(median, low, high, len(samples))


def interleave(
    contestants: Sequence[Callable[[], Any]], rounds: int, seconds: float
) -> list[Timing]:
    """Runs the contestants in turn, so that whatever else the machine does meets all alike.

    Each round has one sample of each, in an order that is turned around from round to round. A
    sample is as many calls as last a millisecond, each awaited.

    Args:
      contestants: what to run; the results are awaited.
      rounds: how many.
      seconds: no round is begun after them, beyond the fifth.

    Returns:
      For each contestant the time of one call.
    """
    calls = [_calls_in_a_sample(run) for run in contestants]
    samples: list[list[float]] = [[] for _ in contestants]
    order = list(range(len(contestants)))
    end = time.perf_counter() + seconds
    for round_number in range(rounds):
        if round_number >= FEWEST_SAMPLES and time.perf_counter() > end:
            break
        for i in order:
            samples[i].append(_sample(contestants[i], calls[i]))
        order.reverse()
    return [summarise(found) for found in samples]


def _sample(run: Callable[[], Any], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        jax.block_until_ready(run())
    return (time.perf_counter() - start) / calls


def _calls_in_a_sample(run: Callable[[], Any]) -> int:
    _sample(run, 1)  # warms up
    once = _sample(run, 1)
    if once * MOST_CALLS <= SAMPLE_SECONDS:
        return MOST_CALLS
    return max(1, round(SAMPLE_SECONDS / once))
