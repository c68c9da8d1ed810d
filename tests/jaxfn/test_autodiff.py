"""`autodiff`: every rule planted here is wrong, so a gradient tells whether one was used."""

import contextlib
import functools
import gc
import weakref
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.experimental import hijax
from jax.extend import core as jex

from jaxfn import autodiff, custom_rules
from tests.jaxfn.planted_rules import (
    PLACES,
    X,
    assert_close,
    body,
    in_root,
    in_shard_map,
    total,
    with_custom_gradient,
    with_custom_jvp,
    with_custom_vjp,
)

pytestmark = pytest.mark.numbers

RULES = {
    "custom_vjp": with_custom_vjp,
    "custom_vjp3": with_custom_vjp,
    "custom_jvp": with_custom_jvp,
    "custom_gradient": with_custom_gradient,
    "custom_vjp in custom_vjp": lambda fun: with_custom_vjp(with_custom_vjp(fun)),
    "custom_vjp in custom_jvp": lambda fun: with_custom_jvp(with_custom_vjp(fun)),
    "custom_jvp in custom_vjp": lambda fun: with_custom_vjp(with_custom_jvp(fun)),
}


@contextlib.contextmanager
def flag(name, value):
    before = jax.config.values[name]
    jax.config.update(name, before or value)
    try:
        yield
    finally:
        jax.config.update(name, before)


@pytest.fixture
def rule(request):
    """Gives a function a wrong rule; "custom_vjp3" is JAX's coming implementation."""
    with flag("jax_custom_vjp3", request.param == "custom_vjp3"):
        yield RULES[request.param]


def for_rules(*names):
    return pytest.mark.parametrize("rule", names, indirect=True)


MODES = {
    "jvp": lambda fun: lambda x: jax.jvp(fun, (x,), (jnp.cos(x),))[1],
    "linearize": lambda fun: lambda x: jax.linearize(fun, x)[1](jnp.cos(x)),
    "grad": lambda fun: jax.grad(total(fun)),
    "grad of jit": lambda fun: jax.grad(total(jax.jit(fun))),
    "jit of grad": lambda fun: jax.jit(jax.grad(total(fun))),
    "grad of checkpoint": lambda fun: jax.grad(total(jax.checkpoint(fun))),
    "vmap of grad": lambda fun: lambda x: jax.vmap(jax.grad(total(fun)))(jnp.stack([x, x + 0.1])),
    "grad of vmap": lambda fun: lambda x: jax.grad(total(jax.vmap(fun)))(jnp.stack([x, x + 0.1])),
    "hessian": lambda fun: jax.jit(jax.hessian(total(fun))),
    "grad of grad": lambda fun: jax.grad(total(jax.grad(total(fun)))),
    "grad of scan": lambda fun: jax.grad(
        lambda x: jax.lax.scan(lambda c, _: (fun(c), None), x, None, length=2)[0].sum()
    ),
    "autodiff": lambda fun: jax.grad(total(autodiff(fun))),
    "shard_map": lambda fun: jax.jit(jax.grad(total(in_shard_map(fun)))),
}


LONG = set(PLACES) - {"jit", "scan", "cond", "checkpoint", "shard_map"}


def with_derivatives(fun, place):
    """A function of x whose values are `fun`'s and those of its derivatives in both modes."""
    if place == "while_loop":  # JAX has no reverse mode for it
        return lambda x: jax.jvp(fun, (x,), (jnp.cos(x),))
    return lambda x: (*jax.jvp(fun, (x,), (jnp.cos(x),)), jax.grad(total(fun))(x))


@functools.cache
def expected(place):
    return jax.jit(with_derivatives(PLACES[place](body), place))(X)


# Of "custom_vjp3", `test_nothing_changes_but_the_rules` sees in every place that it has gone.
EVERYWHERE = [
    pytest.param(rule, place, marks=[pytest.mark.long] * (rule == "custom_vjp3" and place in LONG))
    for rule in ("custom_vjp", "custom_vjp3", "custom_jvp")
    for place in PLACES
]


