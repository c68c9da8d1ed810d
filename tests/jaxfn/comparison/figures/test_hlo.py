"""Programs that are the same are recognised, and others are not."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from jaxfn.comparison.figures import hlo
from tests.jaxfn.comparison.helpers import normal

X = normal(4, 8)


def fingerprint(fun, *args) -> str:
    text = jax.jit(fun).lower(*args).compile().as_text()
    assert text is not None
    return hlo.fingerprint(hlo.parse(text))


def one(x, w):
    return jnp.tanh(x @ w).sum(0)


def another(y, weight):
    """The same under other names, and on other lines."""
    product = jax.jit(jnp.matmul)(y, weight)
    return jax.checkpoint(jnp.tanh)(product).sum(0)


def test_names_and_places_do_not_count():
    assert fingerprint(one, X, X.T) == fingerprint(another, X, X.T)


def in_loop(order):
    def fun(x, y):
        def body(state, _):
            state = dict(state)
            return {"a": jnp.sin(state["a"]), "b": jnp.cos(state["b"]) @ state["b"].T @ y}, None

        state = lax.scan(body, {"a": x, "b": y}, None, length=3)[0]
        return state["a"], state["b"]

    def tuples(x, y):
        def body(state, _):
            b, a = state
            return (jnp.cos(b) @ b.T @ y, jnp.sin(a)), None

        b, a = lax.scan(body, (y, x), None, length=3)[0]
        return a, b

    return fun if order == "ab" else tuples


def test_the_order_of_a_loop_s_state_does_not_count():
    args = (X, normal(8, 3))
    assert fingerprint(in_loop("ab"), *args) == fingerprint(in_loop("ba"), *args)


@pytest.mark.parametrize(
    "other",
    [
        lambda x, w: jnp.tanh(x @ w).sum(1),
        lambda x, w: jnp.sin(x @ w).sum(0),
        lambda x, w: jnp.tanh(x @ w).sum(0) * 2,
        lambda x, w: jnp.tanh(x @ w + x @ w * 3).sum(0),
        lambda x, w: jnp.tanh(w.T @ x.T).sum(0),
    ],
)
def test_other_programs_differ(other):
    assert fingerprint(one, X, X.T) != fingerprint(other, X, X.T)


def test_a_constant_and_an_order_of_operands_count():
    assert fingerprint(lambda x: x - 2, X) != fingerprint(lambda x: x - 3, X)
    args = (X, X + 1)
    assert fingerprint(lambda x, y: x - y, *args) != fingerprint(lambda x, y: y - x, *args)


def test_parses_every_instruction():
    text = """HloModule jit_f, entry_computation_layout={(f32[2]{0})->(f32[2]{0}, s32[])}

%wide (p: (f32[2], /*index=1*/s32[])) -> f32[2] {
  %p = (f32[2]{0}, /*index=1*/s32[]) parameter(0), metadata={op_name="a(b{c})" source_line=3}
  ROOT %g = f32[2]{0} get-tuple-element(%p), index=0
}

ENTRY %main (x: f32[2]) -> (f32[2], s32[]) {
  %x = f32[2]{0} parameter(0)
  %c = f32[] constant(1)
  %f = f32[2]{0} fusion(%x, %c), kind=kLoop, calls=%wide, metadata={op_name="x/(y"}
  ROOT %t = (f32[2]{0}, s32[]) tuple(%f, %c)
}
"""
    module = hlo.parse(text)
    assert module.entry == "%main"
    assert [own.opcode for own in module] == [
        *("parameter", "get-tuple-element"),
        *("parameter", "constant", "fusion", "tuple"),
    ]
    fusion = module.computations["%main"][2]
    assert (fusion.type, fusion.operands) == ("f32[2]{0}", "%x, %c")
    assert fusion.attributes == ", kind=kLoop, calls=%wide"
    assert hlo.fingerprint(module) == hlo.fingerprint(hlo.parse(text.replace("%wide", "%narrow")))
    assert hlo.fingerprint(module) != hlo.fingerprint(hlo.parse(text.replace("kLoop", "kInput")))
