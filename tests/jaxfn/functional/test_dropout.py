from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import jaxfn
from tests.jaxfn.functional.oracles import compiled, cotangent
from tests.jaxfn.functional.test_meshes import moved

pytestmark = pytest.mark.numbers

NAN, INF = np.nan, np.inf
NEW, OLD = jax.random.key(3), jax.random.PRNGKey(3)
each_key = pytest.mark.parametrize("key", [NEW, OLD], ids=["new", "old"])
ONES = jnp.ones((16, 32))


def dropped(key, x, rate=0.25):
    return jaxfn.dropout(key, x, rate)


@each_key
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
def test_the_backward_pass_drops_what_the_forward_pass_dropped(key, dtype):
    with jax.enable_x64(True):
        x = ONES.astype(dtype)
        y, x_bar = jax.jit(lambda x: [(r := jax.vjp(lambda x: dropped(key, x), x))[0], *r[1](x)])(x)
        np.testing.assert_array_equal(y, x_bar)
        assert y.dtype == x_bar.dtype == dtype
        kept = jax.random.bits(key, x.shape, "uint32") >= 2**30
        np.testing.assert_array_equal(y, np.where(kept, np.asarray(4 / 3, dtype), 0))


def test_as_many_are_dropped_as_said_and_the_mean_stays():
    for rate in (0.1, 0.5, 0.9):
        y = dropped(NEW, jnp.ones(100_000), rate)
        # Five standard deviations.
        assert abs(np.mean(np.asarray(y) == 0) - rate) < 5 * np.sqrt(rate * (1 - rate) / 1e5)
        np.testing.assert_allclose(np.max(y), 1 / (1 - rate), rtol=1e-6)


def test_rates_of_0_and_1_draw_nothing():
    x = jnp.array([NAN, INF, 1.0])
    for rate, y, x_bar in ((0, x, jnp.ones(3)), (1.0, jnp.zeros(3), jnp.zeros(3))):
        actual = compiled(lambda x, rate=rate: dropped(NEW, x, rate))(jnp.ones(3), x)
        np.testing.assert_array_equal(actual, [y, x_bar])
        assert "random" not in str(jax.make_jaxpr(lambda x, rate=rate: dropped(NEW, x, rate))(x))


def test_a_traced_rate():
    both = jax.jit(jax.value_and_grad(lambda x, rate: dropped(NEW, x, rate).sum(), (0, 1)))
    for rate in (0.0, 0.25, 1.0):
        y, (x_bar, rate_bar) = both(ONES, rate)
        expected = dropped(NEW, ONES, rate)
        np.testing.assert_array_equal(x_bar, expected)
        np.testing.assert_allclose(y, np.sum(expected), rtol=1e-6)
        assert rate_bar == 0
    nothing, _ = both(jnp.full(3, NAN), 1.0)
    assert nothing == 0


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_a_dropped_element_is_0_whatever_it_was(value):
    x = jnp.full(64, value)
    y, x_bar = compiled(lambda x: dropped(NEW, x))(jnp.full(64, value), x)
    kept = np.asarray(dropped(NEW, jnp.ones(64))) > 0
    for array in (y, x_bar):
        np.testing.assert_array_equal(array, np.where(kept, value, 0))


@pytest.mark.present_checkpoint
@each_key
def test_the_key_alone_is_kept(key):
    kept = jax.tree.leaves(jax.vjp(lambda x: dropped(key, x), ONES)[1])
    assert sum(jax.random.key_data(leaf).size if leaf is NEW else leaf.size for leaf in kept) <= 4
    assert all(leaf.ndim == 0 or leaf.shape == (2,) for leaf in kept)


@pytest.mark.present_checkpoint
def test_layers_keep_no_mask():
    keys = jax.random.split(NEW, 5)
    step = lambda h, key: (dropped(key, h), None)  # noqa: E731
    backward = jax.vjp(lambda x: jax.lax.scan(step, x, keys)[0], ONES)[1]
    assert max(leaf.size for leaf in jax.tree.leaves(backward)) <= len(keys)


