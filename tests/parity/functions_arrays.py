"""Operations on whole arrays as `jaxfn.Function`s, each a port of the class of the same name in
`functions_arrays_pytorch.py`."""

from __future__ import annotations

import jax
import jax.numpy as jnp

import jaxfn


class LinearFunction(jaxfn.Function):
    """An optional argument, and no work for what needs no gradient."""

    @staticmethod
    def forward(ctx, input, weight, bias=None):
        ctx.save_for_backward(input, weight, bias)
        output = input @ weight.T
        if bias is not None:
            output += bias
        return output

    @staticmethod
    def backward(ctx, grad_output):
        input, weight, bias = ctx.saved_tensors
        grad_input = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            grad_input = grad_output @ weight
        if ctx.needs_input_grad[1]:
            grad_weight = grad_output.T @ input
        if bias is not None and ctx.needs_input_grad[2]:
            grad_bias = grad_output.sum(0)
        return grad_input, grad_weight, grad_bias


class LayerNorm(jaxfn.Function):
    """Over the last axis."""

    @staticmethod
    def forward(ctx, x, weight, bias, eps=1e-5):
        mean = x.mean(-1, keepdims=True)
        rstd = 1 / jnp.sqrt(x.var(-1, keepdims=True) + eps)
        normal = (x - mean) * rstd
        ctx.save_for_backward(normal, rstd, weight)
        return normal * weight + bias

    @staticmethod
    def backward(ctx, grad):
        normal, rstd, weight = ctx.saved_tensors
        scaled = grad * weight
        centred = scaled - scaled.mean(-1, keepdims=True)
        grad_x = rstd * (centred - normal * (scaled * normal).mean(-1, keepdims=True))
        return grad_x, (grad * normal).sum(0), grad.sum(0), None


class SoftmaxCrossEntropy(jaxfn.Function):
    """The mean over a batch; the labels are integers."""

    @staticmethod
    def forward(ctx, logits, labels):
        log_softmax = jax.nn.log_softmax(logits)
        ctx.save_for_backward(jnp.exp(log_softmax), labels)
        return -log_softmax[jnp.arange(len(labels)), labels].mean()

    @staticmethod
    def backward(ctx, grad):
        softmax, labels = ctx.saved_tensors
        one_hot = jax.nn.one_hot(labels, softmax.shape[1], dtype=softmax.dtype)
        return grad * (softmax - one_hot) / len(labels), None


class LogSumExp(jaxfn.Function):
    @staticmethod
    def forward(ctx, x, dim, keepdim=False):
        result = jax.nn.logsumexp(x, axis=dim, keepdims=True)
        ctx.save_for_backward(x, result)
        ctx.dim, ctx.keepdim = dim, keepdim
        return result if keepdim else result.squeeze(dim)

    @staticmethod
    def backward(ctx, grad):
        x, result = ctx.saved_tensors
        if not ctx.keepdim:
            grad = jnp.expand_dims(grad, ctx.dim)
        return grad * jnp.exp(x - result), None, None


class Sort(jaxfn.Function):
    """The second output is not differentiable."""

    @staticmethod
    def forward(ctx, x):
        index = jnp.argsort(x, axis=-1)
        ctx.mark_non_differentiable(index)
        ctx.save_for_backward(index)
        return jnp.take_along_axis(x, index, axis=-1), index

    @staticmethod
    def backward(ctx, grad, _):
        (index,) = ctx.saved_tensors
        return jnp.put_along_axis(jnp.zeros_like(grad), index, grad, axis=-1, inplace=False)


class IndexSelect(jaxfn.Function):
    """A gradient that is scattered; the shape is kept as an attribute."""

    @staticmethod
    def forward(ctx, x, index):
        ctx.save_for_backward(index)
        ctx.shape = x.shape
        return x[index]

    @staticmethod
    def backward(ctx, grad):
        (index,) = ctx.saved_tensors
        return jnp.zeros(ctx.shape, grad.dtype).at[index].add(grad), None


class ScatterAdd(jaxfn.Function):
    @staticmethod
    def forward(ctx, source, index, size):
        ctx.save_for_backward(index)
        return jnp.zeros((size, *source.shape[1:]), source.dtype).at[index].add(source)

    @staticmethod
    def backward(ctx, grad):
        (index,) = ctx.saved_tensors
        return grad[index], None, None


