"""Attention, its tiles small enough that a few queries and keys have many."""

from __future__ import annotations

import functools
import itertools
import re

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import jaxfn
from jaxfn.functional import _attention_layout, attention
from scripts.cases.attention import attention_reference
from tests.jaxfn.functional.oracles import assert_close, cotangent, exact, value_and_gradients

pytestmark = pytest.mark.numbers


def set_tiles(monkeypatch, rows: int, columns: int, elements: int):
    for name, value in (("ROWS", rows), ("COLUMNS", columns), ("ELEMENTS", elements)):
        monkeypatch.setattr(_attention_layout, name, value)


@pytest.fixture
def small_tiles(monkeypatch):
    set_tiles(monkeypatch, 4, 3, 24)


def draw(*shapes, dtype=np.float64, seed=0):
    rng = np.random.RandomState(seed)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def example(batch=2, queries=7, keys=8, heads=4, shared=2, size=3, **options):
    shapes = [(batch, queries, heads, size), *[(batch, keys, shared, size)] * 2]
    return draw(*shapes, **options)


def both(args, **options):
    """(y, *gradients) of the operation and of the reference, in one program."""
    y_bar = cotangent(args[0])

    @jax.jit
    def run(*args):
        return [
            value_and_gradients(functools.partial(fun, **options), args, y_bar)
            for fun in (jaxfn.dot_product_attention, attention_reference)
        ]

    return run(*args)


LENGTHS = {
    "query_seq_lengths": np.array([7, 2], np.int32),
    "key_value_seq_lengths": np.array([3, 0], np.int32),
}
OPTIONS = {
    "all": {},
    "causal": {"is_causal": True},
    "window": {"local_window_size": (2, 1)},
    "causal window": {"is_causal": True, "local_window_size": 2},
    "lengths": LENGTHS,
    "causal lengths": {"is_causal": True, "key_value_seq_lengths": np.array([8, 5], np.int32)},
    "mask": {"mask": np.arange(8) % 3 != np.arange(7)[:, None] % 2, "scale": 0.3},
    "mask of heads": {"mask": (np.arange(8) < np.arange(8).reshape(2, 4, 1, 1)), "is_causal": True},
}
BIASES = [None, (1, 1, 7, 8), (2, 4, 7, 8), (1, 4, 1, 8), (2, 1, 7, 8), (8,)]


def check_both(options: str, bias):
    args = example()
    if bias is not None:
        args += draw(bias, seed=1)
    with jax.enable_x64(True):
        assert_close(*both(args, **OPTIONS[options]), 1e-13)


@pytest.mark.parametrize(
    ("options", "bias"), [*zip(OPTIONS, itertools.cycle(BIASES), strict=False)], ids=str
)
def test_many_tiles_in_float64(small_tiles, options, bias):
    check_both(options, bias)


@pytest.mark.long
@pytest.mark.parametrize("tiles", [(4, 3, 24), (5, 5, 2**20), (2, 8, 1)], ids=str)
@pytest.mark.parametrize("bias", BIASES, ids=str)
@pytest.mark.parametrize("options", OPTIONS)
def test_each_mask_with_each_bias(monkeypatch, options, bias, tiles):
    set_tiles(monkeypatch, *tiles)
    check_both(options, bias)


@pytest.mark.parametrize("all_at_once", [True, False])
def test_the_tiles_of_other_devices(monkeypatch, all_at_once):
    """The numbers of the tiling that no CPU takes."""
    if not all_at_once:
        monkeypatch.setattr(_attention_layout, "MOST_ELEMENTS", 1)
        monkeypatch.setattr(_attention_layout, "LARGE", 3)
    monkeypatch.setattr(attention, "small_tiles", _attention_layout.large_tiles)
    args = example() + draw((1, 4, 7, 8), seed=1)
    with jax.enable_x64(True):
        assert_close(*both(args, is_causal=True, **LENGTHS), 1e-13)


def test_lengths_beyond_the_arrays_and_below_zero():
    """Of all, and of none."""
    lengths = {
        "query_seq_lengths": np.array([99, -1], np.int8),
        "key_value_seq_lengths": np.array([255, 3], np.uint8),
    }
    with jax.enable_x64(True):
        assert_close(*both(example(), is_causal=True, **lengths), 1e-13)


@hypothesis.settings(max_examples=6, deadline=None)
@hypothesis.given(
    batch=st.integers(1, 3),
    queries=st.integers(1, 9),
    keys=st.integers(1, 9),
    shared=st.integers(1, 3),
    group=st.integers(1, 3),
    causal=st.booleans(),
)
def test_any_sizes(batch, queries, keys, shared, group, causal):
    with pytest.MonkeyPatch.context() as patch, jax.enable_x64(True):
        set_tiles(patch, 4, 3, 24)
        args = example(batch, queries, keys, shared * group, shared)
        assert_close(*both(args, is_causal=causal), 1e-13)


