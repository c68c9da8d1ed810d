"""Trains a small decoder (GPT) on text, byte by byte.

In minutes, on the help texts of Python itself, which need no network:

    python -m scripts.train_decoder

or on any text of one's own: `--text one.txt two.txt`. It leaves `runs/<name>/` with config.json,
metrics.jsonl, curves.png, sample.txt and the checkpoints;
`python -m scripts.generate --run runs/<name> --prompt "The "` writes on, and
`python -m scripts.train_decoder --resume runs/<name>` continues a run that was interrupted.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import optax
from flax import nnx
from jax.sharding import Mesh

from scripts.command.program import UserError, check, run_program
from scripts.training import language, mesh, nonfinite, session
from scripts.training.decoder_config import (
    Config,
    check_config,
    initial_position,
    make_optimizer,
    stored_run,
)
from scripts.training.epoch_metrics import TEXT_HEADER, TextMetrics
from scripts.training.plots import plot_text_curves
from scripts.training.resuming import complete
from scripts.training.run import Parts, Run
from scripts.training.step import Params, Position, make_train_step
from scripts.training.task import Measured, Task
from scripts.training.text import Text, load

CURVES, SAMPLE = "curves.png", "sample.txt"
EVALUATION_BATCH = 8
IMAGES_PER_TOKEN = 8  # of LeNet's training cost as much as one
PROMPT, SAMPLE_BYTES, TEMPERATURE, TOP_K = b"The ", 400, 0.8, 40


@dataclasses.dataclass(frozen=True)
class Result(session.Outcome):
    """What a training came to."""

    history: tuple[TextMetrics, ...]

    @property
    def bits_per_byte(self) -> float:
        """Of the held-out text, after the last epoch."""
        return self.history[-1].bits_per_byte


class LanguageModelling(Task[Config, Text]):
    """A decoder on text."""

    header, line, drawn, example = TEXT_HEADER, TextMetrics, SAMPLE, "pieces"

    def check(self, config: Config) -> None:
        check_config(config)

    def load(self, config: Config) -> Text:
        return load(config.text, config.context)

    def prefix(self, config: Config) -> str:
        return "decoder"

    def about(self, dataset: Text) -> Mapping[str, Any]:
        return {"text": dataset.source}

    def check_same_data(self, directory: Path, dataset: Text) -> None:
        _, source = stored_run(directory)
        check(
            source == dataset.source,
            f"{directory}: expected the text that the run was started with, {source.bytes:,} bytes "
            f"of SHA-256 {source.sha256[:8]}…, got {dataset.source.bytes:,} of "
            f"{dataset.source.sha256[:8]}…",
        )

    def optimizer(self, config: Config, steps: int) -> optax.GradientTransformation:
        return make_optimizer(config, steps)

    def initial_position(
        self, config: Config, optimizer: optax.GradientTransformation
    ) -> tuple[nnx.GraphDef, Position]:
        return initial_position(config, optimizer)

    def parts(
        self,
        config: Config,
        dataset: Text,
        graphdef: nnx.GraphDef,
        optimizer: optax.GradientTransformation,
        devices: Mesh | None,
    ) -> Parts:
        loss_fn = language.make_text_loss(graphdef, config.rules, config.dtype)
        step = make_train_step(
            loss_fn,
            optimizer,
            accumulate=config.accumulate,
            skip_nonfinite=config.skip_nonfinite,
            parallel=lambda mean: mean if devices is None else mesh.data_parallel(mean, devices),
            value_and_grad=language.value_and_grad,
            measure=language.measure,
        )

        def locate(params: Params, crops: language.Crops) -> str:
            forward = language.stages(graphdef, config.dtype, params, crops)
            return nonfinite.first_nonfinite(forward, [], loss_fn, params, crops)

        return Parts(
            loss_fn,
            step,
            language.make_random_crop(config.context),
            language.make_text_evaluate(graphdef, EVALUATION_BATCH),
            language.mean_loss,
            locate,
        )

    def size(self, dataset: Text) -> str:
        (train,), (test,) = dataset.train, dataset.test
        context = test.shape[1] - 1
        return (
            f"{dataset.source.bytes:,} bytes: {len(train):,} training pieces and {len(test):,} "
            f"held out, of {context}"
        )

    def line_of(self, config: Config, measured: Measured) -> TextMetrics:
        return TextMetrics(
            measured.epoch,
            measured.step,
            measured.train.loss,
            measured.test.loss,
            measured.test.loss / math.log(2),
            measured.skipped_steps,
            tokens_per_second=measured.examples_per_second * config.context,
            seconds=measured.seconds,
        )

    def finish(self, config: Config, dataset: Text, run: Run, outputs: jax.Array) -> str:
        plot_text_curves(run.directory / CURVES, [dataclasses.asdict(m) for m in run.history])
        params = run.position.state.params
        if run.devices is not None:  # whole on each device: one of them is enough to write with
            params = jax.tree.map(lambda leaf: leaf.addressable_data(0), params)
        text = _sample(config, run.graphdef, params)
        try:
            (run.directory / SAMPLE).write_text(text + "\n")
        except OSError as error:
            raise UserError(
                f"{run.directory / SAMPLE}: cannot be written: {error.strerror}"
            ) from error
        return f"\n{text}\n"

    def result(self, line: TextMetrics, *, name: bool = True) -> str:
        return f"{line.bits_per_byte:.4f}{' bits per byte' if name else ''}"

    def weight(self, config: Config) -> int:
        return config.context * IMAGES_PER_TOKEN


def main(config: Config) -> Result:
    """Trains a decoder and leaves the folder of the run.

    Raises:
      UserError: if a flag or a file is wrong, something cannot be written, or a number is not
        finite.
      Interrupted: if Ctrl-C or SIGTERM came; the run is saved.
    """
    return Result(**vars(session.train(LanguageModelling(), config)))


def _sample(config: Config, graphdef: nnx.GraphDef, params: Params) -> str:
    """A text as the net writes it."""
    written = language.generate(
        graphdef,
        params,
        PROMPT,
        SAMPLE_BYTES,
        temperature=TEMPERATURE,
        top_k=TOP_K,
        key=jax.random.key(config.seed),
    )
    return (PROMPT + written).decode(errors="replace")


if __name__ == "__main__":
    run_program(main, Config, __doc__, complete)
