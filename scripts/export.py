"""Writes a trained LeNet, or a decoder, as one file that predicts without its source.

For example, after a training of seconds:

    python -m scripts.train_lenet --epochs 3 --name three
    python -m scripts.export --run runs/three
    python -m scripts.predict --model runs/three/model.jaxfn image.png

The file holds the program for any number of images, compiled for the CPU, for NVIDIA GPUs or for
TPUs where it is loaded, with its weights, the preprocessing and the names of the classes;
`scripts/training/model_file.py` says how. Of a decoder it is the program from texts, as the numbers
of their bytes, to the logits of each one's next byte, for any number of texts of any length:
`model_file.read_decoder(path).call(tokens)`.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import export

from scripts.command import run_directory
from scripts.command.device import environment
from scripts.command.program import run_program
from scripts.training import decoder_config, model_file
from scripts.training.data import class_names
from scripts.training.lenet_config import make_optimizer, restore_state, stored_run

DEFAULT_NAME = "model.jaxfn"
PLATFORMS = ("cpu", "cuda", "tpu")


@dataclasses.dataclass(frozen=True)
class Config:
    """Flags of `export`."""

    run: Path
    """Folder of a run of train_lenet or train_decoder."""
    output: Path | None = None
    """The file; by default model.jaxfn in the folder of the run."""


def main(config: Config) -> Path:
    """Writes the file.

    Returns:
      Where it is.

    Raises:
      UserError: if the run is damaged or the file cannot be written.
    """
    path = config.output or config.run / DEFAULT_NAME
    about = {"run": config.run.name, "environment": environment()}
    if run_directory.read_config(config.run).get("program") == decoder_config.PROGRAM:
        decoder, _ = decoder_config.stored_run(config.run)
        program = export_decoder(*decoder_config.restore_params(config.run, decoder))
        model_file.write_decoder(path, program, about)
    else:
        stored, preprocessing = stored_run(config.run)
        graphdef, _, state = restore_state(config.run, stored, make_optimizer(stored, steps=1))
        program = export_classifier(graphdef, state.params)
        model = model_file.Model(program, preprocessing, class_names(stored.dataset))
        model_file.write(path, model, about)
    print(f"{path.stat().st_size:,} bytes for {', '.join(program.platforms)} → {path}")
    return path


def export_classifier(graphdef: nnx.GraphDef, params: Any) -> export.Exported:
    """The program `[n, 32, 32, 1]` → probabilities `[n, 10]` with its weights, for any n ≥ 1."""

    def probabilities(images: jax.Array) -> jax.Array:
        return jax.nn.softmax(nnx.merge(graphdef, params)(images))

    (n,) = export.symbolic_shape("n")
    images = jax.ShapeDtypeStruct((n, *model_file.INPUT), jnp.float32)
    return export.export(jax.jit(probabilities), platforms=PLATFORMS)(images)


def export_decoder(graphdef: nnx.GraphDef, params: Any) -> export.Exported:
    """The program `[n, t]` (int32) → logits `[n, vocabulary]` of each text's next token with its
    weights, for any n and t ≥ 1."""

    def next_logits(tokens: jax.Array) -> jax.Array:
        model: Any = nnx.merge(graphdef, params)
        return model.next_logits(tokens)

    tokens = jax.ShapeDtypeStruct(export.symbolic_shape("n, t"), jnp.int32)
    return export.export(jax.jit(next_logits), platforms=PLATFORMS)(tokens)


if __name__ == "__main__":
    run_program(main, Config, __doc__)
