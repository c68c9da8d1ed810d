from __future__ import annotations

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

import jaxfn
from jaxfn.functional import _token_chunks
from tests.jaxfn.functional.oracles import assert_close, compiled, exact, value_and_gradients

pytestmark = pytest.mark.numbers


def normal(*shape: int, dtype="float32", seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.RandomState(seed).standard_normal(shape), dtype)


def labels_of(tokens: int, classes: int) -> np.ndarray:
    return np.random.RandomState(7).randint(classes, size=tokens)


def plain(x, weight, bias, labels, where=None, *, label_smoothing=0.0, z_loss=0.0, soft_cap=None):
    """The losses of the tokens, by optax."""
    z = x @ weight if bias is None else x @ weight + bias
    z = z if soft_cap is None else soft_cap * jnp.tanh(z / soft_cap)
    share = label_smoothing / z.shape[-1]
    target = (1 - label_smoothing) * jax.nn.one_hot(labels, z.shape[-1], dtype=z.dtype) + share
    losses = optax.safe_softmax_cross_entropy(z, target)
    losses += z_loss * jax.nn.logsumexp(z, axis=-1) ** 2
    return losses if where is None else jnp.where(where, losses, 0)


def reduced(reduction: str, losses: jax.Array, where: np.ndarray | None) -> jax.Array:
    if reduction == "none":
        return losses
    count = losses.size if where is None else max(np.sum(where), 1)
    return jnp.sum(losses) / (count if reduction == "mean" else 1)


@pytest.fixture
def small_chunks(monkeypatch):
    """Chunks of four tokens, and blocks of the weight's gradient two classes wide."""
    monkeypatch.setattr(_token_chunks, "CHUNK_BYTES", 1)
    monkeypatch.setattr(_token_chunks, "LEAST_ROWS", 4)
    monkeypatch.setattr(_token_chunks, "BLOCKS", 2)
    monkeypatch.setattr(_token_chunks, "LEAST_WIDTH", 2)


TERMS = {"label_smoothing": 0.1, "z_loss": 0.01, "soft_cap": 3.0}


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("options", [{}, TERMS], ids=["plain", "all_terms"])
def test_many_chunks_in_float64_both_orders_and_modes(small_chunks, reduction, options):
    tokens, classes = 11, 6  # chunks of four, the last filled up
    labels, where = labels_of(tokens, classes), np.arange(tokens) % 3 != 1

    def ours(x, weight, bias):
        return jaxfn.linear_cross_entropy(
            x, weight, labels, bias, reduction=reduction, where=where, **options
        )

    def theirs(x, weight, bias):
        return reduced(reduction, plain(x, weight, bias, labels, where, **options), where)

    def derivatives(fun, args, dots, y_bar):
        def weighted(*args):
            gradients = value_and_gradients(fun, args, y_bar)
            return sum(jnp.sum(jnp.sin((1 + i) * g)) for i, g in enumerate(gradients))

        second = jax.grad(weighted, (0, 1, 2))
        forward = lambda *args: jax.jvp(fun, args, dots)[1]  # noqa: E731
        over = jax.grad(lambda *args: jnp.vdot(y_bar, forward(*args)), (0, 1, 2))
        first = (*value_and_gradients(fun, args, y_bar), forward(*args))
        return first, (*second(*args), *over(*args), jax.jvp(second, args, dots)[1][0])

    with jax.enable_x64(True):
        shapes = ((tokens, 3), (3, classes), (classes,))
        args, dots = (
            tuple(normal(*shape, dtype="float64", seed=i + j) for i, shape in enumerate(shapes))
            for j in (0, 5)
        )
        y_bar = normal(*jax.eval_shape(ours, *args).shape, dtype="float64")
        run = jax.jit(lambda *a: [derivatives(fun, *a) for fun in (ours, theirs)])
        (first, second), (first_exact, second_exact) = run(args, dots, y_bar)
        assert_close(first, first_exact, 1e-13)
        assert_close(second, second_exact, 1e-12)


