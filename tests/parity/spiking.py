"""What snntorch 1.0.0 computes for its surrogate gradients, which is float32 whatever it is given;
needed to make the fixtures alone."""

from __future__ import annotations

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from snntorch import surrogate  # pyright: ignore[reportMissingImports]

from tests.parity import inputs

# By our names. Its `triangular` is left out: that is no triangle, but a constant of either sign.
SURROGATES = {
    "atan": surrogate.atan(alpha=2.0),
    "fast_sigmoid": surrogate.fast_sigmoid(slope=25),
    "sigmoid": surrogate.sigmoid(slope=25),
}


def spikes() -> dict[str, np.ndarray]:
    """For each surrogate the spikes, and the gradient of the membrane potential."""
    results = {}
    for name, spike in SURROGATES.items():
        given = inputs.membrane()
        x = torch.tensor(given["x"], requires_grad=True)
        y = spike(x)
        y.backward(torch.tensor(given["y_bar"]))
        results |= {f"{name}.y": y.detach().numpy(), f"{name}.x_bar": x.grad.numpy()}
    return results
