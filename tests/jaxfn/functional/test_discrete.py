from __future__ import annotations

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxfn
from tests.jaxfn.functional.oracles import assert_close, finite_differences, value_and_gradients

pytestmark = pytest.mark.numbers

FLOATS = ["float16", "bfloat16", "float32", "float64"]
NAN, INF = np.nan, np.inf
KEY = jax.random.key(0)
SAMPLERS = {
    "soft": jaxfn.gumbel_softmax,
    "hard": functools.partial(jaxfn.gumbel_softmax, hard=True),
    "straight_through": jaxfn.onehot_straight_through,
}
every_sampler = pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)
LOGITS = np.array([[0.5, -1.0, 2.0], [0.0, 0.25, -0.5]])


def noise(shape) -> np.ndarray:
    return np.asarray(jax.random.gumbel(KEY, shape, "float32"), np.float64)


def softmax(z: np.ndarray, axis: int = -1) -> np.ndarray:
    shares = np.exp(z - z.max(axis, keepdims=True))
    return shares / shares.sum(axis, keepdims=True)


def softmax_bar(p: np.ndarray, y_bar: np.ndarray, axis: int = -1) -> np.ndarray:
    return p * (y_bar - np.sum(p * y_bar, axis, keepdims=True))


@settings(deadline=None, max_examples=12)
@given(
    name=st.sampled_from([*SAMPLERS]),
    dtype=st.sampled_from(FLOATS),
    shape_and_axis=st.sampled_from([((5,), -1), ((2, 3), 0), ((2, 1, 4), -1), ((0, 3), 1)]),
    seed=st.integers(0, 99),
)
def test_value_and_gradient_are_the_formulas(name, dtype, shape_and_axis, seed):
    shape, axis = shape_and_axis
    logits, y_bar = np.random.RandomState(seed).standard_normal((2, *shape))
    fun = functools.partial(SAMPLERS[name], axis=axis)
    with jax.enable_x64(True):
        logits, y_bar = jnp.asarray(logits, dtype), jnp.asarray(y_bar, dtype)
        run = jax.jit(lambda y_bar, x: value_and_gradients(lambda x: fun(KEY, x), [x], y_bar))
        y, logits_bar = run(y_bar, logits)
        assert (y.shape, y.dtype) == (logits_bar.shape, logits_bar.dtype) == (shape, dtype)
    logits, y_bar, y = (np.asarray(a, np.float64) for a in (logits, y_bar, y))
    z = logits + noise(shape)
    p = softmax(logits if name == "straight_through" else z, axis)
    expected = p if name == "soft" else (z == z.max(axis, keepdims=True))
    eps = 4 * float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(y, expected, atol=eps if name == "soft" else 0)
    assert_close([logits_bar], [softmax_bar(p, y_bar, axis)], 2 * eps)


@every_sampler
def test_the_samples_follow_the_softmax(sampler):
    count, logits = 4000, jnp.asarray(LOGITS[0])
    keys = jax.random.split(jax.random.key(1), count)
    y = jax.jit(jax.vmap(lambda key: sampler(key, logits)))(keys)
    frequencies = np.bincount(np.argmax(y, axis=1), minlength=3) / count
    np.testing.assert_allclose(frequencies, softmax(LOGITS[0]), atol=4 * 0.5 / np.sqrt(count))


@pytest.mark.parametrize("name", ["hard", "straight_through"])
@pytest.mark.parametrize("dtype", FLOATS)
def test_the_sample_is_that_of_categorical_in_every_dtype(name, dtype):
    # At low temperatures and in low precision x − stop_gradient(x) + one-hot would not be exact.
    logits = np.random.RandomState(0).standard_normal((50, 7)).astype("float16")
    expected = jax.nn.one_hot(jax.random.categorical(KEY, jnp.asarray(logits, "float32")), 7)
    with jax.enable_x64(True):
        y = SAMPLERS[name](KEY, jnp.asarray(logits, dtype))
    np.testing.assert_array_equal(np.asarray(y, np.float32), expected)


@every_sampler
def test_a_class_of_logit_minus_infinity_is_never_chosen(sampler):
    logits = jnp.array([0.3, -INF, 0.1, 0.0])
    y, vjp = jax.vjp(lambda logits: sampler(KEY, logits), logits)
    (bar,) = vjp(jnp.arange(4.0))
    assert (y[1], bar[1]) == (0, 0)
    assert np.isfinite(bar).all()
    assert abs(y.sum() - 1) < 1e-6


@pytest.mark.parametrize("name", ["hard", "straight_through"])
@pytest.mark.parametrize("logits", [[0.0, INF, 1.0], [0.0, NAN, 1.0]], ids=str)
def test_an_infinite_or_nan_logit_is_chosen_and_its_gradient_is_nan(name, logits):
    y, vjp = jax.vjp(lambda logits: SAMPLERS[name](KEY, logits), jnp.array(logits))
    assert y.tolist() == [0, 1, 0]
    assert np.isnan(vjp(jnp.arange(3.0))[0]).all()


