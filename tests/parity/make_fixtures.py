"""Writes the fixtures: what PyTorch 2.13.0 and snntorch 1.0.0 compute for the inputs of
`inputs.py`.

    pip install torch==2.13.0 snntorch==1.0.0
    python -m tests.parity.make_fixtures

The large arrays of LeNet are kept in float64 alone, against which float32 is held, too.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent / "fixtures"


def main() -> None:
    from tests.parity import language_pytorch, pytorch, quantisers_pytorch, spiking
    from tests.parity.inputs import DTYPES

    small = {}
    for dtype in DTYPES:
        for name, arrays in {
            "linear": pytorch.linear(dtype, use_bias=True),
            "linear_no_bias": pytorch.linear(dtype, use_bias=False),
            "relu_0": pytorch.relu(dtype, grad_at_zero=0),
            "relu_1": pytorch.relu(dtype, grad_at_zero=1),
            "regression": {"losses": pytorch.regression(dtype)},
        }.items():
            small |= {f"{dtype}.{name}.{key}": array for key, array in arrays.items()}
    FOLDER.mkdir(exist_ok=True)
    np.savez_compressed(FOLDER / "quantisers.npz", **quantisers_pytorch.fixtures())
    np.savez_compressed(FOLDER / "language.npz", **language_pytorch.fixtures())
    np.savez_compressed(FOLDER / "spikes.npz", **spiking.spikes())
    np.savez_compressed(FOLDER / "operations.npz", **small)
    np.savez_compressed(FOLDER / "lenet.npz", **pytorch.lenet("float64"))


if __name__ == "__main__":
    main()
