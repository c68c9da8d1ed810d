"""One call of an operation with rules: the mechanism under both idioms, on `jax.custom_vjp`.

Arguments may be pytrees, and hold what is no array: `custom_vjp` is given the arrays alone.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any, NamedTuple

import jax
import jax.core
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero, zero_from_primal

from jaxfn.function.arguments import ARRAY, Arguments, as_array, bind, is_array
from jaxfn.function.context import Context, close, traced_variable
from jaxfn.function.gradients import check_returned, differentiable
from jaxfn.function.linear_map import linear_map
from jaxfn.function.outputs import AmbiguousMarkError, Outputs, make_outputs
from jaxfn.function.residuals import Residuals

# What a forward pass raises that reads values: it cannot be traced.
UNTRACEABLE = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerBoolConversionError,
    jax.errors.TracerIntegerConversionError,
)


class Rules(NamedTuple):
    """What an author wrote."""

    name: str
    signature: inspect.Signature  # of the operation
    forward: Callable[..., Any]  # as it was written, to find it by
    compute: Callable[..., Any]  # (ctx, *args, **kwargs) -> output
    set_up: Callable[..., None] | None  # (ctx, inputs, output): the rest of the forward pass
    backward: Callable[..., Any] | None
    jvp: Callable[..., Any] | None = None
    vmap: Callable[..., Any] | None = None


class VmapInfo(NamedTuple):
    """What a `vmap` rule is told about the batch."""

    batch_size: int
    randomness: str = "error"  # JAX's random numbers come from keys, which are batched or not


def call(rules: Rules, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The operation's value at these arguments, differentiated as the rules say."""
    if rules.backward is None and rules.jvp is None:
        raise TypeError(f"{rules.name} has neither a backward nor a jvp rule")
    arrays, arguments = bind(rules.name, rules.signature, args, kwargs)
    _check_closures(rules, arguments)
    return Call(rules, arguments)(arrays).value()