@pytest.mark.parametrize("shapes", [(0, 3, 3), (2, 0, 3), (2, 3, 0)])
def test_nothing_to_attend_to(shapes):
    batch, queries, keys = shapes
    args = example(batch, queries, keys, dtype=np.float32)
    y, *gradients = value_and_gradients(jaxfn.dot_product_attention, args, cotangent(args[0]))
    for actual, like in zip((y, *gradients), (args[0], *args), strict=True):
        np.testing.assert_array_equal(actual, np.zeros_like(like))


def test_second_order_in_tiles(small_tiles):
    args = example(1, 5, 4) + draw((4, 1, 4), seed=1)
    weights = draw(*(a.shape for a in args), seed=2)

    def second_order(fun):
        def loss(*args):
            y = fun(*args, is_causal=True)
            return jnp.vdot(jnp.sin(y), cotangent(y))

        def of_gradients(*args):
            gradients = jax.grad(loss, (0, 1, 2, 3))(*args)
            return sum(jnp.vdot(jnp.sin(g), w) for g, w in zip(gradients, weights, strict=True))

        return jax.grad(of_gradients, (0, 1, 2, 3))

    with jax.enable_x64(True):
        funs = jaxfn.dot_product_attention, attention_reference
        actual, expected = jax.jit(lambda *a: [second_order(fun)(*a) for fun in funs])(*args)
        assert_close(actual, expected, 1e-12)


def test_a_query_that_sees_no_key_gives_0_and_gets_no_gradient():
    args = example(1, 3, 4, dtype=np.float32)
    keep = np.array([[False] * 4, [True] * 4, [False] * 4])
    for options in ({"mask": keep}, {"bias": np.where(keep, 0, -np.inf).astype(np.float32)}):
        fun = functools.partial(jaxfn.dot_product_attention, **options)
        y, *gradients = value_and_gradients(fun, args, cotangent(args[0]))
        assert not np.any(np.asarray(y)[:, [0, 2]])
        assert not np.any(np.asarray(gradients[0])[:, [0, 2]])
        assert all(np.isfinite(g).all() and np.any(g) for g in gradients)


def test_logits_of_ten_thousands():
    args = example(1, 4, 5)
    args[0] *= 1e4
    with jax.enable_x64(True):
        actual, expected = both(args)
        assert all(np.isfinite(a).all() for a in actual)
        for i in (0, 3):  # of q and k the gradients are rounding, beside weights of 0 and 1
            assert_close(actual[i : i + 1], expected[i : i + 1], 1e-11)


def test_what_is_masked_has_no_part():
    """Not even where it is infinite, beyond an example's length."""
    q, k, v = example(1, 3, 6, dtype=np.float32)
    lengths = np.array([4], np.int32)

    def gradients(k):
        fun = functools.partial(jaxfn.dot_product_attention, key_value_seq_lengths=lengths)
        return value_and_gradients(fun, (q, k, v), cotangent(q))

    changed = k.copy()
    changed[:, 4:] = 1e30
    for actual, expected in zip(gradients(changed), gradients(k), strict=True):
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_sixteen_bits_lose_no_more_than_plain_jax(dtype):
    args = [jnp.asarray(a, dtype) for a in example(2, 33, 33, 4, 2, 16)]
    y_bar = cotangent(args[0])
    wanted = exact(functools.partial(attention_reference, is_causal=True), args, y_bar)

    def errors(fun):
        found = jax.jit(
            lambda *args: value_and_gradients(functools.partial(fun, is_causal=True), args, y_bar)
        )(*args)
        return [
            float(np.sqrt(np.mean((np.asarray(a, np.float64) - w) ** 2)))
            for a, w in zip(found, wanted, strict=True)
        ]

    # JAX's own raises for float16, on a CPU.
    plain = errors(jax.nn.dot_product_attention if dtype == "bfloat16" else attention_reference)
    for ours, theirs in zip(errors(jaxfn.dot_product_attention), plain, strict=True):
        assert ours <= 1.5 * theirs


def test_as_jax_without_a_batch_and_at_its_defaults():
    args = [a[0] for a in example(1, dtype=np.float32)]
    for options in ({}, {"is_causal": True, "scale": 0.2}, {"local_window_size": 2}):
        y, *gradients = (
            value_and_gradients(functools.partial(fun, **options), args, cotangent(args[0]))
            for fun in (jaxfn.dot_product_attention, jax.nn.dot_product_attention)
        )
        assert_close(y, gradients[0], 2e-6)