@settings(deadline=None, max_examples=12)
@given(
    lead=st.lists(st.integers(0, 5), max_size=2),
    classes=st.sampled_from([1, 2, 7, 16]),
    size=st.integers(0, 3),
    rows=st.sampled_from([1, 3, 8]),
    reduction=st.sampled_from(["mean", "sum", "none"]),
)
def test_any_number_of_tokens_and_classes(lead, classes, size, rows, reduction):
    labels = labels_of(int(np.prod(lead)), classes).reshape(lead)

    def ours(x, weight, bias):
        return jaxfn.linear_cross_entropy(x, weight, labels, bias, reduction=reduction)

    def theirs(x, weight, bias):
        return reduced(reduction, plain(x, weight, bias, labels), labels >= 0)

    args = normal(*lead, size), normal(size, classes, seed=1), normal(classes, seed=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_token_chunks, "CHUNK_BYTES", 1)
        patch.setattr(_token_chunks, "LEAST_ROWS", rows)
        patch.setattr(_token_chunks, "LEAST_WIDTH", 1)
        y_bar = normal(*lead) if reduction == "none" else jnp.float32(0.5)
        assert_close(compiled(ours)(y_bar, *args), exact(theirs, args, y_bar), 2e-6)


@pytest.mark.parametrize("tokens", [1, 127, 129, 257, 1000, 1024])
def test_chunks_come_out_even_where_they_can(tokens):
    chosen = _token_chunks.layout((tokens,), 10**6, _token_chunks.CHUNK_BYTES)
    assert chosen.rows <= _token_chunks.LEAST_ROWS
    assert 0 <= chosen.chunks * chosen.rows - tokens < chosen.chunks
    assert chosen.filled == (tokens == 257)  # a prime
    array = np.arange(3 * tokens).reshape(tokens, 3)
    np.testing.assert_array_equal(chosen.join(chosen.split(jnp.asarray(array))), array)


SUBSETS = [s for n in (0, 1, 2, 3) for s in itertools.combinations(("x", "weight", "bias"), n)]


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("wanted", SUBSETS, ids="+".join)
def test_products(wanted, reduction):
    given = {"x": normal(4, 3), "weight": normal(3, 5), "bias": normal(5)}
    fixed = {name: value for name, value in given.items() if name not in wanted}
    labels = labels_of(4, 5)

    def gradient(chosen):
        def loss(chosen):
            all_losses = jaxfn.linear_cross_entropy(
                labels=labels, reduction=reduction, **fixed, **chosen
            )
            return jnp.sum(jnp.sin(all_losses))

        return jax.grad(loss)(chosen) if chosen else loss(chosen)

    jaxpr = jax.make_jaxpr(jax.jit(gradient))({name: given[name] for name in wanted})
    again = bool(wanted) and reduction == "none"  # the logits
    expected = 1 + again + len({"x", "weight"} & set(wanted))
    assert str(jaxpr).count("dot_general[") == expected


def loss_of(x, weight, labels, reduction):
    losses = jaxfn.linear_cross_entropy(x, weight, labels, reduction=reduction)
    return jnp.sum(losses * jnp.cos(labels))


def temporary(fun, tokens: int, size: int, classes: int) -> int:
    """Bytes that the value and gradients of x and the weight take beside arguments and results."""
    shapes = [jax.ShapeDtypeStruct(s, "float32") for s in ((tokens, size), (size, classes))]
    labels = jax.ShapeDtypeStruct((tokens,), "int32")
    gradients = jax.jit(jax.value_and_grad(fun, (0, 1)))
    return gradients.lower(*shapes, labels).compile().memory_analysis().temp_size_in_bytes


@pytest.mark.present_checkpoint
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_the_logits_are_never_in_memory(monkeypatch, reduction):
    size, classes = 16, 4096
    monkeypatch.setattr(_token_chunks, "CHUNK_BYTES", 4 * 128 * classes)
    fun = functools.partial(loss_of, reduction=reduction)
    few, many = (temporary(fun, tokens, size, classes) for tokens in (1024, 4096))
    assert few < 4 * 1024 * classes / 4
    per_token = 4 * (2 * size + 16)  # a row of x̄, once more where it is scaled, and some numbers
    assert many - few <= (4096 - 1024) * per_token


@pytest.mark.present_checkpoint
def test_second_order_keeps_no_logits(monkeypatch):
    size, classes = 16, 4096
    monkeypatch.setattr(_token_chunks, "CHUNK_BYTES", 4 * 128 * classes)

    def penalty(x, weight, labels):
        x_bar = jax.grad(lambda x: jaxfn.linear_cross_entropy(x, weight, labels))(x)
        return jnp.sum(x_bar**2)

    assert temporary(penalty, 2048, size, classes) < 4 * 2048 * classes / 2


