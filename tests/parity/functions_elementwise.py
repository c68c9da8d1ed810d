"""Elementwise operations as `jaxfn.Function`s, each a port of the class of the same name in
`functions_elementwise_pytorch.py`."""

from __future__ import annotations

import jax
import jax.numpy as jnp

import jaxfn


class Exp(jaxfn.Function):
    """The output is what is saved."""

    @staticmethod
    def forward(ctx, x):
        result = jnp.exp(x)
        ctx.save_for_backward(result)
        return result

    @staticmethod
    def backward(ctx, grad):
        (result,) = ctx.saved_tensors
        return grad * result


class MyReLU(jaxfn.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return jnp.clip(x, min=0)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return jnp.where(x < 0, 0, grad)


class Swish(jaxfn.Function):
    """x·σ(x), recomputed in the backward pass."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * jax.nn.sigmoid(x)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        sigmoid = jax.nn.sigmoid(x)
        return grad * (sigmoid * (1 + x * (1 - sigmoid)))


class Cube(jaxfn.Function):
    """An intermediate result is a second output, so that it has a second derivative."""

    @staticmethod
    def forward(x):
        slope = 3 * x**2
        return x**3, slope

    @staticmethod
    def setup_context(ctx, inputs, output):
        (x,) = inputs
        _, slope = output
        ctx.save_for_backward(x, slope)

    @staticmethod
    def backward(ctx, grad, grad_slope):
        x, slope = ctx.saved_tensors
        return grad * slope + grad_slope * 6 * x


class Round(jaxfn.Function):
    """Straight through."""

    @staticmethod
    def forward(ctx, x):
        return jnp.round(x)

    @staticmethod
    def backward(ctx, grad):
        return grad


class ReverseGradient(jaxfn.Function):
    """An argument that is no array, kept as an attribute."""

    @staticmethod
    def forward(ctx, x, scale):
        ctx.scale = scale
        return x

    @staticmethod
    def backward(ctx, grad):
        return -ctx.scale * grad, None


class ClipGradient(jaxfn.Function):
    """Not linear in the gradient; optional arguments."""

    @staticmethod
    def forward(ctx, x, low=-1.0, high=1.0):
        ctx.low, ctx.high = low, high
        return x

    @staticmethod
    def backward(ctx, grad):
        return jnp.clip(grad, ctx.low, ctx.high), None, None


class Spike(jaxfn.Function):
    """A step, with the surrogate gradient of the fast sigmoid."""

    slope = 25.0

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return (x > 0).astype(x.dtype)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad / (Spike.slope * jnp.abs(x) + 1) ** 2


class SoftThreshold(jaxfn.Function):
    """The proximal operator of the L1 norm; its threshold has a gradient, too."""

    @staticmethod
    def forward(ctx, x, threshold):
        result = jnp.sign(x) * jnp.clip(jnp.abs(x) - threshold, min=0)
        ctx.save_for_backward(result)
        return result

    @staticmethod
    def backward(ctx, grad):
        (result,) = ctx.saved_tensors
        moved = result != 0
        return grad * moved, -(grad * jnp.sign(result)).sum()


class FakeQuantize(jaxfn.Function):
    """A mask is saved, one byte for each element."""

    @staticmethod
    def forward(ctx, x, scale, zero_point, low, high):
        level = jnp.round(x / scale) + zero_point
        ctx.save_for_backward((level >= low) & (level <= high))
        return (jnp.clip(level, low, high) - zero_point) * scale

    @staticmethod
    def backward(ctx, grad):
        (inside,) = ctx.saved_tensors
        return grad * inside, None, None, None, None


class SinCos(jaxfn.Function):
    """Several outputs, and no zeros for those that have no gradient."""

    @staticmethod
    def forward(ctx, x):
        ctx.set_materialize_grads(False)
        sin, cos = jnp.sin(x), jnp.cos(x)
        ctx.save_for_backward(sin, cos)
        return sin, cos

    @staticmethod
    def backward(ctx, grad_sin, grad_cos):
        sin, cos = ctx.saved_tensors
        grad = None
        if grad_sin is not None:
            grad = grad_sin * cos
        if grad_cos is not None:
            grad = -grad_cos * sin if grad is None else grad - grad_cos * sin
        return grad


class Multiply(jaxfn.Function):
    """The two-part form, with rules for forward mode and for batching."""

    @staticmethod
    def forward(x, y):
        return x * y

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx, grad):
        x, y = ctx.saved_tensors
        return grad * y, grad * x

    @staticmethod
    def jvp(ctx, x_tangent, y_tangent):
        x, y = ctx.saved_tensors
        return x_tangent * y + x * y_tangent

    @staticmethod
    def vmap(info, in_dims, x, y):
        x_dim, y_dim = in_dims
        x = x[None] if x_dim is None else jnp.moveaxis(x, x_dim, 0)
        y = y[None] if y_dim is None else jnp.moveaxis(y, y_dim, 0)
        return Multiply.apply(x, y), 0


class ComplexMultiply(jaxfn.Function):
    """JAX's gradients are the complex conjugates of PyTorch's: here nothing is conjugated."""

    @staticmethod
    def forward(ctx, x, y):
        ctx.save_for_backward(x, y)
        return x * y

    @staticmethod
    def backward(ctx, grad):
        x, y = ctx.saved_tensors
        return grad * y, grad * x


class Huber(jaxfn.Function):
    """A scalar output, and an argument by keyword."""

    @staticmethod
    def forward(ctx, x, target, delta=1.0):
        error = x - target
        ctx.save_for_backward(error)
        ctx.delta = delta
        small = jnp.abs(error) <= delta
        return jnp.where(small, error**2 / 2, delta * (jnp.abs(error) - delta / 2)).sum()

    @staticmethod
    def backward(ctx, grad):
        (error,) = ctx.saved_tensors
        slope = grad * jnp.clip(error, -ctx.delta, ctx.delta)
        return slope, -slope, None


class Dropout(jaxfn.Function):
    """A mask of bools is an argument; it has no gradient."""

    @staticmethod
    def forward(ctx, x, keep, rate):
        ctx.save_for_backward(keep)
        ctx.rate = rate
        return jnp.where(keep, x / (1 - rate), 0)

    @staticmethod
    def backward(ctx, grad):
        (keep,) = ctx.saved_tensors
        return jnp.where(keep, grad / (1 - ctx.rate), 0), None, None
