"""Trees as vectors: there and back, and the pairing of cotangents of complex arrays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfn.verification.subject.coordinates import Arguments, on_device
from jaxfn.verification.subject.programs import Engine

ARGS = (
    {"w": jnp.arange(6.0).reshape(2, 3), "z": jnp.array([1 + 2j, 3 - 1j])},
    jnp.array([1, 2]),
    "static",
    jnp.float32(0.5),
)


def test_there_and_back():
    arguments = Arguments(ARGS)
    assert arguments.size == 6 + 4 + 1
    assert [leaf.path for leaf in arguments.leaves] == ["args[0]['w']", "args[0]['z']", "args[3]"]
    arrays = arguments.differentiable(jnp.asarray(arguments.given, jnp.float32), False)
    rebuilt = arguments.rebuild(arrays, arguments.integers)
    same = jax.tree.map(lambda a, b: bool(np.all(a == b)), rebuilt, ARGS)
    assert all(jax.tree.leaves(same))


def test_index_of_a_coordinate():
    leaf = Arguments(ARGS).leaves[1]
    assert [leaf.index_of(leaf.start + k) for k in range(4)] == [(0,), (1,), (0,), (1,)]


def test_pullback_is_the_transposed_real_jacobian():
    def fun(z, x):
        return z**2 * x, jnp.abs(z)

    z = jnp.array([1 + 2j, 0.5 - 1j])
    engine = Engine(fun, Arguments((z, jnp.array([0.3, 2.0]))), True)
    x = engine.arguments.given
    identity = np.eye(engine.size)
    rows = engine.pull(np.repeat(x[None], engine.size, axis=0), (), identity)[1]
    h = 1e-6
    steps = np.concatenate([x + h * np.eye(len(x)), x - h * np.eye(len(x))])
    plus, minus = np.split(engine.value(steps, ())[0], 2)
    np.testing.assert_allclose(rows, ((plus - minus) / (2 * h)).T, atol=1e-7)


@pytest.mark.parametrize("dtype", [None, jnp.bfloat16, jnp.float32, jnp.int8])
def test_numpys_arrays_are_handed_over_without_a_compilation(dtype):
    compiled = []

    def seen(event, duration_secs, **kwargs):
        compiled.extend([event] * event.endswith("backend_compile_duration"))

    value = np.arange(91.0).reshape(13, 7)  # of a shape that nothing else has
    jax.monitoring.register_event_duration_secs_listener(seen)
    try:
        found = on_device(value, dtype)
    finally:
        jax.monitoring.unregister_event_duration_listener(seen)
    assert compiled == []
    assert found.dtype == jnp.dtype(dtype or jnp.float32)
    assert (np.asarray(found, np.float64) == value).all()
    assert not found.weak_type


def test_what_a_dtype_does_not_hold_is_infinite():
    assert np.isinf(on_device(np.array([1e300]), jnp.float32)).all()
