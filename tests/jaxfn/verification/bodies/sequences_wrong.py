"""Wrong rules of recurrences and of iterations to a fixed point."""

import jax
import jax.numpy as jnp
from jax import lax

from tests.jaxfn.verification.bodies.body import Body
from tests.jaxfn.verification.bodies.case import array, normal, positive, rule
from tests.jaxfn.verification.bodies.witnesses import (
    gradient,
)

body = Body()


# Recurrences.


def _recurrence(a, x):
    return lax.scan(lambda c, t: (a * c + t,) * 2, jnp.zeros_like(x[0]), x)[1]


def _adjoint(a, g, direction=True):
    return lax.scan(lambda c, t: (a * c + t,) * 2, jnp.zeros_like(g[0]), g, reverse=direction)[1]


def _recurrence_backward(carry=True, reverse=True, shift=True):
    def backward(a, x, g):
        dx = _adjoint(a, g, reverse) if carry else g
        y = _recurrence(a, x)
        before = jnp.concatenate([jnp.zeros_like(y[:1]), y[:-1]]) if shift else y
        return jnp.sum(dx * before), dx

    return backward


for _name, _cause, _error in [
    ("linear_recurrence_without_its_carry", "dropped-term", {"carry": False}),
    ("linear_recurrence_not_reversed", "other", {"reverse": False}),
    ("linear_recurrence_with_the_later_state", "other", {"shift": False}),
]:
    body.wrong(_cause, array(0.7), normal(6), name=_name)(
        rule(_recurrence_backward(**_error))(_recurrence)
    )


def _rnn(w, x):
    return lax.scan(lambda h, t: (jnp.tanh(w @ h + t), None), jnp.zeros_like(x[0]), x)[0]


def _truncated_to(steps):
    def backward(w, x, g):
        start = lax.scan(lambda h, t: (jnp.tanh(w @ h + t), None), jnp.zeros_like(x[0]), x[:-steps])
        late = jax.vjp(
            lambda w, tail: lax.scan(lambda h, t: (jnp.tanh(w @ h + t), None), start[0], tail)[0],
            w,
            x[-steps:],
        )[1](g)
        return late[0], jnp.concatenate([jnp.zeros_like(x[:-steps]), late[1]])

    return backward


body.wrong("dropped-term", 0.5 * normal(3, 3), normal(6, 3), name="rnn_truncated_to_two_steps")(
    rule(_truncated_to(2))(_rnn)
)


def _rnn_transposed(w, x, g):
    dw, dx = jax.vjp(_rnn, w, x)[1](g)
    return dw.T, dx


body.wrong(
    "transposed", 0.5 * normal(3, 3), normal(4, 3), name="rnn_with_a_transposed_recurrent_weight"
)(rule(_rnn_transposed)(_rnn))


def _gated(w, xs, gradient_of_reset):
    def step(h, x):
        update, reset = jax.nn.sigmoid(w[0] * h + x), jax.nn.sigmoid(w[1] * h + x)
        reset = reset if gradient_of_reset else lax.stop_gradient(reset)
        return ((1 - update) * h + update * jnp.tanh(w[2] * reset * h + x),) * 2

    return lax.scan(step, jnp.zeros_like(xs[0]), xs)[1]


def _gru(w, xs):
    return _gated(w, xs, True)


def _gru_without_reset(w, xs, g):
    return jax.vjp(lambda w, xs: _gated(w, xs, False), w, xs)[1](g)


body.wrong("dropped-term", normal(3, 2), normal(5, 2), name="gru_without_its_reset_gate")(
    rule(_gru_without_reset)(_gru)
)


def _average(decay, x):
    return lax.scan(lambda c, t: ((1 - decay) * c + decay * t,) * 2, x[0], x)[1]


@body.wrong("dropped-term", array(0.3), normal(6))
@rule(lambda decay, x, g: (jnp.sum(g * x), jax.vjp(_average, decay, x)[1](g)[1]))
def moving_average_with_a_local_gradient_of_its_decay(decay, x):
    return _average(decay, x)


def _last_and_all(w, x):
    def step(h, t):
        h = jnp.tanh(w * h + t)
        return h, h

    return lax.scan(step, jnp.zeros_like(x[0]), x)


@body.wrong("dropped-term", array(0.8), normal(5))
@rule(lambda w, x, g: jax.vjp(lambda w, x: _last_and_all(w, x)[1], w, x)[1](g[1]))
def recurrence_that_ignores_the_cotangent_of_its_carry(w, x):
    return _last_and_all(w, x)


def _discounted(rewards, discount):
    def step(c, r):
        return (r + discount * c,) * 2

    return lax.scan(step, jnp.zeros_like(rewards[0]), rewards, reverse=True)[1]


@body.wrong("other", normal(6), array(0.9))
@rule(lambda r, d, g: (_discounted(g, d), jax.vjp(_discounted, r, d)[1](g)[1]))
def discounted_returns_with_their_own_adjoint(rewards, discount):
    return _discounted(rewards, discount)


