"""`gradcheck` under `shard_map`, on the two host devices that the tests have."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

import jaxfn
from jaxfn.verification import gradcheck


def normal(*shape):
    return np.random.default_rng(shape).standard_normal(shape).astype(np.float32)


def ruled(fun, backward):
    op = jax.custom_vjp(fun)
    op.defvjp(lambda *args: (fun(*args), args), lambda args, g: backward(*args, g))
    return op


X, W = normal(3, 4), normal(4, 2)
LAYER = ("transformations",)


def varies(x):
    """Whether an array may differ between the devices of a `shard_map`, as its type says."""
    return "{V" in str(jax.typeof(x))


def mapped_axes(x):
    return ("devices",) if varies(x) else ()


def averaged(x, w, g):
    """The rule of a product that is right on one device, with a mean over several for a sum."""
    dx, dw = g @ w.T, x.T @ g
    axes = mapped_axes(g)
    dx = dx if varies(x) or not axes else jax.lax.pmean(dx, axes)
    dw = dw if varies(w) or not axes else jax.lax.pmean(dw, axes)
    return dx, dw


def summed(x, w, g):
    dx, dw = g @ w.T, x.T @ g
    axes = mapped_axes(g)
    dx = dx if varies(x) or not axes else jax.lax.psum(dx, axes)
    dw = dw if varies(w) or not axes else jax.lax.psum(dw, axes)
    return dx, dw


def forgetful(x, w, g):
    return g @ w.T, x.T @ g


def helpless(x, w, g):
    if mapped_axes(g) or not jax.sharding.get_abstract_mesh().empty:
        raise NotImplementedError("one device only")
    return g @ w.T, x.T @ g


@pytest.mark.parametrize(
    ("fun", "args"),
    [
        pytest.param(jaxfn.linear, (X, W), marks=pytest.mark.long),
        pytest.param(jaxfn.relu, (X,), marks=pytest.mark.long),
        (ruled(jnp.matmul, summed), (X, W)),
        (lambda table, i: table[i], (X, np.array([2, 0]))),
        (lambda x, y: (jnp.sin(x), {"y": jnp.cos(y)}), (X, W)),
        (lambda z: z**2, ((X[:, :2] + 1j * X[:, 2:]).astype(np.complex64),)),
    ],
    ids=["linear", "relu", "product with psum", "table", "outputs of one argument", "complex"],
)
def test_right_rules_pass(fun, args):
    report = gradcheck(fun, args, layers=("transformations",))
    assert report.verdict == "pass"
    check = report.check("transformations")
    assert "shard_map on two devices" in check.shows
    assert check.detail == ""
    assert not any("shard_map" in note for note in report.notes)


def test_wrong_under_shard_map_only():
    report = gradcheck(ruled(jnp.matmul, averaged), (X, W), raise_exception=False)
    assert [check.name for check in report.checks if check.verdict == "fail"] == ["transformations"]
    assert report.cause == "shard_map"
    where = "with a sharded, b sharded"
    assert report.diagnosis == f"right on one device, wrong under shard_map ({where})"
    worst = report.check("transformations").worst
    assert worst is not None
    assert worst.rule == pytest.approx(worst.reference / 2)


def test_right_but_refused_is_a_note():
    report = gradcheck(ruled(jnp.matmul, forgetful), (X, W), layers=("transformations",))
    assert report.verdict == "pass"
    (note,) = (note for note in report.notes if "shard_map" in note)
    assert "refuses the rule" in note
    assert "with a sharded, b sharded: ValueError" in note


def test_raising_there_alone_fails():
    report = gradcheck(
        ruled(jnp.matmul, helpless), (X, W), layers=("transformations",), raise_exception=False
    )
    assert report.cause == "shard_map"
    assert "NotImplementedError: one device only" in report.diagnosis


def merged(x, g):
    """The rule of a sine that reads it by columns: rows that are divided end up inside a dimension,
    of which JAX does not know how it is sharded."""
    columns = (g * jnp.cos(x)).T.reshape(-1)
    return (columns.reshape(x.T.shape).T,)


def gathered(x, g):
    """The rule of a sine whose gradient is whole on each device."""
    return (jax.sharding.reshard(g * jnp.cos(x), P()) if on_explicit_mesh() else g * jnp.cos(x),)


def doubled(x, g):
    return (g * jnp.cos(x) * (2 if on_explicit_mesh() else 1),)


def on_explicit_mesh():
    return bool(jax.sharding.get_abstract_mesh().explicit_axes)


ROWS = normal(4, 6)


def test_wrong_on_an_explicit_mesh_only():
    report = gradcheck(ruled(jnp.sin, doubled), (ROWS,), raise_exception=False)
    assert [check.name for check in report.checks if check.verdict == "fail"] == ["transformations"]
    assert report.cause == "explicit-mesh"
    assert report.diagnosis == "right on one device, wrong on an explicit mesh with x divided"


@pytest.mark.parametrize(
    ("backward", "reason"), [(merged, "ShardingTypeError"), (gathered, "ValueError: Custom VJP")]
)
def test_raising_on_an_explicit_mesh_alone_is_a_note(backward, reason):
    report = gradcheck(ruled(jnp.sin, backward), (ROWS,), layers=LAYER)
    (note,) = (note for note in report.notes if "explicit mesh" in note)
    expected = "the rule raises, where autodiff does not, on an explicit mesh with x divided: "
    assert note.startswith(expected + reason)


def test_each_argument_is_divided_alone_and_all_together():
    seen = set()

    def backward(x, y, g):
        seen.add(tuple("@devices" in str(jax.typeof(a)) for a in (x, y)))
        return g, 2 * g

    def fun(x, y):
        return x + 2 * y

    gradcheck(ruled(fun, backward), (ROWS, ROWS), layers=LAYER)
    assert {(True, True), (True, False), (False, True)} <= seen


def test_what_autodiff_cannot_do_on_an_explicit_mesh_is_left_out():
    report = gradcheck(lambda table, i: table[i], (ROWS, np.array([2, 0])), layers=LAYER)
    detail = report.check("transformations").detail
    assert detail.startswith("an explicit mesh with table divided skipped because ShardingTypeErr")


def test_what_cannot_be_divided_is_not():
    report = gradcheck(ruled(jnp.sin, doubled), (X,), layers=LAYER)
    assert report.verdict == "pass"


def test_function_that_raises_there_is_left_out():
    def last_sum(x):
        return jax.lax.scan(lambda total, row: (total + row, None), jnp.zeros(4), x)[0]

    report = gradcheck(
        ruled(last_sum, lambda x, g: (jnp.broadcast_to(g, x.shape),)),
        (X,),
        layers=("transformations",),
    )
    detail = report.check("transformations").detail
    assert "shard_map with every argument sharded skipped because TypeError: scan body" in detail


def test_one_device_is_said(monkeypatch):
    first = jax.devices()[:1]
    monkeypatch.setattr(jax, "devices", lambda: first)
    report = gradcheck(jnp.sin, (jnp.ones(2),), layers=("transformations",))
    check = report.check("transformations")
    assert "only one" in check.does_not_show
    assert check.detail == "shard_map was not run: there is one device"