@pytest.mark.parametrize(("rule", "place"), EVERYWHERE, indirect=["rule"])
def test_the_bodys_derivatives_wherever_the_rule_stands(place, rule):
    fun = autodiff(PLACES[place](rule(body)), custom_jvp=True)
    assert_close(jax.jit(with_derivatives(fun, place))(X), expected(place))


@pytest.mark.optimized
@pytest.mark.parametrize("place", ["alone", "jit", "scan", "checkpoint", "shard_map"])
@for_rules("custom_vjp", "custom_jvp")
def test_value_is_the_functions_own_to_the_bit(place, rule):
    fun = PLACES[place](rule(body))
    np.testing.assert_array_equal(autodiff(fun, custom_jvp=True)(X), fun(X))


@pytest.mark.parametrize("mode", MODES)
def test_the_bodys_derivatives_in_every_mode(mode):
    place = PLACES["scan"]
    fun = autodiff(place(with_custom_vjp(body)))
    assert_close(MODES[mode](fun)(X), MODES[mode](place(body))(X))


@pytest.mark.parametrize("mode", ["jvp", "vmap of grad"])
@for_rules(*RULES)
def test_every_kind_and_nesting_of_rules(mode, rule):
    fun = autodiff(rule(body), custom_jvp=True)
    assert_close(MODES[mode](fun)(X), MODES[mode](body)(X))


def test_custom_jvp_rules_stay_unless_asked_for():
    fun = with_custom_jvp(body)
    assert_close(jax.grad(total(autodiff(fun)))(X), jnp.full(4, 99.0))


def test_custom_root_stays_unless_asked_for():
    fun = autodiff(in_root(with_custom_vjp(body)))
    assert_close(jax.grad(total(fun))(X), jax.grad(total(in_root(body)))(X))
    assert [rule.kind for rule in custom_rules(fun, X)] == ["custom_jvp"]
    assert custom_rules(autodiff(fun, custom_jvp=True), X) == ()


def test_a_rule_that_stays_keeps_working_in_control_flow():
    fun = PLACES["jit in cond in scan"](lambda x: with_custom_vjp(body)(jax.nn.relu(x)))
    got = jax.grad(total(autodiff(fun)))(X)
    assert_close(
        got, jax.grad(total(PLACES["jit in cond in scan"](lambda x: body(jax.nn.relu(x)))))(X)
    )


def test_the_coming_checkpoint():
    with flag("jax_remat3", True):
        fun = jax.checkpoint(with_custom_vjp(body))
        assert [rule.where for rule in custom_rules(fun, X)] != [""]
        assert_close(jax.grad(total(autodiff(fun)))(X), jax.grad(total(body))(X))


def test_a_hijax_primitive():
    names = ("VJPHiPrimitive", "HiPrim")  # jax 0.10, later ones
    base: Any = next(getattr(hijax, name) for name in names if hasattr(hijax, name))

    class Wave(base):
        def __init__(self, aval):
            self.in_avals, self.out_aval, self.params = (aval,), aval, {}
            super().__init__()

        def expand(self, x):
            return body(x)

        def vjp_fwd(self, perturbed, x):
            return self(x), None

        def vjp_bwd_retval(self, residual, g):
            return (99.0 * g,)

    def fun(x):
        return Wave(jax.typeof(x))(x)

    (rule,) = custom_rules(fun, X)
    assert (rule.kind, rule.source) == ("hijax", None)
    assert rule.name.endswith("Wave")
    assert_close(jax.grad(total(fun))(X), jnp.full(4, 99.0))
    assert_close(jax.grad(total(autodiff(jax.jit(fun))))(X), jax.grad(total(body))(X))


def test_a_derivative_inside_fun_has_used_the_rule():
    fun = jax.grad(with_custom_vjp(body))
    assert fun(1.2) == autodiff(fun)(1.2) == 99.0


# Structure