def _compose(left, right):
    return left[0] * right[0], right[0] * left[1] + right[1]


def _associative(a, b):
    return lax.associative_scan(_compose, (a, b))[1]


@body.wrong("other", positive(7), normal(7))
@rule(
    lambda a, b, g: (
        jax.vjp(_associative, a, b)[1](g)[0],
        _associative(a[::-1], g[::-1])[::-1],
    )
)
def associative_recurrence_with_coefficients_not_shifted(a, b):
    return _associative(a, b)


def _forward_algorithm(log_transition, log_emission):
    def step(alpha, e):
        return jax.nn.logsumexp(alpha[:, None] + log_transition, axis=0) + e, None

    return jax.nn.logsumexp(lax.scan(step, log_emission[0], log_emission[1:])[0])


def _only_last_posterior(log_transition, log_emission, g):
    dt, de = jax.vjp(_forward_algorithm, log_transition, log_emission)[1](g)
    return dt, jnp.zeros_like(de).at[-1].set(de[-1])


body.wrong("dropped-term", normal(3, 3), normal(5, 3), name="forward_algorithm_last_step_only")(
    rule(_only_last_posterior)(_forward_algorithm)
)


def _euler(theta, y):
    return lax.scan(lambda y, _: (y + 0.1 * jnp.tanh(theta @ y), None), y, None, length=8)[0]


def _adjoint_without_midpoints(theta, y, g):
    final = _euler(theta, y)
    lam, slope = g, jnp.zeros_like(theta)
    for _ in range(8):
        lam_theta, lam_y = jax.vjp(lambda t, v: jnp.tanh(t @ v), theta, final)[1](lam)
        lam, slope = lam + 0.1 * lam_y, slope + 0.1 * lam_theta
    return slope, lam


body.wrong("other", normal(3, 3), normal(3), name="neural_ode_adjoint_at_the_final_state_only")(
    rule(_adjoint_without_midpoints)(_euler)
)


# Iterations to a fixed point; their plain functions are differentiated through the solution.


def _fixed_point(a, b):
    def step(state):
        x, _ = state
        return jnp.tanh(a * x + b), x

    start = jnp.zeros_like(b)
    return lax.while_loop(lambda s: jnp.max(jnp.abs(s[0] - s[1])) > 1e-6, step, (start, start + 1))[
        0
    ]


def _unrolled_fixed_point(a, b):
    return lax.scan(lambda x, _: (jnp.tanh(a * x + b), None), jnp.zeros_like(b), None, length=60)[0]


@body.wrong("dropped-term", array(0.5), normal(3), witness=gradient(plain=_unrolled_fixed_point))
@rule(
    lambda a, b, g: jax.vjp(
        lambda a, b: jnp.tanh(a * lax.stop_gradient(_fixed_point(a, b)) + b), a, b
    )[1](g),
    recursive=True,
)
def fixed_point_without_the_inverse_factor(a, b):
    return _fixed_point(a, b)


def _newton_root(x):
    def step(state):
        y, k = state
        return (y + x / y) / 2, k + 1

    return lax.while_loop(lambda s: s[1] < 30, step, (jnp.ones_like(x) + x, 0))[0]


@body.wrong("scale", positive(4), witness=gradient(plain=jnp.sqrt))
@rule(lambda x, g: (g / _newton_root(x),), recursive=True)
def newton_root_without_its_half(x):
    return _newton_root(x)


def _bisect(c):
    def step(_, ends):
        low, high = ends
        middle = (low + high) / 2
        above = middle**3 + middle > c
        return jnp.where(above, low, middle), jnp.where(above, middle, high)

    low, high = lax.fori_loop(0, 60, step, (jnp.full_like(c, -9), jnp.full_like(c, 9)))
    return (low + high) / 2


def _cubic_root(c):
    root = lax.stop_gradient(_bisect(c))
    return root - (root**3 + root - c) / (3 * root**2 + 1)


@body.wrong("sign", normal(4), witness=gradient(plain=_cubic_root))
@rule(lambda c, g: (-g / (3 * _bisect(c) ** 2 + 1),), recursive=True)
def bisection_with_the_sign_of_the_implicit_derivative(c):
    return _bisect(c)


def _differentiated_value(plain):
    """The derivative of the value that `jax.vjp` returns, which is that of the forward rule."""

    def slope(fun, x):
        return jax.grad(lambda t: jnp.sum(jax.vjp(fun, t)[0]))(x)

    return lambda case: (slope(case.fun, *case.args), slope(plain, *case.args))


@rule(lambda c, g: (g / (3 * _bisect(c) ** 2 + 1),), recursive=True)
def _right_root(c):
    return _bisect(c)


@body.wrong("second-order", normal(4), witness=_differentiated_value(_cubic_root))
@rule(lambda c, g: (g / (3 * _right_root(c) ** 2 + 1),))
def bisection_whose_forward_rule_is_the_plain_loop(c):
    return _bisect(c)