def test_the_rule_is_used():
    for reduction, name in (("mean", "_linear_cross_entropy"), ("none", "_linear_cross_entropies")):
        fun = functools.partial(
            jaxfn.linear_cross_entropy, labels=np.zeros(4, int), reduction=reduction
        )
        (rule,) = jaxfn.custom_rules(fun, normal(4, 3), normal(3, 5))
        assert (rule.kind, rule.name) == ("custom_jvp", name)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_what_is_masked_has_no_part(reduction):
    where = np.array([True, False, True, False])
    labels = np.array([1, -100, 2, 10**6])
    x, weight = normal(4, 3).at[1].set(jnp.nan).at[3].set(jnp.inf), normal(3, 5, seed=1)

    def value_and_grad(x, labels, where):
        return jax.value_and_grad(
            lambda x, weight: jnp.sum(
                jaxfn.linear_cross_entropy(x, weight, labels, where=where, reduction=reduction)
            ),
            (0, 1),
        )(x, weight)

    y, (x_bar, weight_bar) = value_and_grad(x, labels, where)
    y_kept, (x_bar_kept, weight_bar_kept) = value_and_grad(x[where], labels[where], None)
    actual, expected = (y, x_bar[where], weight_bar), (y_kept, x_bar_kept, weight_bar_kept)
    assert_close(actual, expected, 1e-6)
    assert not np.any(x_bar[~where])


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("tokens", [0, 3])
def test_no_token_that_counts(reduction, tokens):
    def loss(x, weight):
        labels, where = np.full(tokens, -100), np.zeros(tokens, bool)
        return jaxfn.linear_cross_entropy(x, weight, labels, where=where, reduction=reduction)

    y, gradients = jax.value_and_grad(loss, (0, 1))(normal(tokens, 2), normal(2, 5))
    assert y == 0
    assert not any(np.any(gradient) for gradient in gradients)


@pytest.mark.parametrize("label", [-1, 5])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_a_label_that_is_no_class(label, reduction):
    labels = np.array([1, label, 2])
    expected = r"linear_cross_entropy: expected labels to be from 0 to 4, got -?\d at \[1\]"
    with pytest.raises(ValueError, match=expected):
        jaxfn.linear_cross_entropy(normal(3, 2), normal(2, 5), labels)
    with pytest.raises(ValueError, match="where it counts"):
        jaxfn.linear_cross_entropy(normal(3, 2), normal(2, 5), labels, where=labels >= -1)

    @jax.jit
    def traced(x, weight, labels):
        return jax.value_and_grad(
            lambda x: jnp.sum(jaxfn.linear_cross_entropy(x, weight, labels, reduction=reduction))
        )(x)

    loss, x_bar = traced(normal(3, 2), normal(2, 5), labels)
    assert np.isnan(loss)
    np.testing.assert_array_equal(np.isnan(x_bar).all(axis=1), [False, True, False])
    np.testing.assert_array_equal(np.isnan(x_bar).any(axis=1), [False, True, False])


def test_a_class_that_is_ruled_out():
    bias = jnp.array([0.0, -jnp.inf, 1.0, 0.5])
    x, weight, labels = normal(5, 3), normal(3, 4), np.array([0, 2, 3, 0, 2])
    present = np.array([0, 2, 3])

    def loss(x, weight, bias, labels):
        return jaxfn.linear_cross_entropy(x, weight, labels, bias)

    gradients = jax.value_and_grad(loss, (0, 1, 2))
    y, (x_bar, weight_bar, bias_bar) = gradients(x, weight, bias, labels)
    y_present, rest = gradients(
        x, weight[:, present], bias[present], np.searchsorted(present, labels)
    )
    actual = y, x_bar, weight_bar[:, present], bias_bar[present]
    assert_close(actual, (y_present, *rest), 1e-6)
    assert not np.any(weight_bar[:, 1])
    assert bias_bar[1] == 0
    second = jax.grad(lambda x: jnp.sum(jax.grad(loss)(x, weight, bias, labels) ** 2))(x)
    assert np.all(np.isfinite(second))


