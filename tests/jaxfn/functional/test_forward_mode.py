"""Forward mode and Hessians: where an operation has them, and where JAX raises."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxfn
from scripts.cases import Case, attention, gradient, layers, spike, straight_through, transformer
from tests.jaxfn.functional.oracles import assert_close, cotangent

pytestmark = pytest.mark.numbers

PLAIN = ("avg_pool2d",)  # of the layers, those without a custom_vjp
CASES = [
    case
    for topic in (straight_through, spike, gradient, transformer)
    for case in topic.CASES
    if case.linear_in_cotangent
]
CASES += [case for case in layers.CASES if case.name in PLAIN]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_tangents_and_hessians_are_those_of_the_reference(case: Case):
    def derivatives(fun, x, *rest):
        dots = tuple(map(cotangent, (x, *rest)))
        y, y_dot = jax.jvp(fun, (x, *rest), dots)
        of_one = [
            a[:1] if batched else a for a, batched in zip(rest, case.batched[1:], strict=True)
        ]
        hessian = jax.hessian(lambda x: jnp.sum(jnp.sin(fun(x, *of_one))))(x[:1])
        return y, y_dot, hessian, jax.linearize(fun, x, *rest)[1](*dots)

    with jax.enable_x64(True):
        args = case.args(dtype=np.float64)
        actual, expected = (
            jax.jit(lambda *args, f=f: derivatives(f, *args))(*args)
            for f in (case.operation, case.reference)
        )
        assert_close(actual, expected, 1e-13)


CLIPPING = [case for case in gradient.CASES if not case.linear_in_cotangent]
LAYERS = [case for case in layers.CASES if case.name not in PLAIN] + [*attention.CASES]
CUSTOM_VJP = [*LAYERS, *CLIPPING]


@pytest.mark.parametrize("case", CUSTOM_VJP, ids=[case.name for case in CUSTOM_VJP])
def test_a_custom_vjp_has_forward_mode_by_autodiff_alone(case: Case):
    def tangents(fun, *args):
        return jax.jvp(fun, args, tuple(map(cotangent, args)))

    args = case.args()
    for mode in (lambda *args: tangents(case.operation, *args), jax.jacfwd(case.operation)):
        for transformed in (mode, jax.jit(mode)):
            with pytest.raises(TypeError, match="custom_vjp"):
                transformed(*args)
    plain = jaxfn.autodiff(case.operation)
    jax.eval_shape(jax.jacfwd(plain), *args)
    same_value = (lambda x: x) if case in CLIPPING else case.reference
    with jax.enable_x64(True):
        args = case.args(dtype=np.float64)
        actual, expected = (
            jax.jit(lambda *args, f=f: tangents(f, *args))(*args) for f in (plain, same_value)
        )
        assert_close(actual, expected, 1e-13)


@pytest.mark.parametrize("case", LAYERS, ids=[case.name for case in LAYERS])
def test_a_hessian_of_a_layer_is_that_of_the_reference(case: Case):
    def hessian(fun, x, *rest):
        return jax.hessian(lambda x: jnp.sum(jnp.sin(fun(x, *rest))))(x)

    with jax.enable_x64(True):
        args = case.args(dtype=np.float64)
        actual, expected = (
            jax.jit(lambda *args, f=f: hessian(f, *args))(*args)
            for f in (case.operation, case.reference)
        )
        assert_close(actual, expected, 1e-12)


@pytest.mark.parametrize("case", CLIPPING, ids=[case.name for case in CLIPPING])
def test_a_hessian_of_a_clipped_gradient_takes_two_reverse_modes(case: Case):
    (x,) = case.args()

    def total(x):
        return jnp.sum(jnp.sin(case.operation(x)))

    with pytest.raises(TypeError, match="custom_vjp"):
        jax.eval_shape(jax.hessian(total), x)
    assert jax.eval_shape(jax.jacrev(jax.jacrev(total)), x).shape == (*x.shape, *x.shape)
