"""Training on several machines: the same program, started once on each.

    python -m scripts.train_lenet --name a --coordinator host:1234 --num-processes 2 --process-id 0
    python -m scripts.train_lenet --name a --coordinator host:1234 --num-processes 2 --process-id 1

`jax.distributed` connects the processes; from then on `jax.devices()` are those of all, and
`scripts/training/mesh.py` does the rest. Each process computes on its share of every batch. The
folder of the run is on a file system that all see.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import traceback
from collections.abc import Iterator
from typing import NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils

from scripts.command.program import USER_ERROR, UserError, check

# A process that no longer answers, but has not ended, is given up after so long; JAX then ends the
# others. One that ends is noticed at once.
HEARTBEAT_SECONDS = 60
CONNECT_SECONDS = 120
FAULT = 1  # as Python has it, of an exception that nothing catches


def check_flags(coordinator: str | None, num_processes: int | None, process_id: int | None) -> None:
    """Raises `UserError` unless the flags are all given and make sense, or none is given."""
    flags = {
        "--coordinator": coordinator,
        "--num-processes": num_processes,
        "--process-id": process_id,
    }
    missing = [flag for flag, value in flags.items() if value is None]
    if len(missing) == len(flags):
        return
    check(not missing, f"expected {' and '.join(missing)}, too: {', '.join(flags)} go together")
    assert coordinator is not None
    assert num_processes is not None
    assert process_id is not None
    host, _, port = coordinator.rpartition(":")
    check(
        bool(host) and port.isdecimal() and 0 < int(port) < 2**16,
        f"--coordinator: expected host:port, the same in each process, got {coordinator!r}",
    )
    check(num_processes >= 1, f"--num-processes: expected at least 1, got {num_processes}")
    check(
        0 <= process_id < num_processes,
        f"--process-id: expected 0 to {num_processes - 1}, another in each process, "
        f"got {process_id}",
    )


@contextlib.contextmanager
def joined(
    coordinator: str | None, num_processes: int | None, process_id: int | None
) -> Iterator[None]:
    """Connects this process with the others; without a coordinator it does nothing.

    To be entered before JAX starts its backends. An error ends the process there and then, in the
    way of `run_program`: the ordinary end waits for the other processes, which would wait for this
    one. So they notice at once: their next sum over all processes fails, which ends them as well.

    Raises:
      UserError: if a flag is wrong.
    """
    check_flags(coordinator, num_processes, process_id)
    if coordinator is None:
        yield
        return
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    # It would take SIGTERM away from `scripts.command.signals`.
    jax.config.update("jax_enable_preemption_service", False)
    # JAX aborts a process that cannot connect, without a word on what it was waiting for.
    late = threading.Timer(
        CONNECT_SECONDS,
        _leave,
        [
            f"error: --coordinator {coordinator}: process {process_id} of {num_processes} and the "
            f"others did not find each other within {CONNECT_SECONDS} s",
            USER_ERROR,
        ],
    )
    late.start()
    jax.distributed.initialize(
        coordinator,
        num_processes,
        process_id,
        initialization_timeout=2 * CONNECT_SECONDS,
        heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
    )
    late.cancel()
    try:
        yield
    except UserError as error:
        _leave(f"error: process {process_id}: {error}", USER_ERROR)
    except Exception as error:
        if not _broke_off(error):
            _leave(traceback.format_exc(), FAULT)
        reason = str(error).splitlines()[0]
        _leave(
            f"error: process {process_id}: the computation with the other processes broke off, as "
            f"it does when one of them ends ({reason}); --resume continues from the last "
            "checkpoint, on as many processes or on another number",
            USER_ERROR,
        )
    jax.distributed.shutdown()


def is_first() -> bool:
    """Whether this is the process that writes what is written once."""
    return jax.process_index() == 0


def wait_for_all(what: str) -> None:
    """Returns when every process has come to this point."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(what)


def greatest(number: int) -> int:
    """The greatest of the numbers that the processes give."""
    if jax.process_count() == 1:
        return number
    return int(np.max(multihost_utils.process_allgather(np.int32(number))))


def _broke_off(error: Exception) -> bool:
    """Whether it comes from a computation with the other processes."""
    # A failure of Gloo is a ValueError where jit hands the program over, of the same text.
    return isinstance(error, jax.errors.JaxRuntimeError) or "Gloo" in str(error)


def _leave(message: str, code: int) -> NoReturn:
    print(message, file=sys.stderr, flush=True)
    sys.stdout.flush()
    os._exit(code)
