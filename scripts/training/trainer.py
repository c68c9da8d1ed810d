"""The loop of a training: steps, metrics, checkpoints, and what can come between."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from typing import Any

import jax
import numpy as np

from scripts.command import run_directory
from scripts.command.program import UserError, check
from scripts.command.signals import Interrupted, StopRequest
from scripts.training import checkpoint, nonfinite
from scripts.training.display import Display
from scripts.training.distributed import greatest, is_first
from scripts.training.epoch_metrics import Line, best
from scripts.training.flags import TrainingFlags
from scripts.training.run import Data, Parts, Run, compile_program
from scripts.training.step import Position, epoch_batches, mean_metrics, next_epoch, take
from scripts.training.task import Measured, Task
from scripts.training.tensorboard import Events

# Images, or what costs as much, that pass in one call of the compiled program, which is what a
# signal waits for: a quarter of a second on two CPU cores. The same on every machine, so that many
# of them call it alike.
CALL_IMAGES = 2**14
PROFILED_STEPS = 5
PROFILE, DIAGNOSTIC = "profile", "diagnostic"


# Under jit, what is new in the position comes to lie where the rest of it does.
_next_epoch = jax.jit(next_epoch)


class Trainer:
    """Takes a run from where it stands to its end.

    Args:
      task: what is trained.
      config: the run's flags.
      dataset: what it is trained on.
      run: where it stands; its history grows.
      parts: what the training is made of.
      saver: takes the checkpoints.
      display: shows the epochs.
      request: is looked at before each call of the compiled program.
    """

    def __init__(
        self,
        task: Task,
        config: TrainingFlags,
        dataset: Data,
        run: Run,
        parts: Parts,
        saver: checkpoint.Saver,
        display: Display,
        request: StopRequest,
    ):
        self._task, self._config, self._dataset, self._run = task, config, dataset, run
        self._saver, self._display, self._request = saver, display, request
        self._steps = len(dataset.train[0]) // config.batch_size  # of an epoch
        self._call_steps = max(1, CALL_IMAGES // (config.batch_size * task.weight(config)))
        self._position = run.position
        # The one that it comes from is not written again: while it is, there is none.
        saved = checkpoint.steps(run.directory / run_directory.CHECKPOINTS)
        self._saved = self._total_step() if self._total_step() in saved else None
        self._unprofiled = config.profile
        self._parts = parts
        self._program = compile_program(config, dataset, run, self._parts)

    def train(self) -> tuple[Position, jax.Array]:
        """Takes the steps that are missing.

        Returns:
          Where the run stands then, and what the last evaluation puts out.

        Raises:
          Interrupted: if there was a signal; the run is saved and can be resumed.
          UserError: if something is not finite, or cannot be written.
        """
        run, config = self._run, self._config
        with contextlib.ExitStack() as stack:
            events = None
            if config.tensorboard and is_first():
                events = stack.enter_context(contextlib.closing(Events(run.directory, run.history)))
            while int(self._position.epoch) <= config.epochs:
                seconds, steps = self._take_steps()
                metrics = self._finish_epoch(seconds, steps)
                if events is not None:
                    events.write(metrics)
                self._display.advance(str(metrics), metrics.brief)
        self._saver.wait()
        _, outputs = self._program.evaluate(self._position.state.params, *self._dataset.test)
        return self._position, outputs

    def _take_steps(self) -> tuple[float, int]:
        """To the end of the epoch; the seconds that the compiled program ran, and its steps."""
        seconds, first = 0.0, int(self._position.step)
        while (step := int(self._position.step)) < self._steps:
            self._stop_if_asked()
            begin = time.perf_counter()
            self._advance(self._next_stop(step))
            seconds += time.perf_counter() - begin
            every = self._config.checkpoint_every
            if every and int(self._position.step) < self._steps and self._total_step() % every == 0:
                self._save()
        return seconds, self._steps - first

    def _next_stop(self, step: int) -> int:
        """How many steps of the epoch are done after the next call."""
        length = PROFILED_STEPS if self._unprofiled else self._call_steps
        if self._config.checkpoint_every:
            every = self._config.checkpoint_every
            length = min(length, every - self._total_step() % every)
        return min(step + length, self._steps)

    def _advance(self, stop: int) -> None:
        before, profile = self._position, contextlib.nullcontext()
        if self._unprofiled:
            if is_first():
                profile = jax.profiler.trace(str(self._run.directory / PROFILE))
            self._unprofiled = False
        with profile:
            after, finite = jax.block_until_ready(
                self._program.advance(before, np.int32(stop), *self._dataset.train)
            )
        if nonfinite.broke(before, after, finite, self._config.skip_nonfinite):
            self._diagnose(before)
        self._position = after

    def _finish_epoch(self, seconds: float, steps: int) -> Any:
        """Evaluates, adds the epoch to the history, and saves where that is due."""
        position = self._position
        test, _ = self._program.evaluate(position.state.params, *self._dataset.test)
        measured = Measured(
            int(position.epoch),
            self._total_step(),
            jax.tree.map(float, mean_metrics(position)),
            jax.tree.map(float, test),
            skipped_steps=int(position.nonfinite),
            examples_per_second=steps * self._config.batch_size / seconds if steps else 0.0,
            seconds=seconds,
        )
        metrics = self._task.line_of(self._config, measured)
        self._check_finite(metrics)
        self._run.history.append(metrics)
        # In this order: --resume drops metrics that are newer than the checkpoint.
        if is_first():
            run_directory.append_metrics(self._run.directory, dataclasses.asdict(metrics))
        self._position = _next_epoch(position)
        every = self._config.checkpoint_every
        last = metrics.epoch == self._config.epochs
        if not every or last or metrics.step % every == 0 or best(self._run.history) is metrics:
            self._save()
        return metrics

    def _save(self) -> None:
        step = self._total_step()
        if step != self._saved:
            protect = [best(self._run.history).step] if self._run.history else []
            self._saver.save(step, self._position, protect)
            self._saved = step

    def _total_step(self) -> int:
        return (int(self._position.epoch) - 1) * self._steps + int(self._position.step)

    def _stop_if_asked(self) -> None:
        number = greatest(self._request.number or 0)  # one process' signal stops all of them
        if not number:
            return
        self._save()
        self._saver.wait()
        raise Interrupted(
            number,
            f"interrupted in epoch {int(self._position.epoch)}, after "
            f"{int(self._position.step)} of {self._steps} steps; to continue: "
            f"{self._how_to_resume()}",
        )

    def _diagnose(self, before: Position) -> None:
        """Says where a number that is not finite first appeared, and saves what led to it."""
        config, train = self._config, self._dataset.train
        position = nonfinite.last_good_position(
            self._program.advance, before, config.skip_nonfinite, *train
        )
        batches, keys = epoch_batches(position, len(train[0]), config.batch_size)
        batch, key = batches[position.step], keys[position.step]
        taken = take(batch, key, self._parts.augment, *train)
        where = self._parts.locate(position.state.params, *taken)
        self._position = position
        step = self._total_step()
        directory = self._run.directory / DIAGNOSTIC
        skipping = f"{self._how_to_resume()} --skip-nonfinite"
        checkpoint.save(directory, step, {"position": position, "batch": batch, "key": key})
        raise UserError(
            f"epoch {int(position.epoch)}, step {int(position.step) + 1} of {self._steps}: "
            f"expected finite numbers, the first that is not is {where}; {directory / str(step)} "
            f"has the state before that step and its batch; try a lower --learning-rate than "
            f"{config.rate:g}"
            + ("" if config.skip_nonfinite else f", or go on without such steps: {skipping}")
        )

    def _check_finite(self, metrics: Line) -> None:
        check(
            math.isfinite(metrics.train_loss),
            f"epoch {metrics.epoch}: expected a step that is finite, all are skipped",
        )
        check(
            math.isfinite(metrics.test_loss),
            f"epoch {metrics.epoch}: expected a finite test loss, got {metrics.test_loss}: try a "
            f"lower --learning-rate than {self._config.rate:g}",
        )

    def _how_to_resume(self) -> str:
        return f"python -m scripts.{self._config.PROGRAM} --resume {self._run.directory}"