def primitives(jaxpr):
    """The names of the primitives in `jaxpr`, those in its calls included, without plain calls."""
    for eqn in jaxpr.eqns:
        if eqn.primitive is not jex.primitives.closed_call_p:
            yield eqn.primitive.name
        for inner in jex.jaxprs_in_params(eqn.params):
            yield from primitives(inner)


@pytest.mark.present_checkpoint
@pytest.mark.parametrize("place", [p for p in PLACES if p != "custom_root"])  # a rule that stays
@for_rules("custom_vjp3", "custom_jvp in custom_vjp")
def test_nothing_changes_but_the_rules(place, rule):
    fun = autodiff(PLACES[place](rule(body)), custom_jvp=True)
    left = list(primitives(jax.make_jaxpr(jax.jit(fun))(X).jaxpr))
    assert left == list(primitives(jax.make_jaxpr(jax.jit(PLACES[place](body)))(X).jaxpr))
    assert not {"custom_vjp_call", "custom_jvp_call", "call_hi_primitive"} & set(left)


@pytest.mark.present_checkpoint
def test_jit_and_checkpoint_keep_their_parameters():
    policy = jax.checkpoint_policies.dots_saveable
    inner = jax.checkpoint(with_custom_vjp(body), policy=policy, prevent_cse=False)
    fun = jax.jit(inner, donate_argnums=0, inline=False)
    (before,) = jax.make_jaxpr(fun)(X).eqns
    (after,) = jax.make_jaxpr(autodiff(fun))(X).eqns
    assert {k: v for k, v in after.params.items() if k != "jaxpr"} == {
        k: v for k, v in before.params.items() if k != "jaxpr"
    }
    (remat,) = after.params["jaxpr"].eqns
    assert remat.params["policy"] is policy
    assert not remat.params["prevent_cse"]


def test_no_rule_no_change():
    def fun(x):
        return jax.lax.scan(lambda c, v: (jax.jit(body)(c), v), x, x)[0]

    assert str(jax.make_jaxpr(autodiff(fun, custom_jvp=True))(X)) == str(jax.make_jaxpr(fun)(X))


def test_called_eagerly_it_compiles_once():
    # JAX finds what it has compiled by the identity of jaxprs.
    fun = autodiff(jax.jit(with_custom_vjp(body)))
    (first,), (second,) = jax.make_jaxpr(fun)(X).eqns, jax.make_jaxpr(fun)(X).eqns
    assert first.params["jaxpr"] is second.params["jaxpr"]


def test_nothing_is_kept_alive():
    array = np.arange(4.0, dtype=np.float32)
    fun = jax.jit(lambda x: with_custom_vjp(body)(x) * array)
    autodiff(fun)(X)
    (eqn,) = jax.make_jaxpr(fun)(X).eqns
    jaxpr = weakref.ref(eqn.params["jaxpr"])
    del eqn, fun
    jax.clear_caches()
    gc.collect()
    assert jaxpr() is None


LAYERS = {name: PLACES[name] for name in ("jit", "checkpoint", "cond")} | {
    "scan": lambda op: lambda x: jax.lax.scan(lambda c, _: (op(c), None), x, None, length=2)[0]
}
NOTHING = {"rule": with_custom_vjp, "autodiff": autodiff}  # adds no operation to the body


@settings(max_examples=12, deadline=None, derandomize=True, database=None)
@given(st.lists(st.sampled_from(sorted(LAYERS | NOTHING)), max_size=4), st.booleans())
def test_any_nesting(names, batched):
    op, twin = with_custom_vjp(body), body
    for name in names:
        op = (LAYERS | NOTHING)[name](op)
        twin = LAYERS.get(name, lambda fun: fun)(twin)
    op, twin = (jax.vmap(op), jax.vmap(twin)) if batched else (op, twin)
    x = jnp.stack([X, X + 0.1]) if batched else X
    both = jax.jit(lambda x: (jax.grad(total(autodiff(op)))(x), jax.grad(total(twin))(x)))
    assert_close(*both(x))
