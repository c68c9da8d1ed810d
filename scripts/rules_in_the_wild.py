"""Checks the custom rules of public packages with `gradcheck`.

Every entry of the registry is a public function of a package that has a custom rule, or that calls
one, with arguments such as its documentation has:

    python -m scripts.rules_in_the_wild
    python -m scripts.rules_in_the_wild --only optax --verbose
    python -m scripts.rules_in_the_wild --write docs/rules_in_the_wild.md

Packages that are not installed are left out, and named. A verdict is what `gradcheck` says, or
"error" if the function or the check raises. `--write` replaces the table in the document, which is
all that stands between its two marks.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import importlib.metadata
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from jaxfn import custom_rules
from jaxfn.verification import gradcheck
from scripts.program import check, run_program

START = "<!-- table: written by scripts/rules_in_the_wild.py -->"
END = "<!-- end of the table -->"
ERROR = "error"
DISTRIBUTIONS = {"tensorflow_probability": ("tensorflow-probability", "tfp-nightly")}


class Case(NamedTuple):
    """What is checked: a function, its arguments, and options of `gradcheck`."""

    fun: Callable[..., Any]
    args: tuple[Any, ...]
    options: dict[str, Any] = {}  # noqa: RUF012, never changed


class Entry(NamedTuple):
    """A public function of a package, and how to call it.

    Attributes:
      package: the module to import, which the package is named after.
      function: the name that the table shows.
      make: makes the case; imports what it needs.
      note: what the package documents of the rule, or what is special about the arguments.
    """

    package: str
    function: str
    make: Callable[[], Case]
    note: str = ""


class Row(NamedTuple):
    """An entry that was checked."""

    package: str
    function: str
    kind: str
    verdict: str
    note: str
    seconds: float
    report: str


@dataclasses.dataclass(frozen=True)
class Config:
    """What to check."""

    only: str = ""
    """Part of `package function` of the entries to check; by default all of them."""
    write: Path | None = None
    """A Markdown document whose table is replaced."""
    verbose: bool = False
    """Whether to print the report of each verdict other than "pass"."""


def get(path: str) -> Any:
    """What `package.module:name` names, with dots in the name where it is nested.

    Args:
      path: the name of a module, a colon, and a name in it.

    Returns:
      The object.
    """
    module, _, name = path.partition(":")
    return functools.reduce(getattr, name.split("."), importlib.import_module(module))


def of(path: str, *args: Any, **options: Any) -> Callable[[], Case]:
    """A case: the function that `path` names, at `args`.

    Args:
      path: `package.module:name`.
      *args: its arguments; lists become float32 arrays, all else stays.
      **options: of `gradcheck`.

    Returns:
      A function that makes the case.
    """
    return lambda: Case(get(path), _arrays(args), options)


def by(make: Callable[[], Callable[..., Any]], *args: Any, **options: Any) -> Callable[[], Case]:
    """A case: the function that `make` returns, at `args`; otherwise as `of`.

    Args:
      make: returns the function.
      *args: its arguments.
      **options: of `gradcheck`.

    Returns:
      A function that makes the case.
    """
    return lambda: Case(make(), _arrays(args), options)


def _arrays(args: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(jnp.asarray(a, jnp.float32) if isinstance(a, list) else a for a in args)


def normal(*shape: int, seed: int = 0, complex_: bool = False) -> Any:
    """Standard normal numbers, an array.

    Args:
      *shape: of the array.
      seed: of the numbers.
      complex_: whether they are complex.

    Returns:
      The array, a NumPy one: no device is touched where the registry is written down.
    """
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(shape)
    if complex_:
        return (values + 1j * rng.standard_normal(shape)).astype(np.complex64)
    return values.astype(np.float32)


def positive_definite(n: int) -> Any:
    """A well-conditioned symmetric positive definite matrix.

    Args:
      n: its size.

    Returns:
      The matrix, a NumPy array.
    """
    factor = normal(n, n)
    return (factor @ factor.T + n * np.eye(n)).astype(np.float32)


X = [-2.5, -0.7, 0.3, 1.9]
POSITIVE = [0.2, 0.9, 2.3, 7.5]
UNIT = [0.05, 0.3, 0.55, 0.9]
STRAIGHT = "straight-through by design: compared with what it means to have"
PATHWISE = "a sampler: implicit reparameterisation"


def _custom_root() -> Callable[..., Any]:
    def root(a: Any) -> Any:
        def solve(f: Any, guess: Any) -> Any:
            return jax.lax.fori_loop(0, 30, lambda _, y: y - f(y) / (3 * y**2), guess)

        def tangent_solve(g: Any, y: Any) -> Any:
            return y / g(jnp.ones_like(y))

        return jax.lax.custom_root(lambda y: y**3 - a, jnp.ones_like(a), solve, tangent_solve)

    return root


def _scale_gradient() -> Case:
    scale = get("optax:scale_gradient")
    return Case(lambda x: scale(x, 0.5), _arrays([X]), {"surrogate": lambda x: 0.5 * x})


def _perturbed() -> Callable[..., Any]:
    make = get("optax.perturbations:make_perturbed_fun")
    perturbed = make(lambda x: jax.nn.one_hot(jnp.argmax(x), 3), 50, 0.5)
    return lambda x: perturbed(jax.random.key(0), x)


def _identity(inputs: Any) -> Any:
    return inputs


def _in_qdq() -> Case:
    quantize = get("flax.linen.fp8_ops:in_qdq")
    scale, history = jnp.ones((1,)), jnp.ones((4,))
    fun = lambda x: quantize(jnp.float32, jnp.float8_e4m3fn, x, scale, history)  # noqa: E731
    return Case(fun, _arrays([X]), {"surrogate": _identity})


def _out_qdq() -> Callable[..., Any]:
    quantize = get("flax.linen.fp8_ops:out_qdq")
    scale, history = jnp.ones((1,)), jnp.ones((4,))
    return lambda x: quantize(jnp.float32, jnp.float8_e5m2, x, scale, history)


def _dot_general_with_precision() -> Callable[..., Any]:
    dot = get("flax.linen.fp8_ops:dot_general_with_precision")
    return lambda a, b: dot(a, b, (((1,), (0,)), ((), ())))


def _while_loop(kind: str) -> Callable[..., Any]:
    while_loop = get("equinox.internal:while_loop")

    def fun(x: Any) -> Any:
        step = lambda state: (state[0] + 1, jnp.sin(state[1]) * x)  # noqa: E731
        options = {"max_steps": 8, "kind": kind, **({"checkpoints": 2} if kind[0] == "c" else {})}
        return while_loop(lambda state: state[0] < 6, step, (jnp.array(0), x), **options)[1]

    return fun


def _error_if() -> Callable[..., Any]:
    error_if = get("equinox:error_if")
    return lambda x: jnp.sin(error_if(x, jnp.any(x > 1e30), "too large"))


def _diffeqsolve(adjoint: str) -> Callable[..., Any]:
    dfx = importlib.import_module("diffrax")

    def solve(y: Any, rate: Any) -> Any:
        term = dfx.ODETerm(lambda t, y, rate: -rate * y + jnp.sin(y))
        steps = dfx.PIDController(rtol=1e-10, atol=1e-10)
        options = {"stepsize_controller": steps, "adjoint": getattr(dfx, adjoint)()}
        solved = dfx.diffeqsolve(term, dfx.Dopri5(), 0.0, 1.0, 0.1, y, rate, **options)
        return solved.ys[-1]

    return solve


def _optimistix(solver: str, problem: str) -> Callable[..., Any]:
    optx = importlib.import_module("optimistix")
    solve = getattr(optx, problem)
    residual = (
        (lambda y, a: jnp.tanh(y) * a + 0.5 - y)
        if problem != "fixed_point"
        else (lambda y, a: 0.5 * jnp.cos(a * y))
    )

    def fun(a: Any) -> Any:
        tight = getattr(optx, solver)(rtol=1e-12, atol=1e-12)
        return solve(residual, tight, jnp.zeros_like(a), a, throw=False).value

    return fun


def _linear_solve() -> Callable[..., Any]:
    lx = importlib.import_module("lineax")
    return lambda a, b: lx.linear_solve(lx.MatrixLinearOperator(a), b).value


def _jaxopt_argmax(name: str) -> Callable[..., Any]:
    make = get(f"jaxopt.perturbations:{name}")
    hard = {
        "make_perturbed_argmax": lambda x: jax.nn.one_hot(jnp.argmax(x), x.shape[0]),
        "make_perturbed_max": lambda x: jax.nn.one_hot(jnp.argmax(x), x.shape[0]),
        "make_perturbed_fun": lambda x: jnp.max(x),
    }[name]
    perturbed = make(hard, num_samples=50, sigma=0.5)
    return lambda x: perturbed(x, jax.random.key(0))


def _ridge() -> Callable[..., Any]:
    root = get("jaxopt.implicit_diff:custom_root")
    features, targets = normal(6, 3), normal(6, seed=1)

    def objective(w: Any, weight: Any) -> Any:
        return 0.5 * jnp.sum((features @ w - targets) ** 2) + 0.5 * jnp.sum(weight * w**2)

    @root(jax.grad(objective))
    def solve(_: Any, weight: Any) -> Any:
        normal_matrix = features.T @ features + jnp.diag(weight)
        return jnp.linalg.solve(normal_matrix, features.T @ targets)

    return lambda weight: solve(None, weight)


def _fixed_point() -> Callable[..., Any]:
    solver = get("jaxopt:FixedPointIteration")

    def fun(a: Any) -> Any:
        iteration = solver(lambda x, a: 0.5 * jnp.cos(a * x), maxiter=200, tol=1e-13)
        return iteration.run(jnp.zeros_like(a), a).params

    return fun


def _clip_gradient() -> Callable[..., Any]:
    clip = get("rlax:clip_gradient")
    return lambda x: jnp.sin(clip(x, -1.0, 1.0))


def _distribution(package: str, name: str, method: str, *constants: Any) -> Callable[..., Any]:
    """`method` of a distribution, a function of its parameters, or of a value and these."""
    make = get(f"{package}:{name}")
    if method == "sample":
        return lambda *p: make(*constants, *p).sample(seed=jax.random.key(1))
    return lambda value, *p: getattr(make(*constants, *p), method)(value)


TFP = "tensorflow_probability.substrates.jax"


def _tfp(name: str, *args: Any, note: str = "", **options: Any) -> Entry:
    make = of(f"{TFP}.math:{name}", *args, **options)
    return Entry("tensorflow_probability", f"math.{name}", make, note)


def _tfd(name: str, method: str, *args: Any, constants: tuple[Any, ...] = ()) -> Entry:
    make = by(
        functools.partial(_distribution, f"{TFP}.distributions", name, method, *constants), *args
    )
    note = PATHWISE if method == "sample" else ""
    return Entry("tensorflow_probability", f"distributions.{name}.{method}", make, note)


def _jax(path: str, *args: Any, shown: str = "", note: str = "", **options: Any) -> Entry:
    name = path.replace(":", ".").removeprefix("jax.")
    return Entry("jax", name + (f" ({shown})" if shown else ""), of(path, *args, **options), note)


SPECIAL = "jax.scipy.special:"
INVERTIBLE = normal(3, 3, seed=4)

JAX = (
    _jax("jax.nn:relu", X),
    _jax("jax.nn:relu", [-1.0, 0.0, 2.0], shown="at the kink"),
    _jax("jax.nn:relu6", [-1.0, 2.0, 7.0]),
    _jax("jax.nn:relu6", [0.0, 6.0, 3.0], shown="at the kinks"),
    _jax("jax.nn:softmax", normal(3, 4)),
    _jax("jax.nn:log1mexp", POSITIVE),
    _jax("jax.nn:silu", X),
    _jax("jax.numpy:logaddexp", X, [0.5, -0.7, 2.0, -1.0]),
    _jax(
        "jax.numpy:logaddexp",
        normal(3, complex_=True),
        normal(3, seed=1, complex_=True),
        shown="complex",
    ),
    _jax("jax.numpy:logaddexp2", X, [0.5, -0.7, 2.0, -1.0]),
    _jax(
        "jax.numpy:logaddexp2",
        normal(3, complex_=True),
        normal(3, seed=1, complex_=True),
        shown="complex",
    ),
    _jax("jax.numpy:i0", X),
    _jax("jax.numpy:i0", [0.0], shown="at 0"),
    _jax("jax.numpy:sinc", X),
    _jax("jax.numpy:sinc", [0.0], shown="at 0"),
    _jax("jax.numpy:frexp", X),
    _jax("jax.numpy.linalg:det", INVERTIBLE, shown="3×3"),
    _jax("jax.numpy.linalg:det", normal(4, 4), shown="4×4"),
    _jax("jax.numpy.linalg:det", normal(4, 4, complex_=True), shown="complex"),
    _jax("jax.numpy.linalg:det", np.diag([1, 2, 3, 0]).astype(np.float32), shown="4×4, rank 3"),
    _jax("jax.numpy.linalg:det", np.diag([1, 2, 0, 0]).astype(np.float32), shown="4×4, rank 2"),
    _jax("jax.numpy.linalg:slogdet", normal(2, 2), shown="2×2"),
    _jax("jax.numpy.linalg:slogdet", normal(4, 4), shown="4×4"),
    _jax("jax.numpy.linalg:slogdet", normal(2, 2, complex_=True), shown="2×2 complex"),
    _jax("jax.numpy.linalg:slogdet", normal(3, 3, complex_=True), shown="3×3 complex"),
    Entry(
        "jax",
        "numpy.linalg.slogdet (qr)",
        by(lambda: functools.partial(jnp.linalg.slogdet, method="qr"), normal(3, 3)),
    ),
    _jax("jax.numpy.linalg:pinv", normal(4, 3), shown="4×3"),
    _jax("jax.numpy.linalg:pinv", normal(3, 4), shown="3×4"),
    _jax("jax.numpy.linalg:pinv", normal(3, 2, complex_=True), shown="complex"),
    Entry(
        "jax",
        "numpy.linalg.pinv (hermitian)",
        by(lambda: functools.partial(jnp.linalg.pinv, hermitian=True), positive_definite(3)),
    ),
    _jax(SPECIAL + "logit", UNIT),
    _jax(SPECIAL + "xlogy", X, POSITIVE),
    _jax(SPECIAL + "xlogy", [0.0], [2.0], shown="x = 0"),
    _jax(SPECIAL + "xlog1py", X, POSITIVE),
    _jax(SPECIAL + "entr", POSITIVE),
    _jax(SPECIAL + "kl_div", POSITIVE, [1.0, 0.5, 2.0, 3.0]),
    _jax(SPECIAL + "rel_entr", POSITIVE, [1.0, 0.5, 2.0, 3.0]),
    _jax(SPECIAL + "zeta", [1.5, 2.5, 4.0], [0.5, 1.0, 3.0]),
    _jax(SPECIAL + "log_ndtr", [-12.0, -3.0, 0.5, 6.0]),
    _jax(SPECIAL + "erfcx", X),
    _jax(SPECIAL + "erfcx", [8.0, 11.0], shown="large"),
    _jax(SPECIAL + "wofz", normal(3, complex_=True)),
    _jax(SPECIAL + "dawsn", X),
    _jax(SPECIAL + "dawsn", [3.0, 5.0, 8.0], shown="large"),
    _jax(SPECIAL + "expi", X),
    _jax(SPECIAL + "exp1", POSITIVE),
    *(
        Entry(
            "jax",
            f"scipy.special.expn (n = {n})",
            by(lambda n=n: functools.partial(get(SPECIAL + "expn"), n), [0.4, 0.9, 2.5]),
        )
        for n in (0, 1, 2, 4)
    ),
    _jax(SPECIAL + "sici", [0.3, 2.5, 6.0, 12.0]),
    _jax(SPECIAL + "fresnel", X),
    _jax(SPECIAL + "poch", [0.7, 2.5], [1.3, 0.4]),
    _jax(SPECIAL + "poch", [-0.6, -1.4], [2.3, 0.7], shown="z < 0"),
    _jax(SPECIAL + "hyp1f1", [0.7, 1.9], [1.6, 2.4], [0.5, -1.5]),
    _jax(SPECIAL + "hyp1f1", [0.0], [1.5], [0.7], shown="a = 0"),
    _jax(SPECIAL + "hyp1f1", [0.7], [1.6], [120.0], shown="x = 120"),
    _jax(SPECIAL + "hyp2f1", [0.7, 1.2], [0.4, 0.9], [1.6, 2.4], [0.3, -0.4]),
    _jax(SPECIAL + "hyp2f1", [0.7], [0.4], [1.6], [0.95], shown="x = 0.95"),
    _jax(SPECIAL + "hyp2f1", [0.7], [0.4], [1.6], [-2.5], shown="x = −2.5"),
    _jax(SPECIAL + "owens_t", [0.4, -1.3], [0.6, 2.5]),
    Entry("jax", "lax.custom_root", by(_custom_root, [0.5, 2.0], domain=((0.1, 10.0),))),
)

OPTAX = (
    Entry(
        "optax",
        "projections.projection_simplex",
        of("optax.projections:projection_simplex", normal(5)),
    ),
    Entry(
        "optax",
        "projections.projection_l1_ball",
        of("optax.projections:projection_l1_ball", normal(5)),
    ),
    Entry(
        "optax",
        "projections.projection_l1_sphere",
        of("optax.projections:projection_l1_sphere", normal(5)),
    ),
    Entry(
        "optax",
        "losses.safe_softmax_cross_entropy",
        of(
            "optax:safe_softmax_cross_entropy",
            normal(3, 4),
            [[1, 0, 0, 0], [0.2, 0.3, 0.5, 0], [0, 0, 0.9, 0.1]],
        ),
    ),
    Entry(
        "optax",
        "losses.weighted_logsoftmax",
        of("optax.losses._classification:weighted_logsoftmax", normal(4), [0.0, 1.0, 0.5, 0.0]),
        "weights of 0",
    ),
    Entry(
        "optax",
        "losses.sparsemax_loss",
        of("optax.losses:sparsemax_loss", X, np.array([0, 1, 1, 0])),
    ),
    Entry(
        "optax",
        "losses.multiclass_sparsemax_loss",
        of("optax.losses:multiclass_sparsemax_loss", normal(3, 4), np.array([0, 2, 1])),
    ),
    Entry("optax", "scale_gradient", _scale_gradient, STRAIGHT),
    Entry(
        "optax",
        "perturbations.make_perturbed_fun",
        by(_perturbed, normal(3)),
        "a Monte Carlo estimate by design, of a piecewise constant function",
    ),
)

FLAX = (
    Entry(
        "flax",
        "linen.fp8_ops.dot_general_with_precision",
        by(_dot_general_with_precision, normal(3, 4), normal(4, 2)),
    ),
    Entry("flax", "linen.fp8_ops.in_qdq", _in_qdq, STRAIGHT),
    Entry(
        "flax", "linen.fp8_ops.out_qdq", by(_out_qdq, X), "rounds the cotangent to 8 bits by design"
    ),
)

EQUINOX = (
    Entry(
        "equinox",
        "internal.while_loop (checkpointed)",
        by(functools.partial(_while_loop, "checkpointed"), X),
    ),
    Entry(
        "equinox", "internal.while_loop (bounded)", by(functools.partial(_while_loop, "bounded"), X)
    ),
    Entry("equinox", "internal.nextafter", of("equinox.internal:nextafter", X)),
    Entry("equinox", "internal.prevbefore", of("equinox.internal:prevbefore", X)),
    Entry("equinox", "error_if", by(_error_if, X)),
)

DISTRAX = (
    Entry("distrax", "multiply_no_nan", of("distrax:multiply_no_nan", X, [0.0, 1.0, -2.0, 0.5])),
    Entry(
        "distrax",
        "power_no_nan",
        of("distrax._src.utils.math:power_no_nan", POSITIVE, [0.0, 1.0, -2.0, 0.5]),
    ),
    Entry(
        "distrax", "power_no_nan (x = 0)", of("distrax._src.utils.math:power_no_nan", [0.0], [2.5])
    ),
    Entry(
        "distrax",
        "VonMises.cdf",
        by(
            functools.partial(_distribution, "distrax", "VonMises", "cdf"),
            [-1.5, 0.4],
            [0.1, -0.2],
            [0.8, 3.0],
            domain=((-3, 3), (-0.1, 0.1), (0.1, 50.0)),
        ),
        "domain: value, location and a positive concentration",
    ),
    Entry(
        "distrax",
        "VonMises.sample",
        by(
            functools.partial(_distribution, "distrax", "VonMises", "sample"),
            [0.1, -0.2],
            [0.8, 3.0],
        ),
        PATHWISE,
    ),
    Entry(
        "distrax",
        "Categorical.entropy",
        by(lambda: lambda logits: get("distrax:Categorical")(logits=logits).entropy(), normal(4)),
    ),
)

SOLVERS = (
    Entry(
        "diffrax",
        "diffeqsolve (RecursiveCheckpointAdjoint)",
        by(functools.partial(_diffeqsolve, "RecursiveCheckpointAdjoint"), [1.0, -0.5], 0.7),
    ),
    Entry(
        "diffrax",
        "diffeqsolve (BacksolveAdjoint)",
        by(functools.partial(_diffeqsolve, "BacksolveAdjoint"), [1.0, -0.5], 0.7),
        "the adjoint is solved anew: approximate by design",
    ),
    Entry("lineax", "two_norm", of("lineax.internal:two_norm", X)),
    Entry(
        "lineax",
        "two_norm (at 0)",
        of("lineax.internal:two_norm", [0.0, 0.0]),
        "0 at the kink by design",
    ),
    Entry("lineax", "two_norm (complex)", of("lineax.internal:two_norm", normal(3, complex_=True))),
    Entry(
        "lineax",
        "two_norm (one complex element)",
        of("lineax.internal:two_norm", normal(1, complex_=True)),
    ),
    Entry("lineax", "rms_norm", of("lineax.internal:rms_norm", X)),
    Entry("lineax", "max_norm", of("lineax.internal:max_norm", X)),
    Entry("lineax", "linear_solve", by(_linear_solve, INVERTIBLE, [1.0, 2.0, -1.0])),
    Entry(
        "optimistix",
        "root_find (Newton)",
        by(functools.partial(_optimistix, "Newton", "root_find"), [0.3, 0.6]),
    ),
    Entry(
        "optimistix",
        "fixed_point",
        by(functools.partial(_optimistix, "FixedPointIteration", "fixed_point"), [0.3, 0.6]),
    ),
    Entry(
        "optimistix",
        "least_squares (LevenbergMarquardt)",
        by(functools.partial(_optimistix, "LevenbergMarquardt", "least_squares"), [0.3, 0.6]),
    ),
    Entry(
        "jaxopt",
        "projection.projection_simplex",
        of("jaxopt.projection:projection_simplex", normal(5)),
    ),
    Entry(
        "jaxopt",
        "projection.projection_sparse_simplex",
        by(
            lambda: lambda x: get("jaxopt.projection:projection_sparse_simplex")(x, max_nz=2),
            normal(5),
        ),
    ),
    Entry(
        "jaxopt",
        "projection.projection_l1_ball",
        of("jaxopt.projection:projection_l1_ball", normal(5)),
    ),
    Entry("jaxopt", "isotonic.isotonic_l2_pav", of("jaxopt.isotonic:isotonic_l2_pav", normal(5))),
    *(
        Entry(
            "jaxopt",
            f"perturbations.{name}",
            by(functools.partial(_jaxopt_argmax, name), normal(3)),
            "a Monte Carlo estimate by design",
        )
        for name in ("make_perturbed_argmax", "make_perturbed_max", "make_perturbed_fun")
    ),
    Entry("jaxopt", "implicit_diff.custom_root", by(_ridge, [0.5, 1.0, 2.0])),
    Entry("jaxopt", "FixedPointIteration", by(_fixed_point, [0.3, 0.6])),
    Entry(
        "rlax",
        "clip_gradient",
        by(_clip_gradient, X, linear_in_cotangent=False),
        "clips the cotangent by design: compared at small ones",
    ),
)

PROBABILITY = (
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
    _tfd("Gamma", "sample", [1.7, 3.0], [0.8, 2.0]),
    Entry(
        "tensorflow_probability",
        "bijectors.Softplus",
        by(lambda: get(f"{TFP}.bijectors:Softplus")(low=0.5).forward, X),
    ),
    Entry(
        "tensorflow_probability",
        "bijectors.Sigmoid",
        by(lambda: get(f"{TFP}.bijectors:Sigmoid")(low=-1.0, high=2.0).forward, X),
    ),
)

REGISTRY: tuple[Entry, ...] = (
    *JAX,
    *OPTAX,
    *FLAX,
    *EQUINOX,
    *DISTRAX,
    *SOLVERS,
    *PROBABILITY,
)


def main(config: Config) -> list[Row]:
    """Checks the entries, prints the table, writes it into the document, and returns the rows.

    Args:
      config: what to check.

    Returns:
      The rows of the table.

    Raises:
      UserError: if no entry is named so, or the document has no marks for the table.
    """
    entries = [e for e in REGISTRY if config.only in f"{e.package} {e.function}"]
    check(bool(entries), f"--only {config.only}: no such entry")
    if config.write is not None:
        _parts(config.write)
    console = Console()
    missing = sorted({e.package for e in entries if not is_installed(e.package)})
    rows = []
    for entry in entries:
        if entry.package not in missing:
            rows.append(examine(entry))
            _print(console, rows[-1], config.verbose)
    console.print(_table(rows))
    console.print(_summary(rows, missing))
    if config.write is not None:
        before, after = _parts(config.write)
        config.write.write_text(f"{before}{START}\n\n{markdown(rows, missing)}\n{END}{after}")
    return rows


@functools.cache
def is_installed(package: str) -> bool:
    """Whether a package can be imported.

    Args:
      package: its name.

    Returns:
      False only if it, or something that it needs, is not there.
    """
    try:
        importlib.import_module(package)
    except ImportError:
        return False
    return True


def examine(entry: Entry) -> Row:
    """Checks one entry.

    Args:
      entry: what to check.

    Returns:
      Its row; an exception, the function's or the check's, is the verdict "error".
    """
    start = time.perf_counter()
    kind = ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the packages' own
        try:
            case = entry.make()
            with contextlib.suppress(Exception):  # not traceable: gradcheck says so, too
                kind = _kind(case)
            report = gradcheck(case.fun, case.args, raise_exception=False, **case.options)
            verdict, text = report.verdict, str(report)
        except Exception as error:  # whatever a package raises is what the table says
            lines = str(error).strip().splitlines() or [""]
            verdict, text = ERROR, f"{type(error).__name__}: {lines[0]}"
    seconds = time.perf_counter() - start
    return Row(entry.package, entry.function, kind, verdict, entry.note, seconds, text)


def _kind(case: Case) -> str:
    kinds = sorted({rule.kind for rule in custom_rules(case.fun, *case.args)})
    return ", ".join(kinds) or "none"


def _print(console: Console, row: Row, verbose: bool) -> None:
    text = f"{row.package} {row.function}: {row.verdict} ({row.seconds:.1f} s)"
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    if verbose and row.verdict != "pass":
        console.print(row.report, markup=False, highlight=False, soft_wrap=True)


_HEADINGS = ("package", "function", "kind", "verdict", "note")


def _cells(row: Row) -> tuple[str, ...]:
    return row.package, row.function, row.kind, row.verdict, row.note


def _table(rows: list[Row]) -> Table:
    table = Table(*_HEADINGS)
    for row in rows:
        table.add_row(*_cells(row))
    return table


def markdown(rows: list[Row], missing: list[str]) -> str:
    """The table as Markdown, with the versions and the counts.

    Args:
      rows: of the table.
      missing: packages that are not installed.

    Returns:
      Paragraphs and a table, ending in a newline.
    """
    packages = dict.fromkeys(row.package for row in rows)
    versions = ", ".join(f"{package} {_version(package)}" for package in packages)
    lines = [f"Versions: {versions}.", "", _summary(rows, missing), ""]
    lines += [f"| {' | '.join(_HEADINGS)} |", "|" + " --- |" * len(_HEADINGS)]
    lines += [f"| {' | '.join(_cells(row))} |" for row in rows]
    return "\n".join(lines) + "\n"


def _version(package: str) -> str:
    for name in DISTRIBUTIONS.get(package, (package,)):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(name)
    return "of unknown version"


def _summary(rows: list[Row], missing: list[str]) -> str:
    counts = Counter(row.verdict for row in rows)
    text = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
    seconds = sum(row.seconds for row in rows)
    absent = f" Not installed: {', '.join(missing)}." if missing else ""
    return f"{len(rows)} checked in {seconds:.0f} s: {text or 'none'}.{absent}"


def _parts(path: Path) -> tuple[str, str]:
    """What stands before and after the table of a document."""
    check(path.is_file(), f"--write {path}: expected a document, there is none")
    before, start, rest = path.read_text().partition(START)
    _, end, after = rest.partition(END)
    check(bool(start and end), f"--write {path}: expected the lines {START!r} and {END!r}")
    return before, after


if __name__ == "__main__":
    run_program(main, Config, __doc__)