class Conv1d(jaxfn.Function):
    """By a matrix product of windows: x [N, C, L], kernel [O, C, K]."""

    @staticmethod
    def forward(ctx, x, kernel):
        size = kernel.shape[2]
        starts = jnp.arange(x.shape[2] - size + 1)
        windows = x[:, :, starts[:, None] + jnp.arange(size)]  # [N, C, L', K]
        ctx.save_for_backward(windows, kernel)
        return jnp.einsum("nclk,ock->nol", windows, kernel)

    @staticmethod
    def backward(ctx, grad):
        windows, kernel = ctx.saved_tensors
        grad_x = None
        if ctx.needs_input_grad[0]:
            size = kernel.shape[2]
            spread = jnp.einsum("nol,ock->nclk", grad, kernel)
            pieces = [
                jnp.pad(spread[..., k], ((0, 0), (0, 0), (k, size - 1 - k))) for k in range(size)
            ]
            grad_x = sum(pieces)
        return grad_x, jnp.einsum("nol,nclk->ock", grad, windows)


class CumProd(jaxfn.Function):
    """Over the last axis, of numbers that are not 0."""

    @staticmethod
    def forward(ctx, x):
        result = jnp.cumprod(x, axis=-1)
        ctx.save_for_backward(x, result)
        return result

    @staticmethod
    def backward(ctx, grad):
        x, result = ctx.saved_tensors
        return jnp.flip(jnp.cumsum(jnp.flip(grad * result, -1), axis=-1), -1) / x


class Inverse(jaxfn.Function):
    @staticmethod
    def forward(ctx, matrix):
        result = jnp.linalg.inv(matrix)
        ctx.save_for_backward(result)
        return result

    @staticmethod
    def backward(ctx, grad):
        (result,) = ctx.saved_tensors
        return -result.T @ grad @ result.T


class Cholesky(jaxfn.Function):
    """The gradient of a symmetric matrix is symmetric."""

    @staticmethod
    def forward(ctx, matrix):
        factor = jnp.linalg.cholesky(matrix)
        ctx.save_for_backward(factor)
        return factor

    @staticmethod
    def backward(ctx, grad):
        (factor,) = ctx.saved_tensors
        inner = jnp.tril(factor.T @ grad)
        inner = inner - jnp.diag(jnp.diag(inner)) / 2
        inverse = jnp.linalg.inv(factor)
        full = inverse.T @ inner @ inverse
        return (full + full.T) / 2


class MaxPool(jaxfn.Function):
    """Over windows of the last axis, with the positions of the maxima as a second output."""

    @staticmethod
    def forward(ctx, x, window=2):
        windows = x.reshape(*x.shape[:-1], -1, window)
        index = windows.argmax(-1)
        ctx.mark_non_differentiable(index)
        ctx.save_for_backward(index)
        ctx.window = window
        return windows.max(-1), index

    @staticmethod
    def backward(ctx, grad, _):
        (index,) = ctx.saved_tensors
        one_hot = jax.nn.one_hot(index, ctx.window, dtype=grad.dtype)
        spread = grad[..., None] * one_hot
        return spread.reshape(*grad.shape[:-1], -1), None


class Normalize(jaxfn.Function):
    """Rows of length 1; the norms are a second output, with a gradient of their own."""

    @staticmethod
    def forward(ctx, x):
        norm = jnp.linalg.norm(x, axis=-1, keepdims=True)
        unit = x / norm
        ctx.save_for_backward(unit, norm)
        return unit, norm

    @staticmethod
    def backward(ctx, grad, grad_norm):
        unit, norm = ctx.saved_tensors
        along = (grad * unit).sum(-1, keepdims=True)
        return (grad - unit * along) / norm + unit * grad_norm


class Concatenate(jaxfn.Function):
    """Any number of arguments."""

    @staticmethod
    def forward(ctx, dim, *tensors):
        ctx.dim = dim
        ctx.sizes = [tensor.shape[dim] for tensor in tensors]
        return jnp.concatenate(tensors, dim)

    @staticmethod
    def backward(ctx, grad):
        ends = [sum(ctx.sizes[: i + 1]) for i in range(len(ctx.sizes))]
        return None, *jnp.split(grad, ends[:-1], ctx.dim)
