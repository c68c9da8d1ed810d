"""Each kind of error is named for what it is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxfn.verification import gradcheck


def normal(*shape):
    return np.random.default_rng(shape).standard_normal(shape).astype(np.float32)


def ruled(fun, backward, recursive=False):
    op = jax.custom_vjp(fun)
    inner = op if recursive else fun
    op.defvjp(lambda *args: (inner(*args), args), lambda args, g: backward(*args, g))
    return op


def bisect(c):
    def step(_, ends):
        middle = (ends[0] + ends[1]) / 2
        above = middle**3 + middle > c
        return jnp.where(above, ends[0], middle), jnp.where(above, middle, ends[1])

    low, high = lax.fori_loop(0, 60, step, (jnp.full_like(c, -9), jnp.full_like(c, 9)))
    return (low + high) / 2


def two(x):
    return jnp.sin(x), jnp.exp(x)


def _without(x, t, g):
    return g * jnp.cos(x / t), -jnp.sum(g * jnp.cos(x / t) * x) / t**2


def _singular(x):
    return jnp.linalg.svd(x, compute_uv=False)


def _transposed(x, g):
    u, _, v = jnp.linalg.svd(x)
    return (u * g) @ v.T


def _standard(x):
    return (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True)


def _standard_all(x):
    return (x - x.mean()) / x.std()


def _through(scores, g):
    p = jax.nn.softmax(scores)
    return p * (g - jnp.sum(g * p))


X, SQUARE = normal(5), normal(3, 3)

CASES = {
    "not transposed": (
        ruled(lambda x: SQUARE @ x, lambda x, g: (SQUARE @ g,)),
        (normal(3),),
        "transposed",
        "not through its transpose (adjoint)",
    ),
    "not reversed": (
        ruled(lambda x: jnp.cumsum(x), lambda x, g: (jnp.cumsum(g),)),
        (X,),
        "transposed",
        "not transposed or reversed",
    ),
    "another order": (
        ruled(lambda x: x.reshape(-1) ** 2, lambda x, g: (2 * (x.ravel() * g).reshape(3, 2).T,)),
        (normal(2, 3),),
        "elements",
        "are in another order",
    ),
    "sign of a difference": (
        ruled(lambda x, y: jnp.sin(x - y), lambda x, y, g: (g * jnp.cos(x - y),) * 2),
        (X, X + 1),
        "sign",
        "wrong sign: -1 times the expected gradient of y",
    ),
    "exchanged": (
        ruled(lambda x, y: x * y, lambda x, y, g: (g * x, g * y)),
        (X, X + 1),
        "exchanged",
        "the gradients of x and y are exchanged",
    ),
    "exchanged outputs": (
        ruled(two, lambda x, g: (g[1] * jnp.cos(x) + g[0] * jnp.exp(x),)),
        (X,),
        "exchanged",
        "the cotangents of outputs 0 and 1 are exchanged",
    ),
    "ignored output": (
        ruled(two, lambda x, g: (g[0] * jnp.cos(x),)),
        (X,),
        "dropped-term",
        "the cotangent of output 1 is ignored",
    ),
    "sign of one output": (
        ruled(two, lambda x, g: (g[0] * jnp.cos(x) - g[1] * jnp.exp(x),)),
        (X,),
        "sign",
        "that comes from output 1",
    ),
    "factor of the arguments": (
        ruled(lambda x: jnp.tanh(jnp.sum(x**3)), lambda x, g: (3 * g * x**2,)),
        (X,),
        "scale",
        "a factor that depends on the arguments is missing or wrong",
    ),
    "factor of the output": (
        ruled(lambda x: jnp.sqrt(jnp.sum(x**2)), lambda x, g: (g * x,)),
        (X,),
        "scale",
        "the output times the expected value",
    ),
    "factor of an argument": (
        ruled(lambda x, t: jnp.sin(x / t), lambda x, t, g: _without(x, t, g)),
        (X, np.float32(1.5)),
        "scale",
        "t times the expected value",
    ),
    "factor in common": (
        ruled(
            jnp.arctan2,
            lambda y, x, g: (g * x / jnp.hypot(x, y) ** 1.5, -g * y / jnp.hypot(x, y) ** 1.5),
        ),
        (X, X + 1),
        "scale",
        "off by the same factor",
    ),
    "only the diagonal": (
        ruled(lambda x: jnp.cumsum(x**2), lambda x, g: (2 * g * x,)),
        (X,),
        "dropped-term",
        "only its diagonal is there",
    ),
    "what does not belong there": (
        ruled(lambda x: jnp.max(x, 1), lambda x, g: (g[:, None] * (x >= jnp.median(x)),)),
        (SQUARE,),
        "extra-term",
        "should be zero and are not",
    ),
    "sign of a column": (
        ruled(lambda x: x**2, lambda x, g: ((2 * g * x).at[:, 1].multiply(-1),)),
        (SQUARE,),
        "elements",
        "(index 1 of axis 1): wrong sign there",
    ),
    "digits that cancel": (
        ruled(jax.nn.log_sigmoid, lambda x, g: (g * (1 - jax.nn.sigmoid(x)),)),
        (np.array([1, 30, 50], np.float32),),
        "low-precision",
        "as where digits cancel",
    ),
    "conjugate": (
        ruled(jnp.conj, lambda z, g: (g,)),
        ((X + 1j * X[::-1]).astype(np.complex64),),
        "conjugate",
        "the conjugate of the expected gradient",
    ),
    "sign where autodiff is zero": (
        ruled(bisect, lambda c, g: (-g / (3 * bisect(c) ** 2 + 1),), recursive=True),
        (X,),
        "sign",
        "-1 times the slope of the function's values",
    ),
    "elements that integers choose": (
        ruled(
            lambda table, i: table[i] ** 2,
            lambda table, i, g: (jnp.zeros_like(table).at[i[1:]].add(2 * (table[i] * g)[1:]), None),
        ),
        (normal(6, 2), np.array([4, 1, 2])),
        "elements",
        "in 2 of 12 elements: [4, 0], [4, 1]",
    ),
    "elements that integers mark": (
        ruled(
            lambda x, mask: jnp.where(mask, jnp.sin(x), 0.0),
            lambda x, mask, g: (g * jnp.cos(x), None),
        ),
        (normal(4), np.array([True, False, True, True])),
        "extra-term",
        "should be zero and are not, where mask == False",
    ),
    "elements that labels name": (
        ruled(
            lambda x, i: -jnp.take_along_axis(jax.nn.log_softmax(x), i[:, None], 1).sum(),
            lambda x, i, g: (g * jax.nn.softmax(x), None),
        ),
        (normal(4, 5), np.array([1, 0, 3, 4])),
        "elements",
        "at the element along axis 1 that i names for each row",
    ),
    "shifted out of its end": (
        ruled(lambda x: jnp.pad(x, (2, 1)), lambda x, g: (g[1:6],)),
        (X,),
        "elements",
        "shifted by -1 along axis 0 of the output",
    ),
    "a residual of the other sign": (
        ruled(jax.nn.log_sigmoid, lambda x, g: (g * jax.nn.sigmoid(x),)),
        (X,),
        "elements",
        "the one expected at -x",
    ),
    "residuals in another order": (
        ruled(
            lambda x, y: jnp.sin(x) * jnp.exp(y),
            lambda x, y, g: (g * jnp.cos(y) * jnp.exp(x), g * jnp.sin(x) * jnp.exp(y)),
        ),
        (X, normal(5, 1)[:, 0]),
        "elements",
        "the one expected with x and y exchanged",
    ),
    "the output for a residual": (
        ruled(jnp.arctan, lambda x, g: (g / (1 + jnp.arctan(x) ** 2),)),
        (X,),
        "elements",
        "the one expected with the output in place of x",
    ),
    "without its output": (
        ruled(lambda x: jnp.exp(-x * x), lambda x, g: (-2 * x * g,)),
        (X,),
        "scale",
        "1/the output times the expected value",
    ),
    "clipped where others are far larger": (
        ruled(jnp.exp, lambda x, g: (g * jnp.exp(jnp.minimum(x, 10)),)),
        (X,),
        "region",
        "wrong where x >= 1",
    ),
    "infinite at zero and wrong elsewhere": (
        ruled(
            lambda x, n: x**n,
            lambda x, n, g: (g * n * x ** (n - 1), g * jnp.log(x) * x ** (2 * n + 0.1 * x) / x**n),
        ),
        (jnp.abs(X) + 0.5, jnp.abs(normal(5, 1)[:, 0]) + 0.5),
        "dropped-term",
        "of n is missing or wrong",
    ),
    "taken for another's": (
        ruled(lambda x, y: x * y, lambda x, y, g: (g * y, g * y)),
        (X, X + 1),
        "exchanged",
        "the gradient of y is the one expected of x",
    ),
    "times i": (
        ruled(lambda z: z**2, lambda z, g: (2j * z * g,)),
        ((X + 1j * X[::-1]).astype(np.complex64),),
        "scale",
        "1j times the expected gradient",
    ),
    "a factor of each output": (
        ruled(lambda x: jnp.sum(x**2, 1), lambda x, g: (x * (g * jnp.array([2, 3, 5]))[:, None],)),
        (SQUARE,),
        "scale",
        "one factor for each element of the output (1, 1.5, 2.5)",
    ),
    "twice some outputs": (
        ruled(lambda x: jnp.sum(x, 1), lambda x, g: ((x * 0 + 1) * g.at[0].multiply(2)[:, None],)),
        (SQUARE,),
        "scale",
        "2 times the expected value in the gradient of x, for each element of the output",
    ),
    "counts": (
        ruled(
            lambda x: jnp.stack([jnp.mean(x[:2]), jnp.mean(x[2:])]),
            lambda x, g: (g[jnp.array([0, 0, 1, 1, 1])],),
        ),
        (X,),
        "sum-for-mean",
        "whole numbers, as of a sum where a mean is expected",
    ),
    "averaged over an axis": (
        ruled(jnp.sin, lambda x, g: (jnp.mean(g, 1, keepdims=True) * jnp.cos(x[:, :1] + 0 * x),)),
        (np.repeat(normal(3, 1), 3, axis=1),),
        "mean-for-sum",
        "the mean over axis 1 of the cotangent",
    ),
    "another mask": (
        ruled(
            lambda x: jnp.where(jnp.array([True, True, False, False, True]), jnp.sin(x), 0.0),
            lambda x, g: (g * jnp.cos(x) * jnp.array([1, 0, 1, 0, 1]),),
        ),
        (X,),
        "elements",
        "1 entries of the Jacobian of x are zero and should not be, 1 are not zero",
    ),
    "zero for large arguments": (
        ruled(jnp.arcsinh, lambda x, g: (jnp.where(abs(x) < 30, g / jnp.sqrt(1 + x**2), 0.0),)),
        (X,),
        "zero-region",
        "is zero where |x| >= 3",
    ),
    "zero outside of an interval": (
        ruled(jnp.arctan, lambda x, g: (jnp.where((x > -3) & (x < 0.5), g / (1 + x**2), 0.0),)),
        (X,),
        "zero-region",
        "is zero where x <= -3 or x >= 0.5",
    ),
    "a residual in eight bits": (
        ruled(jnp.tanh, lambda x, g: (g * (1 - (jnp.round(127 * jnp.tanh(x)) / 127) ** 2),)),
        (normal(6, 5),),
        "low-precision",
        "is rounded: along a line",
    ),
    "softmax over the other axis": (
        ruled(lambda x: jax.nn.logsumexp(x, 1), lambda x, g: (g[:, None] * jax.nn.softmax(x, 0),)),
        (normal(5, 5),),
        "elements",
        "is normalised along axis 0",
    ),
    "vectors transposed": (
        ruled(_singular, lambda x, g: (_transposed(x, g),)),
        (normal(4, 4),),
        "transposed",
        "the expected singular values and other singular vectors",
    ),
    "values not turned": (
        ruled(lambda x: jnp.sum(_singular(x)), lambda x, g: (g * x,)),
        (normal(4, 4),),
        "scale",
        "the expected singular vectors and other singular values",
    ),
    "no projection": (
        ruled(
            lambda x: x / jnp.linalg.norm(x, axis=1, keepdims=True),
            lambda x, g: (g / jnp.linalg.norm(x, axis=1, keepdims=True),),
        ),
        (normal(3, 5),),
        "dropped-term",
        "is missing in the gradient of x: it is held constant",
    ),
    "half a term": (
        ruled(
            lambda x: x * jnp.exp(jnp.mean(x, axis=1, keepdims=True)),
            lambda x, g: (
                jnp.exp(jnp.mean(x, axis=1, keepdims=True))
                * (g + jnp.sum(g * x, axis=1, keepdims=True) / 2 / x.shape[1]),
            ),
        ),
        (normal(3, 5),),
        "scale",
        "is 0.5 times the expected one in the gradient of x",
    ),
    "a mean too much": (
        ruled(lambda x: 2 * x, lambda x, g: (2 * g + jnp.mean(g, axis=1, keepdims=True),)),
        (normal(3, 5),),
        "dropped-term",
        "is a multiple of ones, another one for each row along axis 1",
    ),
    "a sum over too much": (
        ruled(_standard, lambda x, g: (jax.vjp(_standard_all, x)[1](g)[0],)),
        (normal(3, 4),),
        "extra-term",
        "contributions that do not belong there",
    ),
    "the other offset": (
        ruled(
            lambda x: x[1:] * x[:-1] ** 2,
            lambda x, g: (jnp.zeros_like(x).at[1:].set(g * x[1:]).at[2:].add(g[:-1]),),
        ),
        (normal(7),),
        "elements",
        "comes from other places than it should",
    ),
    "an argument without effect": (
        ruled(
            lambda x, y: jnp.sum(jnp.sin(x + y)),
            lambda x, y, g: (g * jnp.cos(x), g * jnp.cos(x + y)),
        ),
        (X, X[::-1] + 1),
        "dropped-term",
        "does not change with y, as it should",
    ),
    "conjugate and mean": (
        ruled(lambda z: jnp.fft.fft(z), lambda z, g: (jnp.fft.ifft(g),)),
        ((normal(6) + 1j * normal(6)[::-1]).astype(np.complex64),),
        "scale",
        "0.166667 times the conjugate of the expected gradient",
    ),
    "not a number at infinity": (
        ruled(
            lambda x, y: jax.nn.softmax(x + y),
            lambda x, y, g: (_through(x + y, g), _through(x + y, g) * (1 + y - y)),
        ),
        (X, np.array([0, -np.inf, 0, 0, -np.inf], np.float32)),
        "nan",
        "is nan where y is -inf",
    ),
    "for a large norm": (
        ruled(
            lambda x: jnp.sqrt(1 + x @ x),
            lambda x, g: (jnp.where(x @ x < 25, 1, 1 + x[::-1] * x) * g * x / jnp.sqrt(1 + x @ x),),
        ),
        (X,),
        "region",
        "where ‖x‖ >= ",
    ),
}

# What is diagnosed is what autodiff shows to be wrong, or what these show.
ASKED = {"digits that cancel": ("autodiff", "differences")}
# These have the pattern of another case, in another combination.
LONG = {
    "sign of one output",
    "factor of an argument",
    "without its output",
    "infinite at zero and wrong elsewhere",
    "conjugate and mean",
    "twice some outputs",
    "vectors transposed",
    "what does not belong there",
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.long] if name in LONG else []) for name in CASES],
)
def test_cause(name):
    fun, args, cause, said = CASES[name]
    report = gradcheck(fun, args, layers=ASKED.get(name, ("autodiff",)), raise_exception=False)
    assert report.verdict == "fail"
    assert said in report.diagnosis
    assert report.cause == cause


def test_a_tangent_rule_that_is_not_linear():
    @jax.custom_jvp
    def sine(x):
        return jnp.sin(x)

    sine.defjvp(lambda primals, tangents: (jnp.sin(*primals), abs(*tangents) * jnp.cos(*primals)))
    report = gradcheck(sine, (X,), raise_exception=False)
    assert report.cause == "nonlinear"
    assert (
        "the tangent rule is not linear in the tangents: -1 times a tangent does not give -1 times"
        in report.diagnosis
    )
    sine.defjvp(lambda primals, t: (jnp.sin(*primals), t[0] * abs(t[0]) * jnp.cos(*primals)))
    report = gradcheck(sine, (X,), raise_exception=False)
    assert report.cause == "nonlinear"
    assert (
        "the tangent rule is not linear in the tangents: 2 times a tangent does not give 2 times"
        in report.diagnosis
    )


def test_a_state_that_counts_calls():
    calls = []

    def backward(x, g):
        calls.append(x)
        return (g * jnp.cos(x) * (1.0 if len(calls) < 3 else 1.1),)

    report = gradcheck(ruled(jnp.sin, backward), (X,), order=1, raise_exception=False)
    assert report.cause == "jit"
    assert "right when traced, wrong without jit" in report.diagnosis


def test_how_far_off_a_term_is():
    rule = ruled(lambda x: jax.nn.softmax(x * x), lambda x, g: (2 * x * g * jax.nn.softmax(x * x),))
    report = gradcheck(rule, (X,), layers=("autodiff",), raise_exception=False)
    assert report.cause == "dropped-term"
