"""What LeNet's step costs on more and more devices, each with as many images: weak scaling.

The devices are a CPU's, so that all of them share its cores: what stays the same, if nothing is
lost, is the cost per image. They have to be asked for before JAX starts, so a process of its own
takes the times:

    JAX_PLATFORMS=cpu JAX_NUM_CPU_DEVICES=8 python -m scripts.benchmarks.scaling
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping

import jax
import optax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from scripts.benchmarks.lenet import MOMENTUM, RATE, problem
from scripts.benchmarks.timing import Contestant, Effort, Row, Timing, carried, interleave
from scripts.training import mesh
from scripts.training.step import make_loss_fn, make_train_step

DEVICES = (1, 2, 4, 8)
IMAGES = 128  # per device
ALONE = "no mesh"


def scaling(effort: Effort) -> Iterator[list[Row]]:
    """A training step on 1, 2, 4 and 8 host devices, and on one without a mesh."""
    asked = json.dumps(dataclasses.astuple(effort))
    process = subprocess.run(
        [sys.executable, "-m", "scripts.benchmarks.scaling", asked],
        check=True,
        stdout=subprocess.PIPE,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(max(DEVICES))},
    )
    measured = json.loads(process.stdout)
    rows = [
        Row(f"{IMAGES} images per device", name, Timing(tuple(runs))).with_figures(
            ms_per_1000_images=1e6 * Timing(tuple(runs)).median / images
        )
        for name, (images, runs) in measured.items()
    ]
    alone = rows[0].figures["ms_per_1000_images"]
    yield [
        row.with_figures(cost_against_alone=row.figures["ms_per_1000_images"] / alone)
        for row in rows
    ]


def contestants(seed: int) -> Mapping[str, tuple[int, Contestant]]:
    """The images of a step, and the step, with each number of devices."""
    found = {ALONE: (IMAGES, _step(None, seed))}
    for count in DEVICES:
        name = f"{count} device{'s' if count > 1 else ''}"
        found[name] = (count * IMAGES, _step(count, seed))
    return found


def _step(devices: int | None, seed: int) -> Contestant:
    optimizer = optax.sgd(RATE, MOMENTUM)
    graphdef, state, data = problem((devices or 1) * IMAGES, seed, optimizer)
    loss_fn = make_loss_fn(graphdef)
    made = mesh.make_mesh(devices, None)
    if made is None:
        return carried(make_train_step(loss_fn, optimizer), state, *data)
    parallel = functools.partial(mesh.data_parallel, mesh=made)
    step = make_train_step(loss_fn, optimizer, parallel=parallel)
    parts = jax.device_put(data, NamedSharding(made, P(mesh.AXIS)))
    return carried(step, mesh.replicate(state, made), *parts)


def main(effort: Effort) -> None:
    """Takes the times, and prints them as JSON: by name, the images of a step and its seconds."""
    known = contestants(effort.seed)
    runs = {name: contestant.run for name, (_, contestant) in known.items() if contestant.run}
    timings = interleave(runs, effort)
    print(json.dumps({name: (known[name][0], timings[name].seconds) for name in timings}))


if __name__ == "__main__":
    main(Effort(*json.loads(sys.argv[1])) if sys.argv[1:] else Effort(25, 10.0))
