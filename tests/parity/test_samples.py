"""PyTorch's own sample inputs, said in jaxfn; `make parity`."""

from __future__ import annotations

import jax
import pytest

pytestmark = pytest.mark.parity


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("name", ["linear", "relu", "conv2d", "max_pool2d"])
def test_every_sample_can_be_said_and_agrees(name, tied):
    from tests.parity import samples  # imported here: the module is collected without a torch

    with jax.enable_x64(True):
        counts = samples.compare(name, tied)
    assert counts["samples"] > 0
    assert counts["said"] == counts["agree"] == counts["samples"], counts
