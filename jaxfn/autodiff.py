"""The same function with its custom rules taken out."""

import functools
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple, ParamSpec, TypeVar

from jaxfn._jaxpr import Removal, call_without_rules, find_rules, trace

P = ParamSpec("P")
R = TypeVar("R")


class CustomRule(NamedTuple):
    """A custom rule that a function applies; `custom_rules` lists them.

    Attributes:
      kind: `"custom_vjp"`, `"custom_jvp"`, or `"hijax"` for a primitive that is written with
        `jax.experimental.hijax`.
      name: the name of the function that has the rule.
      source: where that function is defined, `"file:line"`; None if JAX does not know.
      where: the calls around it, outermost first, such as `"jit(loss)/scan"`,
        `"while.body_jaxpr"` or `"cond.branches[1]"`; `""` if there is none.
      count: how many times it is applied there; a loop's body counts once.
    """

    kind: str
    name: str
    source: str | None
    where: str
    count: int


def autodiff(fun: Callable[P, R], *, custom_jvp: bool = False) -> Callable[P, R]:
    """Returns `fun` without its custom rules, so that JAX differentiates what it computes.

    With `f` decorated by `jax.custom_vjp`, `jax.vjp(f, x)` is whatever the rule says, and
    `jax.vjp(autodiff(f), x)` is the derivative of the decorated function's own body. The same goes
    for every rule inside `fun`, in calls of any depth, in `jit`, `scan`, `while_loop`, `cond`,
    `checkpoint`, `vmap`, `shard_map` and the like, which themselves stay as they are. Primitives
    written with `jax.experimental.hijax` become their definition, too.

    The result computes the same values as `fun`. It can be jitted, batched and differentiated in
    both modes and to any order that JAX can do for the body: forward mode is no longer excluded,
    and reverse mode through a `while_loop` is not gained.

    `fun` is traced, once per call, and under `jit` once per compilation. Only the values that it
    computes are traced: its arguments reach it as they are, so strings, functions, None and Python
    numbers can steer it, while what is computed from a `jax.Array` cannot. Results that are not
    `jax.Array`s are handed back as they are.

    What it does not do:
      - A derivative that `fun` takes itself, say by `jax.grad`, is part of what it computes. The
        rules that this derivative used are in the result.
      - A rule that stays (`custom_jvp`, `jax.lax.custom_root`) stays whole, with all that it calls.
        `jax.lax.custom_linear_solve` and `jax.custom_derivatives.linear_call` always stay.
      - A `jax.custom_batching.custom_vmap` keeps its rule, except in the body of a function whose
        rule is removed: JAX has no reverse mode for it, so it is replaced by its definition.
      - Kernels of Pallas, foreign calls and callbacks are single operations; what they call is out
        of sight.

    Args:
      fun: a function that `jax.jit` could trace, of any arguments.
      custom_jvp: whether `jax.custom_jvp` rules go as well (among them `jax.nn.relu`'s and
        `jax.lax.custom_root`'s). Many of these are there because plain differentiation gives nan
        or cannot be done.

    Returns:
      A function with the signature of `fun`. `custom_rules` says whether there was anything to
      remove, and what is left.

    Raises:
      TypeError: if `fun` is not callable.

    Example:
      >>> import jax
      >>> import jaxfn
      >>> @jax.custom_vjp
      ... def square(x):
      ...     return x * x
      >>> _ = square.defvjp(lambda x: (square(x), x), lambda x, g: (3 * x * g,))  # should be 2
      >>> float(jax.grad(square)(5.0)), float(jax.grad(jaxfn.autodiff(square))(5.0))
      (15.0, 10.0)
    """
    _check_callable("autodiff", fun)
    removal = Removal(custom_jvp)

    @functools.wraps(fun, updated=())
    def without_rules(*args: P.args, **kwargs: P.kwargs) -> R:
        return call_without_rules(fun, removal, args, kwargs)

    return without_rules


def custom_rules(fun: Callable[..., Any], /, *args: Any, **kwargs: Any) -> tuple[CustomRule, ...]:
    """Lists the custom rules that `fun(*args, **kwargs)` applies, wherever they stand.

    An empty tuple says that differentiating `fun` and `autodiff(fun, custom_jvp=True)` is the same.
    The reach is that of `autodiff`, and so are its limits. Nothing is computed.

    Args:
      fun: a function that `jax.jit` could trace.
      *args: its arguments.
      **kwargs: its keyword arguments.

    Returns:
      One `CustomRule` for each rule and place, in the order in which they are met. A rule in the
      body of a function with a rule is listed after it.

    Raises:
      TypeError: if `fun` is not callable.

    Example:
      >>> import jax
      >>> import jaxfn
      >>> [rule.name for rule in jaxfn.custom_rules(jax.nn.relu, 1.0)]
      ['relu']
      >>> jaxfn.custom_rules(jax.numpy.sin, 1.0)
      ()
    """
    _check_callable("custom_rules", fun)
    jaxpr, _ = trace(fun, args, kwargs)
    places = Counter((r.kind, r.name, r.source, where) for r, where in find_rules(jaxpr))
    return tuple(CustomRule(*place, count) for place, count in places.items())


def _check_callable(caller: str, fun: Any) -> None:
    if not callable(fun):
        raise TypeError(f"{caller}: expected fun to be callable, got {type(fun).__name__}")