class Call:
    """One call of an operation. It lives as long as a jaxpr that it is in, and holds no arrays."""

    def __init__(self, rules: Rules, arguments: Arguments):
        self.rules, self.arguments = rules, arguments
        everything = arguments.by_input([differentiable(t) for t in arguments.types])
        self.residuals = Residuals(rules.name, everything)

    def __call__(self, arrays: Sequence[jax.Array]) -> Outputs:
        if self.rules.jvp is None:
            operation = jax.custom_vjp(self._named(self._primal))
            operation.defvjp(self._forward_rule, self._backward_rule, symbolic_zeros=True)
        else:
            operation = jax.custom_jvp(self._named(self._primal))
            operation.defjvp(self._jvp_rule, symbolic_zeros=True)
        try:
            return operation(*arrays)
        except jax.errors.UnexpectedTracerError as error:
            error.add_note(
                f"{self.rules.name} uses or saves a value that was traced outside of it: what is "
                "differentiated or batched has to be one of its arguments"
            )
            raise

    # The forward pass.

    def _primal(self, *arrays: jax.Array) -> Outputs:
        compute = self._compute if self.rules.vmap is None else self._compute_batchable
        outputs, context = self._run(arrays, [False] * len(arrays), compute)
        self.residuals.trace(close(context)[1])
        return outputs

    def _run(
        self, arrays: Sequence[Any], needs: Sequence[bool], compute: Callable[..., Any]
    ) -> tuple[Outputs, Context]:
        """The outputs, and the context that the author has filled."""
        name = self.rules.name
        context = Context(name, self.arguments.by_input(needs))
        inputs = self.arguments.fill(arrays)
        before = jax.tree.leaves(inputs)
        output = compute(context, inputs)
        if self.rules.set_up is not None:
            self.rules.set_up(context, inputs, output)
        after, tree = jax.tree.flatten(inputs)
        if tree != self.arguments.tree or any(map(_differ, before, after)):
            raise TypeError(f"{name}.forward changed an argument in place: change a copy of it")
        try:
            return make_outputs(name, context, output), context
        except AmbiguousMarkError as error:
            marked = self._marked_where_traced(arrays, needs, compute, error)
            return make_outputs(name, context, output, marked), context

    def _marked_where_traced(
        self, arrays: Sequence[Any], needs: Sequence[bool], compute: Callable[..., Any], error: Any
    ) -> tuple[int, ...]:
        """The positions of marked outputs by a trace, in which `stop_gradient` makes a new array.

        Without jit it returns the array itself, which then may be two outputs at once.
        """
        if any(isinstance(array, jax.core.Tracer) for array in arrays):
            raise error
        found = []
        with contextlib.suppress(*UNTRACEABLE):
            jax.eval_shape(lambda *a: found.append(self._run(a, needs, compute)[0].marked), *arrays)
        if not found:
            raise error
        return found[0]

    def _compute(self, context: Context, inputs: tuple[Any, ...]) -> Any:
        args, kwargs = self.arguments.split(inputs)
        return self.rules.compute(context, *args, **kwargs)

    def _compute_batchable(self, context: Context, inputs: tuple[Any, ...]) -> Any:
        operation = jax.custom_batching.custom_vmap(
            self._named(lambda *arrays: self._compute(context, self.arguments.fill(arrays)))
        )
        operation.def_vmap(self._vmap_rule)
        return operation(*filter(is_array, jax.tree.leaves(inputs)))

    def _compute_in_rule(self, context: Context, inputs: tuple[Any, ...]) -> Any:
        # Differentiated again, the forward pass is differentiated as it stands. With a vmap rule
        # JAX cannot do that: there it is the operation that is called.
        if self.rules.vmap is None:
            return self._compute(context, inputs)
        return call(self.rules, *self.arguments.split(inputs))

    # Reverse mode.

    def _forward_rule(self, *primals: Any) -> tuple[Outputs, tuple[Any, ...]]:
        types = self.arguments.types
        needs = [p.perturbed and differentiable(t) for p, t in zip(primals, types, strict=True)]
        arrays = [as_array(primal.value) for primal in primals]
        outputs, context = self._run(arrays, needs, self._compute_in_rule)
        residuals, content = close(context)
        _check_own(residuals, arrays)
        return outputs, self.residuals.keep(residuals, content, self._everything_kept, arrays)

    def _everything_kept(self, *arrays: jax.Array) -> Any:
        needs = [differentiable(t) for t in self.arguments.types]
        return close(self._run(arrays, needs, self._compute_in_rule)[1])

    def _backward_rule(self, residuals: tuple[Any, ...], outputs_bar: Outputs) -> tuple[Any, ...]:
        return tuple(self._gradients(self.residuals.recall(residuals), outputs_bar))

    def _gradients(self, context: Context, outputs_bar: Outputs) -> list[Any]:
        """A gradient for each array; None stands for zeros."""
        assert self.rules.backward is not None
        returned = self.rules.backward(context, *outputs_bar.cotangents(context._materialize))
        checked = check_returned(f"{self.rules.name}.backward", self.arguments.inputs, returned)
        leaves = zip(checked, self.arguments.leaves, strict=True)
        # JAX drops those that nobody asked for, and with them the work that they alone were for.
        return [gradient for gradient, leaf in leaves if leaf is ARRAY]

    # Forward mode.

    def _jvp_rule(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Outputs, Outputs]:
        types = self.arguments.types
        pairs = zip(tangents, types, strict=True)
        needs = [not isinstance(t, SymbolicZero) and differentiable(p) for t, p in pairs]
        primals = [as_array(primal) for primal in primals]
        outputs, context = self._run(primals, needs, self._compute_in_rule)
        residuals, content = close(context)
        empty = outputs.with_leaves([])
        smooth = [differentiable(t) for t in empty.types]

        def forward(residuals: Sequence[Any], vectors: Sequence[Any]) -> list[Any]:
            context = content.restore(residuals, forward_mode=True)
            results = self._tangents(context, _spread(vectors, needs), empty)
            return _select(map(_or_zeros, results, empty.types), smooth)

        def transpose(residuals: Sequence[Any], vectors: Sequence[Any]) -> list[Any]:
            outputs_bar = empty.with_leaves(_spread(vectors, smooth))
            gradients = self._gradients(content.restore(residuals), outputs_bar)
            return _select(map(_or_zeros, gradients, types), needs)

        vectors = _select(tangents, needs)
        if self.rules.backward is None:
            results = forward(residuals, vectors)
        else:
            results = linear_map(forward, transpose, residuals, vectors)
        zeros = [zero_from_primal(x, symbolic_zeros=True) for x in outputs.leaves]
        spread = zip(_spread(results, smooth), zeros, strict=True)
        return outputs, outputs.with_leaves([z if r is None else r for r, z in spread])

    def _tangents(self, context: Context, tangents: list[Any], empty: Outputs) -> list[Any]:
        """A tangent for each leaf of the output; None stands for zeros."""
        assert self.rules.jvp is not None
        if context._materialize:
            pairs = zip(tangents, self.arguments.types, strict=True)
            tangents = [_or_zeros(t, p) if differentiable(p) else None for t, p in pairs]
        inputs = self.arguments.describe(tangents, number=0.0 if context._materialize else None)
        args, kwargs = self.arguments.split(inputs)
        returned = self.rules.jvp(context, *args, **kwargs)
        return check_returned(f"{self.rules.name}.jvp", empty.slots(), returned)

    # Batching.

    def _vmap_rule(self, size: int, batched: Sequence[bool], *arrays: Any) -> tuple[Any, Any]:
        assert self.rules.vmap is not None
        name, arguments = self.rules.name, self.arguments
        in_dims = arguments.describe([0 if b else None for b in batched])
        args, kwargs = arguments.split(arguments.fill(arrays))
        returned = self.rules.vmap(VmapInfo(size), in_dims, *args, **kwargs)
        if type(returned) is not tuple or len(returned) != 2:
            raise TypeError(f"{name}.vmap returned {returned!r}, expected (output, out_dims)")
        output, out_dims = returned
        leaves, tree = jax.tree.flatten(output)
        spread = jax.tree.broadcast(out_dims, output, is_leaf=lambda dim: dim is None)
        dims = jax.tree.leaves(spread, is_leaf=lambda dim: dim is None)
        pairs = zip(leaves, dims, strict=True)
        leaves = [leaf if dim is None else jnp.moveaxis(leaf, dim, 0) for leaf, dim in pairs]
        return tree.unflatten(leaves), tree.unflatten([dim is not None for dim in dims])

    def _named(self, fun: Callable[..., Any]) -> Callable[..., Any]:
        """`fun` by the name of the operation and with the place of its definition.

        JAX takes both from what `fun` wraps: a copy of the author's forward with that name.
        """

        def named(*arrays: Any) -> Any:
            return fun(*arrays)

        written = inspect.unwrap(self.rules.forward)
        if isinstance(written, FunctionType):
            copy = FunctionType(written.__code__, {}, self.rules.name, None, written.__closure__)
            functools.update_wrapper(named, copy)
        named.__name__ = named.__qualname__ = self.rules.name
        named.__signature__ = _ARRAYS  # pyright: ignore[reportFunctionMemberAccess]
        return named


