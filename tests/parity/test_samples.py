"""PyTorch's own sample inputs in jaxfn; with a live PyTorch in `make parity`."""

from __future__ import annotations

import numpy as np
import pytest

from tests.parity import samples
from tests.parity.samples import OPERATIONS, TIED, Sample, Tally, _count, tally

pytestmark = pytest.mark.numbers

# By operation: the samples that can be said as they are, and those in a batch of one.
SAYABLE = {
    "linear": (36, 0),
    "relu": (90, 0),
    "conv2d": (30, 30),
    "max_pool2d": (2304, 576),
    TIED: (1152, 576),
}


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("name", SAYABLE)
def test_all_samples_can_be_said_and_agree(name):
    counts = tally(name)
    assert not counts.wrong, counts.wrong[0]
    assert not counts.refused
    assert (counts.as_it_is, counts.batch_of_one) == SAYABLE[name]


def test_the_samples_that_are_counted():
    assert sum(map(sum, SAYABLE.values())) - sum(SAYABLE[TIED]) == 3066
    assert sum(SAYABLE[TIED]) == 1728


def relu_sample(**changes) -> Sample:
    x = np.array([-1.0, 2.0], np.float32)
    right = {"args": (x,), "options": {}, "y_bar": x, "results": (x.clip(0),)}
    return Sample(**{**right, "gradients": (np.array([0.0, 2.0], np.float32),), **changes})


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({}, []),
        (
            {"results": (np.array([0.0, 2.1], np.float32),)},
            ["y of [(2,)], {}: 1 of 2 elements"],
        ),
        (
            {"gradients": (np.array([0.0, np.nan], np.float32),)},
            ["gradient 0 of [(2,)], {}: 1 of 2 elements"],
        ),
        ({"results": (np.zeros(2),)}, ["y of [(2,)], {}: dtype float32, expected float64"]),
        (
            {"results": (np.zeros((2, 1), np.float32),)},
            ["y of [(2,)], {}: shape (2,), expected (2, 1)"],
        ),
    ],
)
def test_a_difference_is_seen(changes, wrong):
    counts = Tally()
    _count(counts, OPERATIONS["relu"], relu_sample(**changes), 1e-5)
    assert counts.wrong == wrong
    assert counts.samples == counts.as_it_is == 1


def test_what_cannot_be_said_is_counted_with_the_error():
    counts = Tally()
    _count(counts, OPERATIONS["relu"], relu_sample(options={"inplace": True}), 1e-5)
    assert (counts.sayable, counts.samples) == (0, 1)
    lines = [*samples.table({"relu": counts})]
    assert lines[0].split()[:2] == ["samples", "as"]
    assert lines[1].split()[:6] == ["relu", "1", "0", "0", "1", "0"]
    assert lines[3].startswith("relu: 1 not sayable: ")
