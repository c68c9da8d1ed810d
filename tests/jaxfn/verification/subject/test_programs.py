"""Programs run in double precision, in whatever thread."""

import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfn.verification import gradcheck
from jaxfn.verification.subject.programs import (
    FEWEST_PASSES,
    Program,
    precision_of_threads,
    quickly_compiled,
)


def _in_another_thread():
    seen = []
    thread = threading.Thread(target=lambda: seen.append(jax.config.read("jax_enable_x64")))
    thread.start()
    thread.join()
    return seen[0]


@pytest.mark.parametrize("wide", [True, False])
def test_callbacks_run_in_the_precision_of_their_program(wide):
    before = _in_another_thread()
    with precision_of_threads(wide, {"pure_callback"}):
        assert _in_another_thread() == (wide or before)
    assert _in_another_thread() == before


def test_programs_without_callbacks_leave_other_threads_alone():
    before = _in_another_thread()
    with precision_of_threads(True, {"sin"}):
        assert _in_another_thread() == before


def test_the_setting_is_put_back_after_an_error():
    before = _in_another_thread()
    with pytest.raises(RuntimeError), precision_of_threads(True, {"io_callback"}):
        raise RuntimeError("in a callback")
    assert _in_another_thread() == before


def test_a_rule_by_a_callback_keeps_its_digits():
    @jax.custom_vjp
    def sine(x):
        return jnp.sin(x)

    def backward(x, g):
        shape = jax.ShapeDtypeStruct(x.shape, x.dtype)
        return (g * jax.pure_callback(np.cos, shape, x, vmap_method="broadcast_all"),)

    sine.defvjp(lambda x: (jnp.sin(x), x), backward)
    x = np.linspace(-2, 2, 8, dtype=np.float32)
    for _ in range(4):  # which thread a callback runs in is a matter of chance
        report = gradcheck(sine, (x,), layers=("linearity", "autodiff"))
        assert report.verdict == "pass"
        assert not any("own precision" in note for note in report.notes)


@pytest.mark.parametrize("x64", [True, False])
def test_passes_are_left_out_in_a_precision_that_is_not_the_callers(x64):
    before = jax.config.read(FEWEST_PASSES)
    jax.config.update(FEWEST_PASSES, False)
    try:
        with jax.enable_x64(x64), quickly_compiled(True):
            assert jax.config.read(FEWEST_PASSES) is not x64
        with quickly_compiled(False):
            assert not jax.config.read(FEWEST_PASSES)
        with pytest.raises(RuntimeError), quickly_compiled(True):
            raise RuntimeError("in an operation")
        assert not jax.config.read(FEWEST_PASSES)
    finally:
        jax.config.update(FEWEST_PASSES, before)


def test_what_a_trace_raises_is_raised_by_the_first_call():
    def row(x):
        raise ZeroDivisionError("in the trace")

    program = Program(row, (2,), wide=False)
    program.prepare(np.ones((1, 2)))
    for _ in range(2):  # the second call tries again
        with pytest.raises(ZeroDivisionError, match="in the trace"):
            program(np.ones((1, 2)))


@pytest.mark.parametrize("wide", [True, False])
def test_a_prepared_program_keeps_its_precision_and_is_traced_once(wide):
    seen = []

    def row(x):
        seen.append(x.dtype)
        return (x / 3,)

    program = Program(row, (2,), wide)
    program.prepare(np.ones((1, 2)))
    assert seen == [np.float64 if wide or jax.config.read("jax_enable_x64") else np.float32]
    (out,) = program(np.ones((3, 2)))
    assert len(seen) == 1
    np.testing.assert_allclose(out, 1 / 3, rtol=1e-15 if seen == [np.float64] else 1e-7)
    assert program.compile_seconds > 0