def test_large_logits():
    x, weight = jnp.array([[1e4], [-1e4]]), jnp.array([[1.0, -1.0, 1.0 - 1e-4]])
    y, (x_bar, weight_bar) = jax.value_and_grad(
        lambda *args: jaxfn.linear_cross_entropy(*args, np.array([0, 0]), reduction="sum"), (0, 1)
    )(x, weight)
    wide = np.array([1, -1, np.float32(1 - 1e-4)], np.float64)
    p = np.exp(1e4 * (wide - 1))
    p /= p.sum()
    np.testing.assert_allclose(y, -np.log(p[0]) + 2e4, rtol=1e-6)
    np.testing.assert_allclose(x_bar[:, 0], [p @ wide - 1, -2], rtol=1e-3, atol=1e-5)
    expected = 1e4 * (p - [1, 0, 0]) - 1e4 * np.array([-1, 1, 0])
    np.testing.assert_allclose(weight_bar[0], expected, rtol=1e-3)


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_sixteen_bits_lose_no_more_than_plain_jax(dtype, reduction):
    labels = labels_of(64, 32)

    def ours(x, weight):
        return jaxfn.linear_cross_entropy(x, weight, labels, reduction=reduction)

    def theirs(x, weight):
        return reduced(reduction, plain(x, weight, None, labels), None)

    args = normal(64, 16, dtype=dtype), normal(16, 32, dtype=dtype, seed=1) / 4
    y_bar = jnp.ones(jax.eval_shape(ours, *args).shape, dtype)
    expected = exact(theirs, args, y_bar)
    for ours_of, theirs_of, e in zip(
        compiled(ours)(y_bar, *args), compiled(theirs)(y_bar, *args), expected, strict=True
    ):
        assert ours_of.dtype == dtype
        error, plain_error = (np.max(np.abs(np.float64(a) - e)) for a in (ours_of, theirs_of))
        least = float(jnp.finfo(dtype).eps) / 2 * np.max(np.abs(e))  # the result is rounded once
        assert error <= max(1.5 * plain_error, least)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_sums_are_taken_in_float32(reduction, monkeypatch):
    # A sum of 4096 terms of 1/2 would stall at 128 in bfloat16; each chunk's part is added in
    # float32 as well.
    monkeypatch.setattr(_token_chunks, "CHUNK_BYTES", 1)
    x, weight = jnp.ones((4096, 1), "bfloat16"), jnp.zeros((1, 2), "bfloat16")
    y, (weight_bar, bias_bar) = jax.value_and_grad(
        lambda weight, bias: jnp.sum(
            jaxfn.linear_cross_entropy(x, weight, np.zeros(4096, int), bias, reduction=reduction),
            dtype="float32",
        ),
        (0, 1),
    )(weight, jnp.zeros(2, "bfloat16"))
    scale = 1 if reduction == "mean" else 4096
    np.testing.assert_allclose(y, np.log(2) * scale, rtol=2**-8)
    for gradient in (weight_bar[0], bias_bar):
        np.testing.assert_array_equal(np.float32(gradient), [-scale / 2, scale / 2])


@pytest.mark.parametrize("dtypes", [*itertools.product(["bfloat16", "float32"], repeat=3)], ids=str)
def test_mixed_dtypes(dtypes):
    arrays = [
        normal(*shape, dtype=dtype)
        for shape, dtype in zip(((4, 3), (3, 5), (5,)), dtypes, strict=True)
    ]
    for reduction in ("mean", "none"):
        y, vjp = jax.vjp(
            lambda x, w, b, r=reduction: jaxfn.linear_cross_entropy(
                x, w, labels_of(4, 5), b, reduction=r
            ),
            *arrays,
        )
        assert y.dtype == jnp.result_type(*dtypes)
        assert [g.dtype for g in vjp(jnp.ones_like(y))] == [a.dtype for a in arrays]


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("divided", ["tokens", "classes"])
@pytest.mark.parametrize("mode", [AxisType.Explicit, AxisType.Auto], ids=str)
def test_on_two_devices_in_chunks(small_chunks, reduction, divided, mode):
    tokens, size, classes = 32, 4, 8
    arrays = normal(tokens, size), normal(size, classes, seed=1), normal(classes, seed=2)
    labels = labels_of(tokens, classes).astype("int32")
    specs = {
        "tokens": (P("data"), P(), P(), P("data")),
        "classes": (P(), P(None, "data"), P("data"), P()),
    }[divided]

    def loss(x, weight, bias, labels):
        losses = jaxfn.linear_cross_entropy(x, weight, labels, bias, reduction=reduction)
        return jnp.sum(jnp.sin(losses))

    gradients = jax.value_and_grad(loss, (0, 1, 2))
    mesh = jax.make_mesh((2,), ("data",), axis_types=(mode,))
    with jax.set_mesh(mesh):
        placed = [
            jax.device_put(a, jax.NamedSharding(mesh, s))
            for a, s in zip((*arrays, labels), specs, strict=True)
        ]
        program = jax.jit(gradients).lower(*placed).compile()
        y, found = program(*placed)
    for gradient, primal in zip(found, placed, strict=False):
        assert gradient.sharding.is_equivalent_to(primal.sharding, primal.ndim)
    y_alone, alone = jax.jit(gradients)(*arrays, labels)
    assert_close((y, *found), (y_alone, *alone), 2e-6)
    moved = [line for line in program.as_text().split("\n") if "all-" in line]
    assert not any("all-gather" in line or "all-to-all" in line for line in moved)
    if divided == "tokens":  # what the devices add is added after the loop
        assert not any("while/body" in line for line in moved)


