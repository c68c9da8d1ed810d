"""The originals of `functions_elementwise.py`, in PyTorch."""

from __future__ import annotations

import torch  # pyright: ignore[reportMissingImports]
from torch.autograd import Function  # pyright: ignore[reportMissingImports]

from scripts.benchmarks.pytorch_peer import MyReLU as MyReLU


class Exp(Function):
    @staticmethod
    def forward(ctx, x):
        result = x.exp()
        ctx.save_for_backward(result)
        return result

    @staticmethod
    def backward(ctx, grad):
        (result,) = ctx.saved_tensors
        return grad * result


class Swish(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * torch.sigmoid(x)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        sigmoid = torch.sigmoid(x)
        return grad * (sigmoid * (1 + x * (1 - sigmoid)))


class Cube(Function):
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


class Round(Function):
    @staticmethod
    def forward(ctx, x):
        return x.round()

    @staticmethod
    def backward(ctx, grad):
        return grad


class ReverseGradient(Function):
    @staticmethod
    def forward(ctx, x, scale):
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad):
        return -ctx.scale * grad, None


class ClipGradient(Function):
    @staticmethod
    def forward(ctx, x, low=-1.0, high=1.0):
        ctx.low, ctx.high = low, high
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad):
        return grad.clamp(ctx.low, ctx.high), None, None


class Spike(Function):
    slope = 25.0

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad / (Spike.slope * x.abs() + 1) ** 2


class SoftThreshold(Function):
    @staticmethod
    def forward(ctx, x, threshold):
        result = x.sign() * (x.abs() - threshold).clamp(min=0)
        ctx.save_for_backward(result)
        return result

    @staticmethod
    def backward(ctx, grad):
        (result,) = ctx.saved_tensors
        moved = result != 0
        return grad * moved, -(grad * result.sign()).sum()


class FakeQuantize(Function):
    @staticmethod
    def forward(ctx, x, scale, zero_point, low, high):
        level = (x / scale).round() + zero_point
        ctx.save_for_backward((level >= low) & (level <= high))
        return (level.clamp(low, high) - zero_point) * scale

    @staticmethod
    def backward(ctx, grad):
        (inside,) = ctx.saved_tensors
        return grad * inside, None, None, None, None


class SinCos(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.set_materialize_grads(False)
        sin, cos = x.sin(), x.cos()
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


class Multiply(Function):
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
        x = x[None] if x_dim is None else x.movedim(x_dim, 0)
        y = y[None] if y_dim is None else y.movedim(y_dim, 0)
        return Multiply.apply(x, y), 0


class ComplexMultiply(Function):
    @staticmethod
    def forward(ctx, x, y):
        ctx.save_for_backward(x, y)
        return x * y

    @staticmethod
    def backward(ctx, grad):
        x, y = ctx.saved_tensors
        return grad * y.conj(), grad * x.conj()


class Huber(Function):
    @staticmethod
    def forward(ctx, x, target, delta=1.0):
        error = x - target
        ctx.save_for_backward(error)
        ctx.delta = delta
        small = error.abs() <= delta
        return torch.where(small, error**2 / 2, delta * (error.abs() - delta / 2)).sum()

    @staticmethod
    def backward(ctx, grad):
        (error,) = ctx.saved_tensors
        slope = grad * error.clamp(-ctx.delta, ctx.delta)
        return slope, -slope, None


class Dropout(Function):
    @staticmethod
    def forward(ctx, x, keep, rate):
        ctx.save_for_backward(keep)
        ctx.rate = rate
        return torch.where(keep, x / (1 - rate), 0)

    @staticmethod
    def backward(ctx, grad):
        (keep,) = ctx.saved_tensors
        return torch.where(keep, grad / (1 - ctx.rate), 0), None, None