_ARRAYS = inspect.signature(lambda *arrays: None)


def _check_closures(rules: Rules, arguments: Arguments) -> None:
    functions = {
        f"{rules.name}.{name}": fun
        for name, fun in rules._asdict().items()
        if name in ("forward", "set_up", "backward", "jvp", "vmap") and fun is not None
    }
    functions |= {f"{rules.name}: {name}": fun for name, fun in arguments.functions()}
    for what, fun in functions.items():
        if variable := traced_variable(fun):
            raise TypeError(f"{what} closes over the traced value {variable}; make it an argument")


def _check_own(residuals: Sequence[Any], inputs: Sequence[Any]) -> None:
    """Meets a value that was traced elsewhere here, where its error can say which rule saved it."""
    kinds = {type(x) for x in inputs}
    for residual in residuals:
        if isinstance(residual, jax.core.Tracer) and type(residual) not in kinds:
            jax.lax.stop_gradient(residual)  # any operation will do


def _differ(one: Any, other: Any) -> bool:
    return one is not other


def _or_zeros(value: Any, array_type: Any) -> Any:
    return jnp.zeros(array_type.shape, array_type.dtype) if value is None else value


def _select(values: Any, where: Sequence[bool]) -> list[Any]:
    return [value for value, here in zip(values, where, strict=True) if here]


def _spread(values: Sequence[Any], where: Sequence[bool]) -> list[Any]:
    """The values in the places that are true, None in the others."""
    left = iter(values)
    return [next(left) if here else None for here in where]