def test_shard_map_sums_over_the_devices(small_chunks):
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,))
    x, weight, labels = normal(16, 4), normal(4, 8, seed=1), labels_of(16, 8)

    def loss(x, weight, labels):
        return jax.lax.pmean(jaxfn.linear_cross_entropy(x, weight, labels), "data")

    specs = (P("data"), P(), P("data"))
    sharded = jax.shard_map(loss, mesh=mesh, in_specs=specs, out_specs=P())
    inside = jax.shard_map(
        jax.grad(loss, (0, 1)), mesh=mesh, in_specs=specs, out_specs=(P("data"), P())
    )
    expected = jax.grad(jaxfn.linear_cross_entropy, (0, 1))(x, weight, labels)
    assert_close(jax.jit(jax.grad(sharded, (0, 1)))(x, weight, labels), expected, 2e-6)
    assert_close(jax.jit(inside)(x, weight, labels), expected, 2e-6)


X, WEIGHT, LABELS = normal(4, 3), normal(3, 5), np.zeros(4, int)


@pytest.mark.parametrize(
    ("args", "options", "error", "message"),
    [
        ((1.0, WEIGHT, 0), {}, ValueError, r"expected x \[..., in\], got x \[\]"),
        ((X, WEIGHT[0], LABELS), {}, ValueError, r"expected weight \[3, classes\], got weight"),
        (
            (X, normal(4, 5), LABELS),
            {},
            ValueError,
            r"expected weight \[3, classes\] to match x \[..., 3\], got weight \[4, 5\]$",
        ),
        ((X, normal(5, 3), LABELS), {}, ValueError, r"PyTorch's \[out, in\]: weight\.T"),
        ((X, normal(3, 0), LABELS), {}, ValueError, "expected at least one class, got weight"),
        (
            (X, WEIGHT, LABELS[:3]),
            {},
            ValueError,
            r"expected labels \[4\] to match x \[4, 3\], got labels \[3\]",
        ),
        ((X, WEIGHT, normal(4)), {}, TypeError, "labels of dtype int8, .* got float32"),
        ((X, WEIGHT, [0] * 4), {}, TypeError, "expected labels to be an array, got list"),
        ((X.astype(int), WEIGHT, LABELS), {}, TypeError, "expected x of dtype float16"),
        (
            (X, WEIGHT, LABELS, normal(4)),
            {},
            ValueError,
            r"expected bias \[5\] to match weight \[3, 5\], got bias \[4\]",
        ),
        ((X, WEIGHT, LABELS), {"where": LABELS}, TypeError, "where of dtype bool, got int"),
        (
            (X, WEIGHT, LABELS),
            {"where": np.ones(3, bool)},
            ValueError,
            r"expected where \[4\] to match x \[4, 3\], got where \[3\]",
        ),
        ((X, WEIGHT, LABELS), {"reduction": "avg"}, ValueError, '"mean", "sum" or "none", got'),
        ((X, WEIGHT, LABELS), {"label_smoothing": 1.5}, ValueError, "from 0 to 1, got 1.5"),
        ((X, WEIGHT, LABELS), {"label_smoothing": None}, TypeError, "label_smoothing to be a Py"),
        ((X, WEIGHT, LABELS), {"z_loss": -1.0}, ValueError, "z_loss to be finite and at least 0"),
        ((X, WEIGHT, LABELS), {"soft_cap": 0.0}, ValueError, "soft_cap to be positive and fin"),
        ((X, WEIGHT, LABELS), {"soft_cap": "c"}, TypeError, "soft_cap to be a Python number"),
    ],
)
def test_wrong_calls(args, options, error, message):
    with pytest.raises(error, match=f"linear_cross_entropy: .*{message}"):
        jaxfn.linear_cross_entropy(*args, **options)
