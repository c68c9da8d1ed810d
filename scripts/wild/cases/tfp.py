"""Cases of TensorFlow Probability on JAX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from scripts.wild.case import POSITIVE, Entry, X, by, get, normal, of

TFP = "tensorflow_probability.substrates.jax"
BACKEND = "tensorflow_probability.python.internal.backend.jax"


def _tfp(name: str, *args: Any, shown: str = "", note: str = "", **options: Any) -> Entry:
    module, _, function = f"math.{name}".rpartition(".")
    make = of(f"{TFP}.{module}:{function}", *args, **options)
    rules = (f"{TFP}.math.{name}",)  # the rule of `tf.custom_gradient` is not named in the trace
    return Entry(TFP, f"math.{name}" + (f" ({shown})" if shown else ""), make, note, rules)


def _hpsd(name: str, *args: Any) -> Entry:
    """Of a matrix that is positive definite whatever the argument is."""

    def make() -> Callable[..., Any]:
        fun = get(f"{TFP}.math:{name}")
        return lambda x, *args: fun(x @ x.T + 3 * jnp.eye(3, dtype=x.dtype), *args)

    return Entry(TFP, f"math.{name}", by(make, normal(3, 3, seed=5), *args))


def _retrying_cholesky() -> Callable[..., Any]:
    cholesky = get(f"{TFP}.experimental.distributions.marginal_fns:retrying_cholesky")
    return lambda x: cholesky(x @ x.T + 3 * jnp.eye(3, dtype=x.dtype))[0]


def _kahan_sum() -> Callable[..., Any]:
    kahan_sum = get(f"{TFP}.math:reduce_kahan_sum")
    return lambda x: kahan_sum(x).total


def _ode() -> Callable[..., Any]:
    solver = get(f"{TFP}.math.ode:DormandPrince")

    def fun(y: Any, rate: Any) -> Any:
        solve = solver(rtol=1e-8, atol=1e-8).solve
        derivative = lambda t, y, rate: -rate * y + jnp.sin(y)  # noqa: E731
        options = {"initial_time": 0.0, "solution_times": [0.7], "constants": {"rate": rate}}
        return solve(derivative, initial_state=y, **options).states[-1]

    return fun


CASES = (
    _tfp("bessel_ive", [0.7, 1.5], [0.9, 3.0]),
    _tfp("bessel_kve", [0.7, 1.5], [0.9, 3.0]),
    _tfp("bessel_iv_ratio", [1.7, 2.5], [0.9, 3.0]),
    _tfp("log_bessel_ive", [0.7, 1.5], [0.9, 3.0]),
    _tfp("log_cosh", X),
    _tfp("betainc", [0.7, 5.0], [1.5, 2.0], [0.3, 0.5]),
    _tfp("dawsn", X),
    _tfp("erfcx", X),
    _tfp("lambertw", [-0.2, 0.5, 3.0]),
    _tfp("log_gamma_difference", [0.7, 2.0], [9.0, 20.0]),
    _tfp("lbeta", [0.7, 2.0], [9.0, 20.0]),
    _tfp("owens_t", [0.4, -1.3], [0.6, 2.5]),
    _tfp("log_bessel_kve", [0.7, 1.5], [0.9, 3.0]),
    _tfp("betaincinv", [0.7, 5.0], [1.5, 2.3], [0.3, 0.5]),
    _tfp("igammainv", [0.7, 5.0], [0.3, 0.6]),
    _tfp("igammacinv", [0.7, 5.0], [0.3, 0.6]),
    _tfp("hypergeometric.hyp2f1_small_argument", [0.7], [0.4], [1.6], [0.3]),
    _tfp("psd_kernels.internal.util.sqrt_with_finite_grads", POSITIVE),
    _tfp(
        "psd_kernels.internal.util.sqrt_with_finite_grads",
        [0.0],
        shown="at 0",
        note="a large finite number at 0 by design",
    ),
    *(
        _hpsd(name, *args)
        for name, args in (
            ("hpsd_logdet", ()),
            ("hpsd_solve", (normal(3, 2),)),
            ("hpsd_quadratic_form_solve", (normal(3, 2),)),
            ("hpsd_quadratic_form_solvevec", (normal(3),)),
        )
    ),
    *(
        Entry(
            TFP,
            f"experimental.math.{name}",
            of(f"{TFP}.experimental.math.manual_special_functions:{name}", args),
            "a rational approximation",
        )
        for name, args in (
            ("exp_pade_4_4", [-0.9, 0.1, 0.7]),
            ("log_pade_4_4", [0.6, 1.1, 1.7]),
            ("expm1_pade_4_4", [-0.9, 0.1, 0.7]),
            ("log1p_pade_4_4", [-0.4, 0.1, 0.7]),
        )
    ),
    Entry(
        TFP,
        "experimental.distributions.retrying_cholesky",
        by(_retrying_cholesky, normal(3, 3)),
    ),
    *(
        Entry(
            BACKEND, f"numpy_math.{name}", of(f"{BACKEND}.numpy_math:{name}", X, [0.5, -0.7, 2, -1])
        )
        for name in ("maximum", "minimum")
    ),
    Entry(TFP, "math.reduce_kahan_sum", by(_kahan_sum, normal(5))),
    Entry(TFP, "math.ode.DormandPrince", by(_ode, [1.0, -0.5], 0.7)),
)
