"""The class idiom: `forward` and `backward` as static methods, `apply` as the operation."""

from __future__ import annotations

import contextvars
import functools
import inspect
from collections.abc import Callable
from typing import Any, ClassVar

from jaxfn.function.context import Context
from jaxfn.function.operation import Rules, call

_applying = contextvars.ContextVar("_applying", default=False)


class Function:
    """Base class of operations with a forward and a backward pass of your own.

    The idiom is that of `torch.autograd.Function`: a subclass defines static methods, and its
    `apply` is the operation, on `jax.custom_vjp`, under every transformation of JAX.

      - `forward(ctx, *args) -> output`. It may do what is not differentiable. Its arguments may be
        optional, given by keyword, pytrees, or no arrays at all: what is no array is static. Its
        output is an array or a pytree; a tuple is several outputs.
      - `backward(ctx, *grads) -> gradients`. One cotangent for each output; one gradient for each
        argument of `forward`, of the argument's structure, shapes and dtypes, or None for zeros.
        `vjp` is another name for it.
      - `forward(*args)` and `setup_context(ctx, inputs, output)`, instead of a `forward` with
        `ctx`.
      - `jvp(ctx, *tangents) -> tangents`, optional: one tangent for each argument (None for what is
        not differentiable), one for each output. With it the operation has forward mode too:
        `jax.jvp`, `jax.jacfwd`, `jax.hessian`; without `backward` besides it, reverse mode is its
        transpose. The operation is then a `jax.custom_jvp`.
      - `vmap(info, in_dims, *args) -> (output, out_dims)`, optional, with `setup_context`: how the
        forward pass is batched, on arguments whose batch is axis `in_dims`, 0 or None; by default
        JAX batches `forward`. `info.batch_size` is the size of the batch.

    On `ctx`, in `forward` or `setup_context`:

      - `ctx.save_for_backward(*arrays)`, and `ctx.saved_tensors` in `backward`;
        `ctx.save_for_forward(*arrays)` for `jvp`;
      - attributes: the `jax.Array`s in them are kept as residuals, all else as it is;
      - `ctx.needs_input_grad`, a tuple of bools, also in `backward`: what is kept or computed for
        an argument that needs no gradient is a waste, and a gradient for it is dropped;
      - `ctx.mark_non_differentiable(*outputs)`;
      - `ctx.set_materialize_grads(False)`: `backward` gets None for an output without cotangent,
        and not zeros.

    Each gradient is checked when it is traced. A rule is to close over no traced value.

    Example:
      >>> import jax, jax.numpy as jnp, jaxfn
      >>> class MyReLU(jaxfn.Function):
      ...     @staticmethod
      ...     def forward(ctx, x):
      ...         ctx.save_for_backward(x)
      ...         return jnp.maximum(x, 0)
      ...
      ...     @staticmethod
      ...     def backward(ctx, grad):
      ...         (x,) = ctx.saved_tensors
      ...         return jnp.where(x < 0, 0, grad)
      >>> jax.grad(lambda x: MyReLU.apply(x).sum())(jnp.array([-1.0, 2.0])).tolist()
      [0.0, 1.0]

    Source: `torch.autograd.Function`; `docs/from_pytorch.md` has the counterpart of each of its
    features.
    """

    apply: ClassVar[Callable[..., Any]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "forward" in cls.__dict__:
            cls.forward = staticmethod(_not_directly(cls.__name__, cls.forward))  # type: ignore
        if hasattr(cls, "forward"):
            cls.apply = staticmethod(_operation(cls))

    def __new__(cls, *_: Any, **__: Any) -> Any:
        raise TypeError(f"{cls.__name__} is not instantiated: call {cls.__name__}.apply(...)")


_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def _operation(cls: Any) -> Callable[..., Any]:
    signature = inspect.signature(cls.forward)
    two_part = hasattr(cls, "setup_context")
    if not two_part:
        parameters = list(signature.parameters.values())
        if not parameters or parameters[0].kind not in _POSITIONAL:
            raise TypeError(
                f"{cls.__name__}.forward takes no ctx: expected forward(ctx, ...), or "
                "setup_context(ctx, inputs, output) beside it"
            )
        signature = signature.replace(parameters=parameters[1:])
        if hasattr(cls, "vmap"):
            raise TypeError(
                f"{cls.__name__} has a vmap rule: expected forward(...) without ctx, and "
                "setup_context(ctx, inputs, output)"
            )

    def compute(ctx: Context, *args: Any, **kwargs: Any) -> Any:
        token = _applying.set(True)
        try:
            return cls.forward(*args, **kwargs) if two_part else cls.forward(ctx, *args, **kwargs)
        finally:
            _applying.reset(token)

    def apply(*args: Any, **kwargs: Any) -> Any:
        rules = Rules(
            name=cls.__name__,
            signature=signature,
            forward=cls.forward,
            compute=compute,
            set_up=cls.setup_context if two_part else None,
            backward=getattr(cls, "backward", getattr(cls, "vjp", None)),
            jvp=getattr(cls, "jvp", None),
            vmap=getattr(cls, "vmap", None),
        )
        return call(rules, args, kwargs)

    apply.__name__ = cls.__name__
    apply.__qualname__ = f"{cls.__qualname__}.apply"
    apply.__module__, apply.__doc__ = cls.__module__, cls.__doc__
    apply.__signature__ = signature  # pyright: ignore[reportFunctionMemberAccess]
    return apply


def _not_directly(name: str, forward: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(forward)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        if not _applying.get():
            raise TypeError(
                f"{name}.forward was called directly, without its backward: call {name}.apply(...)"
            )
        return forward(*args, **kwargs)

    return guarded
