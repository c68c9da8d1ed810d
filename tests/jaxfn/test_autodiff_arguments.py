"""What `autodiff` does with arguments, results, closures, effects and meshes."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import pallas

from jaxfn import autodiff, custom_rules
from tests.jaxfn.planted_rules import X, assert_close, body, total, with_custom_vjp

pytestmark = pytest.mark.numbers


def test_arguments_that_are_not_arrays_reach_the_function_as_they_are():
    def fun(tree, mode, times, *, negate=None, activation):
        assert type(times) is int
        assert mode == "repeat"
        assert negate is None
        for _ in range(times):
            tree = jax.tree.map(lambda x: with_custom_vjp(activation)(x), tree)
        return tree["a"].sum() * tree["b"]

    def loss(fun, tree):
        return fun(tree, "repeat", 2, activation=body)

    def twin(tree):
        return body(body(tree["a"])).sum() * body(body(tree["b"]))

    tree = {"a": X, "b": jnp.float32(0.4)}
    got = jax.jit(jax.grad(functools.partial(loss, autodiff(fun))))(tree)
    assert_close(got, jax.grad(twin)(tree))


def test_results_keep_their_structure_and_types():
    key = jax.random.key(0)

    def fun(x):
        values = (with_custom_vjp(body)(x), 2 * x.dtype.type(1), x > 1, jnp.arange(3), jnp.exp(1.0))
        return {"values": values, "key": key, "name": "fun", "nothing": None, "count": 3}

    got, own = autodiff(fun)(X), fun(X)
    assert jax.tree.structure(got) == jax.tree.structure(own)
    for mine, its in zip(jax.tree.leaves(got), jax.tree.leaves(own), strict=True):
        assert type(mine) is type(its)
        if isinstance(its, jax.Array):
            assert jax.typeof(mine) == jax.typeof(its)
    assert (got["name"], got["nothing"], got["count"]) == ("fun", None, 3)
    assert got["key"] is key


def test_what_the_function_does_to_its_arguments_is_not_seen_outside():
    def fun(tree):
        tree["y"] = with_custom_vjp(body)(tree["x"])
        return tree

    tree = {"x": X}
    with jax.checking_leaks():
        assert set(autodiff(fun)(tree)) == {"x", "y"}
    assert list(tree) == ["x"]


@pytest.mark.parametrize("x", [1.3, np.float32(1.3), jnp.float32(1.3), jnp.bfloat16(1.3), 2])
def test_weak_types_and_dtypes_are_the_functions_own(x):
    fun = with_custom_vjp(lambda x: 2.0 * jnp.sin(x))
    assert jax.typeof(autodiff(fun)(x)) == jax.typeof(fun(x))
    assert jax.typeof(jax.jit(autodiff(fun))(x)) == jax.typeof(fun(x))


def test_x64_is_the_users():
    with jax.enable_x64(True):
        fun = autodiff(with_custom_vjp(body))
        assert fun(jnp.float64(1.3)).dtype == jax.grad(fun)(1.3).dtype == jnp.float64


def test_integer_boolean_and_key_arguments():
    def fun(op, x, index, mask, key):
        return jnp.where(mask, op(x)[index], 0.0).sum() * jax.random.normal(key)

    args = (X, jnp.array([3, 0]), jnp.array([True, False]), jax.random.key(1))
    got = jax.grad(autodiff(functools.partial(fun, with_custom_vjp(body))))(*args)
    assert_close(got, jax.grad(functools.partial(fun, body))(*args))


@pytest.mark.parametrize("transform", [jax.jit, jax.grad, jax.checkpoint], ids=lambda t: t.__name__)
def test_closed_over_tracers(transform):
    def outer(op, w):
        def step(carry, v):
            return op(lambda z: (z * w) * v)(carry), None

        return jax.lax.scan(step, w, X)[0]

    def with_rule(linear):
        return autodiff(lambda z: with_custom_vjp(body)(linear(z)))

    got = transform(functools.partial(outer, with_rule))(0.9)
    assert_close(
        got, transform(functools.partial(outer, lambda linear: lambda z: body(linear(z))))(0.9)
    )


def test_vmap_over_a_closed_over_tracer_and_a_collective():
    def outer(op, w):
        return jax.lax.psum(op(lambda z: z * w, 1.5), "batch") * w

    got = jax.vmap(
        functools.partial(outer, lambda f, z: autodiff(lambda z: with_custom_vjp(body)(f(z)))(z)),
        axis_name="batch",
    )(X)
    assert_close(
        got, jax.vmap(functools.partial(outer, lambda f, z: body(f(z))), axis_name="batch")(X)
    )


def test_a_psum_inside_a_batched_function():
    def fun(op):
        return lambda x: op(x) * jax.lax.psum(op(x), "batch")

    def gradient(fun):
        return jax.grad(total(jax.vmap(fun, axis_name="batch")))(X)

    assert_close(gradient(autodiff(fun(with_custom_vjp(body)))), gradient(fun(body)))


def test_effects_stay(capsys):
    @with_custom_vjp
    def fun(x):
        jax.debug.print("x is {}", x, ordered=True)
        return body(x)

    def loop(x):
        return jax.lax.scan(lambda c, _: (fun(c), None), x, None, length=2)[0]

    jax.jit(jax.grad(autodiff(loop)))(1.5)
    jax.effects_barrier()
    assert capsys.readouterr().out.count("x is") == 2


def test_mutable_arrays():
    @with_custom_vjp
    def fun(x):
        ref = jax.new_ref(x)
        ref[...] += jnp.sin(x)
        ref[...] *= x
        return ref[...]

    got = jax.grad(total(autodiff(jax.jit(fun))))(X)
    assert_close(got, jax.grad(total(lambda x: (x + jnp.sin(x)) * x))(X))


def test_arguments_that_the_rule_takes_as_static_and_symbolic_zeros():
    apply = jax.custom_vjp(lambda f, x: f(x) * 2.0, nondiff_argnums=(0,))
    apply.defvjp(
        lambda f, x: (f(x.value) * 2.0, x.value), lambda f, x, g: (99.0 * x,), symbolic_zeros=True
    )
    fun = autodiff(lambda x: apply(with_custom_vjp(body), x))
    assert_close(jax.grad(total(fun))(X), 2.0 * jax.grad(total(body))(X))


def test_arrays_that_the_body_closes_over():
    scale, offset = np.arange(4.0, dtype=np.float32), jnp.arange(4.0)

    def affine(x):
        return jnp.sin(x) * scale + offset * x

    fun = autodiff(jax.checkpoint(jax.jit(with_custom_vjp(affine))))
    assert_close(jax.grad(total(fun))(X), jax.grad(total(affine))(X))


def test_explicit_sharding():
    mesh = jax.make_mesh((2,), ("i",), axis_types=(jax.sharding.AxisType.Explicit,))
    with jax.set_mesh(mesh):
        sharding = jax.NamedSharding(mesh, jax.sharding.PartitionSpec("i"))
        x = jax.device_put(X, sharding)
        gradient = jax.grad(total(autodiff(jax.jit(with_custom_vjp(body)))))(x)
    assert jax.typeof(gradient) == jax.typeof(x)
    assert_close(gradient, jax.grad(total(body))(X))


def test_export_and_transpose():
    gradient = jax.jit(jax.grad(total(autodiff(with_custom_vjp(body)))))
    assert_close(jax.export.export(gradient)(X).call(X), jax.grad(total(body))(X))
    linear = autodiff(with_custom_vjp(lambda x: jnp.cumsum(x) * 3.0))
    assert_close(jax.linear_transpose(linear, X)(X)[0], 3.0 * jnp.cumsum(X[::-1])[::-1])


def batched_by_rule(op):
    decorated = jax.custom_batching.custom_vmap(body)
    decorated.def_vmap(lambda size, batched, x: (op(body(x)), batched[0]))
    return decorated


def test_custom_vmap_keeps_its_rule_but_no_rule_in_it():
    fun = jax.vmap(autodiff(batched_by_rule(with_custom_vjp(body))))
    assert_close(jax.jvp(fun, (X,), (X,)), jax.jvp(lambda x: body(body(x)), (X,), (X,)))


def test_custom_vmap_under_a_rule_is_its_definition():
    fun = autodiff(with_custom_vjp(batched_by_rule(body)))
    assert_close(jax.grad(fun)(1.2), jax.grad(body)(1.2))
    assert_close(jax.vmap(jax.grad(fun))(X), jax.grad(total(body))(X))


def test_a_kernel_is_one_operation():
    def kernel(x_ref, y_ref):
        y_ref[...] = jax.nn.relu(x_ref[...])

    def fun(x):
        return pallas.pallas_call(kernel, jax.ShapeDtypeStruct(x.shape, x.dtype), interpret=True)(x)

    assert custom_rules(fun, X) == ()
    np.testing.assert_array_equal(autodiff(fun, custom_jvp=True)(X), X)


def test_a_callback_is_one_operation():
    def fun(x):
        return jax.pure_callback(np.cos, x, x) * with_custom_vjp(body)(x)

    np.testing.assert_allclose(autodiff(fun)(X), fun(X))


@pytest.mark.parametrize("public", [autodiff, custom_rules])
@pytest.mark.parametrize("wrong", [3, "f", None, jnp.ones(2)])
def test_what_is_not_a_function_is_refused(public, wrong):
    kind = type(wrong).__name__
    with pytest.raises(
        TypeError, match=f"{public.__name__}: expected fun to be callable, .* {kind}"
    ):
        public(wrong)


def test_errors_of_tracing_name_the_function():
    def branches_on_a_value(x):
        return x if x > 0 else -x

    with pytest.raises(jax.errors.TracerBoolConversionError, match="branches_on_a_value"):
        autodiff(branches_on_a_value)(jnp.float32(1.0))


def test_it_looks_like_the_function():
    assert autodiff(jax.nn.relu).__name__ == "relu"
    assert inspect.signature(autodiff(jax.nn.gelu)) == inspect.signature(jax.nn.gelu)
    power = jax.jit(autodiff(lambda x, n: with_custom_vjp(body)(x) ** n), static_argnames="n")
    assert_close(power(X, n=3), body(X) ** 3)
