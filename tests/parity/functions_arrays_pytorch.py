"""The originals of `functions_arrays.py`, in PyTorch."""

from __future__ import annotations

import torch  # pyright: ignore[reportMissingImports]
import torch.nn.functional as F  # noqa: N812  # pyright: ignore[reportMissingImports]
from torch.autograd import Function  # pyright: ignore[reportMissingImports]

from scripts.benchmarks.pytorch_peer import LinearFunction as LinearFunction


class LayerNorm(Function):
    @staticmethod
    def forward(ctx, x, weight, bias, eps=1e-5):
        mean = x.mean(-1, keepdim=True)
        rstd = 1 / torch.sqrt(x.var(-1, keepdim=True, correction=0) + eps)
        normal = (x - mean) * rstd
        ctx.save_for_backward(normal, rstd, weight)
        return normal * weight + bias

    @staticmethod
    def backward(ctx, grad):
        normal, rstd, weight = ctx.saved_tensors
        scaled = grad * weight
        centred = scaled - scaled.mean(-1, keepdim=True)
        grad_x = rstd * (centred - normal * (scaled * normal).mean(-1, keepdim=True))
        return grad_x, (grad * normal).sum(0), grad.sum(0), None


class SoftmaxCrossEntropy(Function):
    @staticmethod
    def forward(ctx, logits, labels):
        log_softmax = F.log_softmax(logits, 1)
        ctx.save_for_backward(log_softmax.exp(), labels)
        return -log_softmax[torch.arange(len(labels)), labels].mean()

    @staticmethod
    def backward(ctx, grad):
        softmax, labels = ctx.saved_tensors
        one_hot = F.one_hot(labels, softmax.shape[1]).to(softmax.dtype)
        return grad * (softmax - one_hot) / len(labels), None


class LogSumExp(Function):
    @staticmethod
    def forward(ctx, x, dim, keepdim=False):
        result = x.logsumexp(dim, keepdim=True)
        ctx.save_for_backward(x, result)
        ctx.dim, ctx.keepdim = dim, keepdim
        return result if keepdim else result.squeeze(dim)

    @staticmethod
    def backward(ctx, grad):
        x, result = ctx.saved_tensors
        if not ctx.keepdim:
            grad = grad.unsqueeze(ctx.dim)
        return grad * (x - result).exp(), None, None


class Sort(Function):
    @staticmethod
    def forward(ctx, x):
        index = x.argsort(-1)
        ctx.mark_non_differentiable(index)
        ctx.save_for_backward(index)
        return x.gather(-1, index), index

    @staticmethod
    def backward(ctx, grad, _):
        (index,) = ctx.saved_tensors
        return torch.zeros_like(grad).scatter(-1, index, grad)


class IndexSelect(Function):
    @staticmethod
    def forward(ctx, x, index):
        ctx.save_for_backward(index)
        ctx.shape = x.shape
        return x[index]

    @staticmethod
    def backward(ctx, grad):
        (index,) = ctx.saved_tensors
        return torch.zeros(ctx.shape, dtype=grad.dtype).index_add(0, index, grad), None


class ScatterAdd(Function):
    @staticmethod
    def forward(ctx, source, index, size):
        ctx.save_for_backward(index)
        return torch.zeros(size, *source.shape[1:], dtype=source.dtype).index_add(0, index, source)

    @staticmethod
    def backward(ctx, grad):
        (index,) = ctx.saved_tensors
        return grad[index], None, None


class Conv1d(Function):
    @staticmethod
    def forward(ctx, x, kernel):
        windows = x.unfold(2, kernel.shape[2], 1)  # [N, C, L', K]
        ctx.save_for_backward(windows, kernel)
        return torch.einsum("nclk,ock->nol", windows, kernel)

    @staticmethod
    def backward(ctx, grad):
        windows, kernel = ctx.saved_tensors
        grad_x = None
        if ctx.needs_input_grad[0]:
            size = kernel.shape[2]
            spread = torch.einsum("nol,ock->nclk", grad, kernel)
            grad_x = sum(F.pad(spread[..., k], (k, size - 1 - k)) for k in range(size))
        return grad_x, torch.einsum("nol,nclk->ock", grad, windows)


class CumProd(Function):
    @staticmethod
    def forward(ctx, x):
        result = x.cumprod(-1)
        ctx.save_for_backward(x, result)
        return result

    @staticmethod
    def backward(ctx, grad):
        x, result = ctx.saved_tensors
        return (grad * result).flip(-1).cumsum(-1).flip(-1) / x


class Inverse(Function):
    @staticmethod
    def forward(ctx, matrix):
        result = torch.linalg.inv(matrix)
        ctx.save_for_backward(result)
        return result

    @staticmethod
    def backward(ctx, grad):
        (result,) = ctx.saved_tensors
        return -result.T @ grad @ result.T


class Cholesky(Function):
    @staticmethod
    def forward(ctx, matrix):
        factor = torch.linalg.cholesky(matrix)
        ctx.save_for_backward(factor)
        return factor

    @staticmethod
    def backward(ctx, grad):
        (factor,) = ctx.saved_tensors
        inner = (factor.T @ grad).tril()
        inner = inner - torch.diag(torch.diag(inner)) / 2
        inverse = torch.linalg.inv(factor)
        full = inverse.T @ inner @ inverse
        return (full + full.T) / 2


class MaxPool(Function):
    @staticmethod
    def forward(ctx, x, window=2):
        windows = x.reshape(*x.shape[:-1], -1, window)
        index = windows.argmax(-1)
        ctx.mark_non_differentiable(index)
        ctx.save_for_backward(index)
        ctx.window = window
        return windows.amax(-1), index

    @staticmethod
    def backward(ctx, grad, _):
        (index,) = ctx.saved_tensors
        one_hot = F.one_hot(index, ctx.window).to(grad.dtype)
        spread = grad[..., None] * one_hot
        return spread.reshape(*grad.shape[:-1], -1), None


class Normalize(Function):
    @staticmethod
    def forward(ctx, x):
        norm = torch.linalg.norm(x, dim=-1, keepdim=True)
        unit = x / norm
        ctx.save_for_backward(unit, norm)
        return unit, norm

    @staticmethod
    def backward(ctx, grad, grad_norm):
        unit, norm = ctx.saved_tensors
        along = (grad * unit).sum(-1, keepdim=True)
        return (grad - unit * along) / norm + unit * grad_norm


class Concatenate(Function):
    @staticmethod
    def forward(ctx, dim, *tensors):
        ctx.dim = dim
        ctx.sizes = [tensor.shape[dim] for tensor in tensors]
        return torch.cat(tensors, dim)

    @staticmethod
    def backward(ctx, grad):
        return None, *grad.split(ctx.sizes, ctx.dim)
