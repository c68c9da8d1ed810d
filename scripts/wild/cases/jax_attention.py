"""Cases of JAX: kernels for attention, normalisation and grouped products, and their references.

The kernels run interpreted: they are compiled for a GPU or a TPU alone.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from scripts.wild.case import Entry, by, get, normal, of

PALLAS = "jax.experimental.pallas.ops."
QUERY, KEY, VALUE = (normal(1, 1, 4, 3, seed=seed) for seed in range(3))
INTERPRETED = "interpreted"


def _reference(causal: bool) -> Callable[..., Any]:
    attend = get(PALLAS + "tpu.flash_attention:mha_reference")
    return lambda q, k, v: attend(q, k, v, None, causal=causal)


def _reference_with_bias() -> Callable[..., Any]:
    return get(PALLAS + "tpu.flash_attention:mha_reference")


def _splash(cap: float | None) -> Callable[..., Any]:
    module = importlib.import_module(PALLAS + "tpu.splash_attention.splash_attention_kernel")
    mask = np.tril(np.ones((4, 4), bool))
    return lambda q, k, v: module.attention_reference_custom(
        jnp.asarray(mask), q, k, v, None, attn_logits_soft_cap=cap
    )


def _grouped() -> Callable[..., Any]:
    multiply = get(PALLAS + "tpu.megablox.ops:gmm")
    sizes = np.array([3, 5], np.int32)
    return lambda x, w: multiply(
        x, w, jnp.asarray(sizes), jnp.float32, (8, 8, 8), None, None, False, True
    )


def _norm(name: str) -> Callable[..., Any]:
    normalize = get(f"{PALLAS}gpu.{name}:{name}")
    return lambda x, weight, bias: normalize(
        x, weight, bias, backward_pass_impl="triton", interpret=True
    )


def _mha() -> Callable[..., Any]:
    module = importlib.import_module(PALLAS + "gpu.attention")
    sizes = module.BlockSizes(
        block_q=16, block_k=16, block_q_dkv=16, block_kv_dkv=16, block_q_dq=16, block_kv_dq=16
    )
    return lambda q, k, v: module.mha(q, k, v, None, block_sizes=sizes, interpret=True)


CASES = (
    Entry("jax", "nn._softmax", of("jax._src.nn.functions:_softmax", normal(3, 4))),
    Entry(
        "jax",
        "pallas flash_attention.mha_reference",
        by(lambda: _reference(False), QUERY, KEY, VALUE),
    ),
    Entry(
        "jax",
        "pallas flash_attention.mha_reference (causal)",
        by(lambda: _reference(True), QUERY, KEY, VALUE),
    ),
    Entry(
        "jax",
        "pallas flash_attention.mha_reference (bias)",
        by(_reference_with_bias, QUERY, KEY, VALUE, normal(1, 1, 4, 4, seed=3)),
    ),
    Entry(
        "jax",
        "pallas splash_attention reference",
        by(lambda: _splash(None), QUERY[0, 0], KEY[0, 0], VALUE[0, 0]),
    ),
    Entry(
        "jax",
        "pallas splash_attention reference (soft cap)",
        by(lambda: _splash(2.0), QUERY[0, 0], KEY[0, 0], VALUE[0, 0]),
    ),
    Entry(
        "jax",
        "pallas megablox.gmm",
        by(_grouped, normal(8, 8), normal(2, 8, 8, seed=1)),
        INTERPRETED,
    ),
    Entry(
        "jax",
        "pallas layer_norm",
        by(lambda: _norm("layer_norm"), normal(1, 2, 4), normal(4, seed=1), normal(4, seed=2)),
        INTERPRETED,
    ),
    Entry(
        "jax",
        "pallas rms_norm",
        by(lambda: _norm("rms_norm"), normal(1, 2, 4), normal(4, seed=1), normal(4, seed=2)),
        INTERPRETED,
    ),
    Entry(
        "jax",
        "pallas attention.mha",
        by(_mha, *(normal(1, 16, 1, 16, seed=s) for s in range(3))),
        INTERPRETED,
    ),
)