def test_a_traced_scale_has_a_gradient():
    args = example()

    def loss(fun):
        return lambda scale: jnp.sum(jnp.sin(fun(*args, scale=scale)))

    with jax.enable_x64(True):
        scale = jnp.float64(0.7)
        actual, expected = (
            jax.grad(loss(fun))(scale) for fun in (jaxfn.dot_product_attention, attention_reference)
        )
        np.testing.assert_allclose(actual, expected, rtol=1e-12)


def loops(fun, *args) -> list[int]:
    """How many steps each scan takes in what `fun` is traced to."""
    return [int(n) for n in re.findall(r"length=(\d+)", str(jax.make_jaxpr(fun)(*args)))]


@pytest.mark.parametrize(
    ("options", "tiles"),
    [({}, 64), ({"is_causal": True}, 36), ({"local_window_size": (2, 0)}, 15)],
    ids=str,
)
def test_tiles_that_are_ruled_out_are_never_computed(monkeypatch, options, tiles):
    set_tiles(monkeypatch, 2, 2, 2**20)
    args = example(1, 16, 16, 1, 1, dtype=np.float32)
    fun = functools.partial(jaxfn.dot_product_attention, **options)
    y_bar = cotangent(args[0])
    assert set(loops(lambda *a: value_and_gradients(fun, a, y_bar), *args)) == {tiles}


@pytest.mark.optimized
def test_the_weights_are_never_in_memory():
    """A tenth of what plain JAX takes, of 2,048 queries and keys; it grows with their number."""
    q, k, v = example(1, 2048, 2048, 2, 2, 16, dtype=np.float32)

    def temporary(fun):
        def loss(*args):
            return jnp.sum(jnp.sin(fun(*args, is_causal=True)))

        program = jax.jit(jax.grad(loss, (0, 1, 2))).lower(q, k, v).compile()
        return program.memory_analysis().temp_size_in_bytes

    ours, plain = map(temporary, (jaxfn.dot_product_attention, jax.nn.dot_product_attention))
    assert 10 * ours <= plain


def test_what_is_kept_is_the_inputs_the_output_and_a_number_for_each_query():
    args = example(1, 16, 16, 4, 2, 8, dtype=np.float32)
    _, vjp = jax.vjp(functools.partial(jaxfn.dot_product_attention, is_causal=True), *args)
    kept = sorted(leaf.shape for leaf in jax.tree.leaves(vjp) if leaf.size > 1)
    q, k, v = (a.shape for a in args)
    assert kept == sorted([q, k, v, q, q[:3]])


def test_a_bias_that_needs_no_gradient_has_none():
    args = example(dtype=np.float32)
    bias = np.zeros((1, 4, 7, 8), np.float32)

    def sums(argnums):
        def loss(bias, *args):
            return jnp.sum(jnp.sin(jaxfn.dot_product_attention(*args, bias)))

        return str(jax.make_jaxpr(jax.grad(loss, argnums))(bias, *args)).count("reduce_sum")

    assert sums((1,)) < sums((0, 1))


def test_the_rule_is_used():
    rules = jaxfn.custom_rules(jaxfn.dot_product_attention, *example(dtype=np.float32))
    assert [rule.name for rule in rules] == [attention._attention.__name__]


@pytest.mark.parametrize("mode", [AxisType.Auto, AxisType.Explicit], ids=str)
@pytest.mark.parametrize("divided", ["batch", "heads"])
def test_on_two_devices_in_tiles(small_tiles, mode, divided):
    args = example(4, 5, 6, 4, 2, dtype=np.float32) + draw((1, 4, 5, 6), dtype=np.float32)
    along = P("data") if divided == "batch" else P(None, None, "data")
    specs = [along] * 3 + [P() if divided == "batch" else P(None, "data")]
    y_bar = cotangent(args[0])
    mesh = jax.make_mesh((2,), ("data",), axis_types=(mode,))
    fun = functools.partial(jaxfn.dot_product_attention, is_causal=True)
    with jax.set_mesh(mesh):
        placed = [
            jax.device_put(a, NamedSharding(mesh, s)) for a, s in zip(args, specs, strict=True)
        ]
        y_bar = jax.device_put(y_bar, placed[0].sharding)
        run = jax.jit(lambda y_bar, *args: value_and_gradients(fun, args, y_bar))
        program = run.lower(y_bar, *placed).compile()
        y, *gradients = program(y_bar, *placed)
    assert y.sharding.is_equivalent_to(placed[0].sharding, y.ndim)
    for gradient, primal in zip(gradients, placed, strict=True):
        assert gradient.sharding.is_equivalent_to(primal.sharding, primal.ndim)
    reference = functools.partial(attention_reference, is_causal=True)
    assert_close((y, *gradients), exact(reference, args, y_bar), 5e-6)
    assert "all-gather" not in program.as_text()


