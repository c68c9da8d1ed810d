"""Whole trainings on the digits of the networks that need a rule."""

import pytest

from scripts.train_lenet import Config, main

pytestmark = pytest.mark.long


@pytest.mark.parametrize(
    ("flags", "accuracy"),
    [
        ({"model": "binary"}, 0.95),
        ({"model": "quantized", "bits": 4}, 0.98),
        ({"model": "quantized", "bits": 2}, 0.97),
        ({"model": "spiking"}, 0.95),
    ],
)
def test_accuracy_by_the_rule(tmp_path, flags, accuracy):
    assert main(Config(**flags, run_dir=tmp_path, quiet=True)).test_accuracy >= accuracy


@pytest.mark.parametrize("model", ["binary", "quantized", "spiking"])
def test_plain_autodiff_stays_near_chance(tmp_path, model):
    result = main(Config(model=model, rules="autodiff", run_dir=tmp_path, quiet=True))
    assert max(line.test_accuracy for line in result.history) < 0.2