@pytest.mark.parametrize("hard", [False, True])
def test_the_temperature_is_differentiated(hard):
    with jax.enable_x64(True):
        logits, temperature = jnp.asarray(LOGITS), jnp.asarray(0.7)
        y_bar = np.cos(np.arange(6.0)).reshape(2, 3)

        def sample(logits, temperature, hard=False):
            return jaxfn.gumbel_softmax(KEY, logits, temperature=temperature, hard=hard)

        actual = jax.vjp(functools.partial(sample, hard=hard), logits, temperature)[1](y_bar)
        assert_close(actual, finite_differences(sample, (logits, temperature), y_bar), 1e-8)
        # A schedule of temperatures under jit.
        traced = jax.jit(functools.partial(sample, hard=hard))(logits, temperature)
        chex.assert_trees_all_close(traced, sample(logits, 0.7, hard), rtol=1e-14)


def test_a_low_temperature_comes_near_the_one_hot():
    soft, hard = (SAMPLERS[name](KEY, LOGITS, temperature=0.01) for name in ("soft", "hard"))
    np.testing.assert_allclose(soft, hard, atol=1e-6)


@every_sampler
def test_forward_mode_and_second_derivatives_are_those_of_softmax(sampler):
    with jax.enable_x64(True):
        logits = jnp.asarray(LOGITS[0])
        shift = 0.0 if sampler is jaxfn.onehot_straight_through else noise(3)
        weights = jnp.array([1.0, -2.0, 0.5])

        def fun(logits):
            return jnp.vdot(weights, sampler(KEY, logits))

        def surrogate(logits):
            return jnp.vdot(weights, jax.nn.softmax(logits + shift))

        actual, expected = (
            jax.jit(lambda x, f=f: (jax.jacfwd(f)(x), jax.hessian(f)(x)))(logits)
            for f in (fun, surrogate)
        )
        assert_close(actual, expected, 1e-14)


@every_sampler
@pytest.mark.parametrize("dtype", FLOATS)
def test_the_probabilities_alone_are_kept(sampler, dtype):
    with jax.enable_x64(True):
        logits = jnp.asarray(LOGITS, dtype)
        _, vjp = jax.vjp(lambda logits: sampler(KEY, logits), logits)
        (p,) = [leaf for leaf in jax.tree.leaves(vjp) if leaf.ndim]  # and the temperature
        assert (p.shape, p.dtype.itemsize) == ((2, 3), max(4, logits.dtype.itemsize))


@every_sampler
def test_old_keys_and_numpy_arrays_and_jit(sampler):
    y = sampler(KEY, jnp.asarray(LOGITS))
    old = sampler(jax.random.PRNGKey(0), LOGITS.astype("float32"))
    traced = jax.jit(sampler)(KEY, jnp.asarray(LOGITS))
    chex.assert_trees_all_close(y, old, traced, rtol=1e-6)


def test_the_rule_is_used():
    names = {"soft": "_softmax", "hard": "_one_hot", "straight_through": "_one_hot"}
    for name, sampler in SAMPLERS.items():
        rules = jaxfn.custom_rules(sampler, KEY, jnp.ones(3))
        assert ("custom_jvp", names[name]) in [(rule.kind, rule.name) for rule in rules]


X = jnp.ones((2, 3))


@pytest.mark.parametrize(
    ("args", "kwargs", "error", "message"),
    [
        ((0, X), {}, TypeError, "expected key to be one key of jax.random, got int"),
        ((X, X), {}, TypeError, "one key of jax.random, got an array of dtype float32"),
        ((jax.random.split(KEY), X), {}, ValueError, r"one key of jax.random, got keys \[2\]"),
        ((KEY, jnp.arange(3)), {}, TypeError, "expected logits of dtype .* got int32"),
        ((KEY, [1.0]), {}, TypeError, "expected logits to be an array, got list"),
        ((KEY, jnp.float32(1)), {}, ValueError, r"axis to be one of logits \[\], got axis -1"),
        ((KEY, X), {"axis": 2}, ValueError, r"axis to be one of logits \[2, 3\], got axis 2"),
        ((KEY, X), {"axis": None}, TypeError, "expected axis to be an int, got NoneType"),
        ((KEY, X[:, :0]), {}, ValueError, r"one class along axis 1, got logits \[2, 0\]"),
    ],
)
@pytest.mark.parametrize("name", ["gumbel_softmax", "onehot_straight_through"])
def test_wrong_calls(name, args, kwargs, error, message):
    with pytest.raises(error, match=f"{name}: .*{message}"):
        getattr(jaxfn, name)(*args, **kwargs)


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"temperature": 0}, ValueError, "temperature to be positive and finite, got 0"),
        ({"temperature": NAN}, ValueError, "temperature to be positive and finite, got nan"),
        ({"temperature": X[0]}, ValueError, r"expected temperature \[\], got temperature \[3\]"),
        ({"temperature": jnp.array(1)}, TypeError, "temperature of dtype .* got int32"),
        ({"temperature": "1"}, TypeError, "expected temperature to be an array, got str"),
        ({"hard": 1}, TypeError, "gumbel_softmax: expected hard to be a bool, got int"),
    ],
)
def test_wrong_options(kwargs, error, message):
    with pytest.raises(error, match=message):
        jaxfn.gumbel_softmax(KEY, X, **kwargs)