def test_each_key_of_a_batch_has_its_own_mask():
    keys = jax.random.split(NEW, 3)
    x = jnp.ones((3, 40))
    for axes, arrays in (((0, 0), (keys, x)), ((0, None), (keys, x[0]))):
        batched = jax.vmap(jax.grad(lambda k, x: dropped(k, x).sum(), 1), axes)(*arrays)
        np.testing.assert_array_equal(batched, [dropped(key, x[0]) for key in keys])
    shared = jax.vmap(lambda x: dropped(NEW, x))(x)
    np.testing.assert_array_equal(shared, [dropped(NEW, x[0])] * 3)


def test_forward_mode_and_second_derivatives():
    x = jnp.arange(8.0)
    _, y_dot = jax.jvp(lambda x: dropped(NEW, x), (x,), (jnp.ones(8),))
    mask = np.asarray(dropped(NEW, jnp.ones(8)))
    np.testing.assert_array_equal(y_dot, mask)
    hessian = jax.hessian(lambda x: jnp.sum(dropped(NEW, x) ** 2))(x)
    np.testing.assert_allclose(hessian, np.diag(2 * mask**2), rtol=1e-6)


@pytest.mark.parametrize("mode", [AxisType.Explicit, AxisType.Auto], ids=str)
@pytest.mark.parametrize("spec", [P("data"), P(None, "data")], ids=["batch", "features"])
def test_a_mesh_changes_no_mask_and_moves_nothing(mode, spec):
    mesh = jax.make_mesh((2,), ("data",), axis_types=(mode,))
    fun = compiled(lambda x: dropped(NEW, x))
    with jax.set_mesh(mesh):
        x = jax.device_put(ONES, NamedSharding(mesh, spec))
        program = fun.lower(x, x).compile()
        y, x_bar = program(x, x)
    assert not moved(program.as_text())
    assert y.sharding.is_equivalent_to(x.sharding, 2)
    for array in (y, x_bar):
        np.testing.assert_array_equal(array, dropped(NEW, ONES))


def test_inside_shard_map_a_key_of_its_own_for_each_part():
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,))

    def part(x):
        return dropped(jax.random.fold_in(NEW, jax.lax.axis_index("data")), x)

    inside = jax.shard_map(part, mesh=mesh, in_specs=P("data"), out_specs=P("data"))
    y, x_bar = compiled(inside)(cotangent(ONES), ONES)
    parts = [dropped(jax.random.fold_in(NEW, i), ONES[:8]) for i in range(2)]
    np.testing.assert_array_equal(y, np.concatenate(parts))
    np.testing.assert_allclose(x_bar, y * cotangent(ONES), rtol=1e-6)


def test_the_rule_is_used():
    (rule,) = jaxfn.custom_rules(lambda x: dropped(NEW, x), ONES)
    assert (rule.kind, rule.name) == ("custom_jvp", "_dropout")


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: jaxfn.dropout(0, ONES, 0.5), TypeError, "expected key to be one key"),
        (lambda: jaxfn.dropout(jax.random.split(NEW), ONES, 0.5), ValueError, "got keys"),
        (lambda: jaxfn.dropout(NEW, ONES, 1.5), ValueError, r"rate to be in \[0, 1\], got 1.5"),
        (lambda: jaxfn.dropout(NEW, ONES, -0.1), ValueError, r"rate to be in \[0, 1\], got -0.1"),
        (lambda: jaxfn.dropout(NEW, ONES, NAN), ValueError, r"rate to be in \[0, 1\], got nan"),
        (lambda: jaxfn.dropout(NEW, ONES, "0.5"), TypeError, "expected rate to be a number"),
        (lambda: jaxfn.dropout(NEW, ONES, ONES), TypeError, "expected rate to be a number or a sc"),
        (lambda: jaxfn.dropout(NEW, [1.0], 0.5), TypeError, "expected x to be an array, got list"),
    ],
)
def test_wrong_calls(call, kind, message):
    with pytest.raises(kind, match=f"dropout: .*{message}"):
        call()
