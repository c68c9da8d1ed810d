"""What a run meets, and where: every place at which JAX puts a rule."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from jaxfn.auditing.meeting import Recorder
from jaxfn.auditing.running import run

pytestmark = pytest.mark.numbers


@jax.custom_vjp
def sine(x):
    return jnp.sin(x)


sine.defvjp(lambda x: (jnp.sin(x), x), lambda x, g: (jnp.cos(x) * g,))


@jax.custom_jvp
def cosine(x):
    return jnp.cos(x)


cosine.defjvps(lambda x_dot, y, x: -jnp.sin(x) * x_dot)


@jax.custom_vjp
def outer(x):
    return 2 * sine(x)


outer.defvjp(lambda x: (2 * sine(x), x), lambda x, g: (2 * jnp.cos(x) * g,))


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def power(x, n):
    return x**n


power.defvjp(lambda x, n: (x**n, x), lambda n, x, g: (n * x ** (n - 1) * g,))

X = np.array([0.5, -1.0, 2.0], np.float32)


def scanned(x):
    return jax.lax.scan(lambda c, _: (sine(c), None), x, length=9)[0].sum()


def looped(x):
    return jax.lax.while_loop(lambda s: s[0] < 9, lambda s: (s[0] + 1, sine(s[1])), (0, x))[1].sum()


def branched(x):
    return jax.lax.cond(x[0] > 1, lambda x: cosine(x), lambda x: sine(x), x).sum()


def sharded(x):
    mesh = jax.make_mesh((2,), ("i",), axis_types=(AxisType.Auto,))
    part = jax.shard_map(sine, mesh=mesh, in_specs=P("i"), out_specs=P("i"))
    return part(jnp.tile(x, 2)).sum()


PROGRAMS = {
    # program: the calls around; how often it is applied; with how many operands and cotangents
    "at the top": (lambda x: sine(x).sum(), [""], 2, 1),
    "jit": (lambda x: jax.jit(sine)(x).sum(), ["jit(sine)"], 2, 1),
    "scan": (scanned, ["scan"], 18, 9),
    "while": (looped, ["while.body_jaxpr"], 9, 0),
    "checkpoint": (lambda x: jax.checkpoint(sine)(x).sum(), ["checkpoint"], 2, 1),
    "vmap": (lambda x: jax.vmap(sine)(x).sum(), [""], 6, 3),
    "shard_map": (sharded, ["shard_map"], 4, 2),
    "a rule": (lambda x: outer(x).sum(), ["custom_vjp(outer)"], 2, 0),
    "twice": (lambda x: (sine(x) * sine(2 * x)).sum(), ["", ""], 4, 2),
}


def met_by(fun, *args):
    recorder = Recorder()
    ran = run(fun, args, recorder, seed=0)
    return {met.name: met for met in recorder.met.values()}, ran


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_rule_is_met_wherever_it_stands(name):
    fun, where, operands, cotangents = PROGRAMS[name]
    met, ran = met_by(fun, X)
    assert ran.places[met["sine"].number] == where
    assert bool(ran.notes) == (name == "while")  # which has no gradient
    assert met["sine"].values.count == operands
    assert met["sine"].pairs.count == cotangents


def test_only_the_branch_that_is_taken_is_met_with_operands():
    met, ran = met_by(branched, X)
    assert met["sine"].values.count
    assert not met["cosine"].values.count
    assert ran.places[met["cosine"].number] == ["cond.branches[1]"]


def test_operands_and_cotangents_of_the_first_a_middle_and_the_last_iteration():
    met, _ = met_by(scanned, X)
    xs = [X]
    for _ in range(8):
        xs.append(np.sin(xs[-1]))
    found = [pair[0][0] for pair in met["sine"].pairs.chosen()]
    # backwards, as they come back
    assert np.allclose(found[0], xs[8], atol=1e-6)
    assert np.allclose(found[-1], xs[0], atol=1e-6)
    assert any(np.allclose(found[1], x, atol=1e-6) for x in xs[1:8])
    (cotangent,) = met["sine"].pairs.chosen()[0][1]
    assert np.array_equal(cotangent, np.ones(3))


def test_the_cotangents_are_those_that_the_loss_sends():
    met, _ = met_by(lambda x: (sine(x) * jnp.array([1.0, 0.1, -3.0])).sum(), X)
    ((operands, (cotangent,)),) = met["sine"].pairs.chosen()
    assert np.array_equal(operands[0], X)
    assert np.allclose(cotangent, [1.0, 0.1, -3.0])


def test_a_training_step_sends_its_own():
    def step(x):
        loss, gradient = jax.value_and_grad(lambda x: 7 * sine(x).sum())(x)
        return x - 0.1 * gradient, loss

    met, _ = met_by(jax.jit(step), X)
    assert met["sine"].pairs.count == 1
    assert np.allclose(met["sine"].pairs.chosen()[0][1][0], 7)


def test_static_arguments_shapes_and_dtypes_tell_rules_apart():
    recorder = Recorder()
    run(
        lambda x: power(x, 2).sum() + power(x, 3).sum() + power(x[:2], 2).sum() + power(x, n=2)[0],
        (X,),
        recorder,
        seed=0,
    )
    found = sorted(met.signature for met in recorder.met.values())
    assert found == ["f32[2], 2", "f32[3], 2", "f32[3], 3"]


def test_a_rule_made_at_each_call_closes_over_values_of_the_trace():
    def scaled(factor, power):
        @jax.custom_vjp
        def inner(x):
            return factor * x**power

        def backward(saved, g):
            x, factor = saved
            return (factor * power * x ** (power - 1) * g,)

        inner.defvjp(lambda x: (inner(x), (x, factor)), backward)
        return inner

    def fun(x, factor):
        return scaled(factor, 2)(scaled(factor, 2)(x)).sum()

    recorder = Recorder()
    run(fun, (X, np.array(3, np.int32)), recorder, seed=0)
    (met,) = recorder.met.values()
    assert met.signature == "f32[3], i32[] closed over"
    operands, _ = met.pairs.chosen()[0]
    rule = met.with_closed(operands)
    assert np.allclose(rule(jnp.array([2.0])), 12)


def test_what_cannot_be_traced_runs_as_it_is():
    def fun(x):
        return sine(x).sum() if float(x[0]) > 0 else x.sum()

    met, ran = met_by(fun, X)
    assert np.array_equal(met["sine"].values.chosen()[0][0], X)
    assert "operation by operation" in ran.notes[0]
    assert "no cotangent of it is known" in ran.notes[1]


def test_the_error_of_the_program_is_its_own():
    def fun(x):
        raise KeyError(str(sine(x).shape))

    with pytest.raises(KeyError, match="3"):
        met_by(fun, X)


def test_a_compiled_step_is_as_it_was_afterwards():
    step = jax.jit(lambda x: sine(x).sum())
    before = step(X)
    met_by(step, X)
    assert step(X) == before
    assert "callback" not in str(jax.make_jaxpr(step)(X))
    assert jax.custom_vjp.__call__.__module__.startswith("jax.")