def test_shard_map_sums_over_the_devices(small_tiles):
    args = example(4, 5, 6, dtype=np.float32) + draw((1, 4, 5, 6), dtype=np.float32)
    lengths = np.array([6, 3, 0, 5], np.int32)
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,))
    specs = (P("data"), P("data"), P("data"), P(), P("data"))

    def fun(q, k, v, bias, lengths):
        return jaxfn.dot_product_attention(q, k, v, bias, key_value_seq_lengths=lengths)

    sharded = jax.shard_map(fun, mesh=mesh, in_specs=specs, out_specs=P("data"))
    y_bar = cotangent(args[0])
    actual = jax.jit(lambda *a: value_and_gradients(lambda *a: sharded(*a, lengths), a, y_bar))(
        *args
    )
    reference = functools.partial(attention_reference, key_value_seq_lengths=lengths)
    assert_close(actual, exact(reference, args, y_bar), 5e-6)


@pytest.mark.parametrize(
    "sizes", [("b", 5, 6), ("b", "t", "s")], ids=["any batch", "any batch and lengths"]
)
def test_export_of_any_size(small_tiles, sizes):
    batch, queries, keys = jax.export.symbolic_shape(", ".join(map(str, sizes)))
    shapes = [(batch, queries, 4, 3), *[(batch, keys, 2, 3)] * 2]
    options = {"is_causal": True, "local_window_size": (3, 0)}
    fun = jax.jit(
        lambda *args: value_and_gradients(
            functools.partial(jaxfn.dot_product_attention, **options), args, jnp.sin(args[0])
        )
    )
    exported = jax.export.export(fun, platforms=("cpu", "cuda", "tpu"))(
        *(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes)
    )
    args = example(3, 5, 6, dtype=np.float32)
    reference = functools.partial(attention_reference, **options)
    assert_close(exported.call(*args), exact(reference, args, np.sin(args[0])), 5e-6)


Q, K = np.ones((2, 3, 4, 5), np.float32), np.ones((2, 6, 2, 5), np.float32)


@pytest.mark.parametrize(
    ("args", "options", "error", "message"),
    [
        ((Q[0, 0], K, K), {}, ValueError, "query [B, T, N, H] or [T, N, H], got [4, 5]"),
        ((Q, K[0], K), {}, ValueError, "key [2, S, K, 5] to match query [2, 3, 4, 5], got key"),
        ((Q, K[..., :4], K), {}, ValueError, "got key [2, 6, 2, 4]"),
        ((Q, K, K[:, :5]), {}, ValueError, "value [2, 6, 2, 5] to match key, got value [2, 5, 2"),
        ((Q[:, :, :3], K, K), {}, ValueError, "a multiple of the 2 heads of key"),
        ((Q, K.astype("float16"), K), {}, TypeError, "key of dtype float32 as query, got float16"),
        ((Q.astype(int), K, K), {}, TypeError, "query of dtype float16, bfloat16"),
        ((Q, K, K, np.ones((3, 7), "float32")), {}, ValueError, "bias [2, 4, 3, 6], or 1 in"),
        ((Q, K, K, np.ones((3, 6), bool)), {}, TypeError, "bias of dtype float16"),
        ((Q, K, K), {"mask": np.ones((3, 6), "float32")}, TypeError, "mask of dtype bool"),
        ((Q, K, K), {"mask": np.ones((2, 3, 6), bool)}, ValueError, "got mask [2, 3, 6]"),
        ((Q, K, K), {"scale": "1"}, TypeError, "scale to be a Python number, got str"),
        ((Q, K, K), {"scale": jnp.ones(2)}, TypeError, "a scalar array, got float32[2]"),
        ((Q, K, K), {"is_causal": 1}, TypeError, "is_causal to be a bool, got int"),
        ((Q, K, K), {"local_window_size": -1}, ValueError, "local_window_size from 0"),
        ((Q, K, K), {"local_window_size": (1, 2, 3)}, ValueError, "an int or (left, right)"),
        ((Q, K, K), {"query_seq_lengths": np.ones(3, int)}, ValueError, "query_seq_lengths [2]"),
        ((Q, K, K), {"key_value_seq_lengths": np.ones(2)}, TypeError, "dtype int8"),
    ],
)
def test_wrong_calls(args, options, error, message):
    with pytest.raises(error, match=re.escape(message)) as raised:
        jaxfn.dot_product_attention(*args, **options)
    assert str(raised.value).startswith("dot_product_attention: ")
