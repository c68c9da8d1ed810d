"""`ctx`: what the forward pass hands to the rules."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.core
import numpy as np


class Context:
    """What `forward` hands to `backward` and `jvp`: they get another object with the same content.

    Every attribute that `forward` sets is kept. The `jax.Array`s in it (in any pytree) become
    residuals; all else, NumPy arrays included, stays as it is and costs no memory.
    """

    __slots__ = ("__dict__", "_forward_mode", "_marked", "_materialize", "_name", "_needs", "_open")
    __slots__ += ("_saved", "_saved_for_forward")

    def __init__(self, name: str, needs_input_grad: tuple[bool, ...]):
        set_slot = super().__setattr__
        set_slot("_name", name)
        set_slot("_needs", needs_input_grad)
        set_slot("_saved", None)
        set_slot("_saved_for_forward", None)
        set_slot("_marked", ())
        set_slot("_materialize", True)
        set_slot("_forward_mode", False)
        set_slot("_open", True)

    @property
    def needs_input_grad(self) -> tuple[bool, ...]:
        """For each argument of `forward`, whether anybody differentiates with respect to it."""
        return self._needs

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """What was saved for the rule that asks."""
        if self._open:
            raise ValueError(f"{self._name}: ctx.saved_tensors is for backward, not for forward")
        saved = self._saved_for_forward if self._forward_mode else self._saved
        if saved is None:
            rule, direction = ("jvp", "forward") if self._forward_mode else ("backward",) * 2
            raise ValueError(
                f"{self._name}.{rule} asked for ctx.saved_tensors, but nothing was saved: "
                f"call ctx.save_for_{direction}(...) in forward or setup_context"
            )
        return saved

    def save_for_backward(self, *tensors: Any) -> None:
        """Keeps arrays, their pytrees, numbers and None for `ctx.saved_tensors` in `backward`."""
        self._save("_saved", "save_for_backward", tensors)

    def save_for_forward(self, *tensors: Any) -> None:
        """Keeps arrays, their pytrees, numbers and None for `ctx.saved_tensors` in `jvp`."""
        self._save("_saved_for_forward", "save_for_forward", tensors)

    def mark_non_differentiable(self, *outputs: Any) -> None:
        """Says which outputs have no derivative: no gradient flows through them."""
        self._check_open("mark_non_differentiable was called")
        super().__setattr__("_marked", outputs)

    def set_materialize_grads(self, value: bool) -> None:
        """Whether a gradient that nobody asks for is an array of zeros (the default), or None."""
        self._check_open("set_materialize_grads was called")
        super().__setattr__("_materialize", bool(value))

    def mark_dirty(self, *_: Any) -> None:
        """There is nothing to mark: JAX arrays do not change in place."""
        raise TypeError(
            f"{self._name}: ctx.mark_dirty has no counterpart, JAX arrays do not change in place; "
            "return the new array instead"
        )

    def __setattr__(self, name: str, value: Any) -> None:
        if hasattr(Context, name):
            raise AttributeError(f"{self._name}: ctx.{name} is not to be set")
        self._check_open(f"{name} was set")
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        self._check_open(f"{name} was deleted")
        super().__delattr__(name)

    def __getattr__(self, name: str) -> Any:
        known = ", ".join(self.__dict__) or "none"
        raise AttributeError(
            f"{self._name}: ctx has no attribute {name}; set in forward or setup_context: {known}"
        )

    def _check_open(self, what: str) -> None:
        if not self._open:
            raise AttributeError(
                f"{self._name}: on ctx, {what} after forward; what backward needs is set in "
                "forward or setup_context"
            )

    def _save(self, slot: str, method: str, tensors: tuple[Any, ...]) -> None:
        self._check_open(f"{method} was called")
        if getattr(self, slot) is not None:
            raise ValueError(f"{self._name}: ctx.{method} was called twice")
        for i, tensor in enumerate(tensors):
            for leaf in jax.tree.leaves(tensor):
                if not isinstance(
                    leaf, jax.Array | np.ndarray | np.generic | int | float | complex
                ):
                    raise TypeError(
                        f"{self._name}: ctx.{method} takes arrays, numbers and None, got "
                        f"{type(leaf).__name__} at position {i}; set it as an attribute of ctx"
                    )
        super().__setattr__(slot, tensors)


class Content(NamedTuple):
    """What a context holds, without its arrays."""

    name: str
    needs: tuple[bool, ...]
    materialize: bool
    tree: Any  # of (saved, saved_for_forward, attributes)
    leaves: tuple[Any, ...]  # _ARRAY in the place of an array
    types: tuple[Any, ...]  # of the arrays

    def restore(self, arrays: Sequence[Any], *, forward_mode: bool = False) -> Context:
        """The context that a rule gets."""
        left = iter(arrays)
        leaves = [next(left) if leaf is _ARRAY else leaf for leaf in self.leaves]
        saved, saved_for_forward, attributes = self.tree.unflatten(leaves)
        context = Context(self.name, self.needs)
        context.__dict__.update(attributes)
        set_slot = functools.partial(object.__setattr__, context)
        set_slot("_saved", saved)
        set_slot("_saved_for_forward", saved_for_forward)
        set_slot("_materialize", self.materialize)
        set_slot("_forward_mode", forward_mode)
        set_slot("_open", False)
        return context

    def agrees_with(self, other: Content) -> bool:
        """Whether the two differ in nothing but, perhaps, `needs_input_grad`."""
        return (
            (self.tree, self.materialize) == (other.tree, other.materialize)
            and len(self.leaves) == len(other.leaves)
            and all(map(_same, self.leaves, other.leaves))
        )


_ARRAY = object()  # in the place of an array


def close(context: Context) -> tuple[list[jax.Array], Content]:
    """Ends the forward pass: the arrays that the context holds, and the rest of it."""
    object.__setattr__(context, "_open", False)
    for name, value in context.__dict__.items():
        if callable(value) and (variable := traced_variable(value)):
            raise TypeError(
                f"{context._name}: the function ctx.{name} closes over the traced value "
                f"{variable}; save the value instead"
            )
    held = (context._saved, context._saved_for_forward, context.__dict__)
    leaves, tree = jax.tree.flatten(held)
    arrays = [leaf for leaf in leaves if isinstance(leaf, jax.Array)]
    others = tuple(_ARRAY if isinstance(leaf, jax.Array) else leaf for leaf in leaves)
    types = tuple(map(jax.typeof, arrays))
    content = Content(context._name, context._needs, context._materialize, tree, others, types)
    return arrays, content


def traced_variable(fun: Callable) -> str | None:
    """The name of a variable that `fun` closes over and that holds a traced value."""
    fun = inspect.unwrap(fun)
    code, closure = getattr(fun, "__code__", None), getattr(fun, "__closure__", None)
    if code is None or closure is None:
        return None
    for name, cell in zip(code.co_freevars, closure, strict=True):
        try:
            value = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
        if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(value)):
            return name
    return None


def _same(one: Any, other: Any) -> bool:
    if one is other:
        return True
    # Only what compares to a plain bool is known to be the same: an array does not.
    return type(one) is type(other) and (one == other) is True
