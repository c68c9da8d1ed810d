"""What `jaxfn.Function` and `jaxfn.function` refuse, and what they say then."""

from __future__ import annotations

import re
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxfn
from tests.parity.functions_arrays import LinearFunction

X, W, B = jnp.ones((64, 20)), jnp.ones((30, 20)), jnp.ones(30)


def returning(*gradients):
    """`LinearFunction` with a backward rule that returns these."""

    class Linear(LinearFunction):
        @staticmethod
        def backward(ctx, grad):
            return gradients if len(gradients) != 1 else gradients[0]

    Linear.__name__ = "LinearFunction"
    return Linear.apply


X_BAR, W_BAR, B_BAR = jnp.ones_like(X), jnp.ones_like(W), jnp.ones_like(B)
CALL = "LinearFunction.backward returned "


@pytest.mark.parametrize(
    ("gradients", "error", "message"),
    [
        (
            (X_BAR, W_BAR.T, B_BAR),
            ValueError,
            "for input 1 (weight) a float32[20,30], expected float32[30,20]",
        ),
        (
            (X_BAR, W_BAR, jnp.ones((64, 30))),
            ValueError,
            "for input 2 (bias) a float32[64,30], expected float32[30]: broadcasting expanded the "
            "argument, so sum over axis 0",
        ),
        (
            (X_BAR, jnp.ones((2, 3, 30, 20)), B_BAR),
            ValueError,
            "for input 1 (weight) a float32[2,3,30,20], expected float32[30,20]: broadcasting "
            "expanded the argument, so sum over axes (0, 1)",
        ),
        (
            (X_BAR, W_BAR.astype("bfloat16"), B_BAR),
            TypeError,
            "for input 1 (weight) a bfloat16[30,20], expected float32[30,20]: cast it, as with "
            ".astype(float32)",
        ),
        (
            (X_BAR, W_BAR + 1j, B_BAR),
            TypeError,
            "for input 1 (weight) a complex64[30,20], expected float32[30,20]: the gradient of a "
            "real argument is the real part",
        ),
        (
            (X_BAR, jnp.ones((30, 20), int), B_BAR),
            TypeError,
            "for input 1 (weight) an int32[30,20], expected float32[30,20]",
        ),
        (
            (X_BAR, W_BAR, {"bias": B_BAR}),
            TypeError,
            "for input 2 (bias) {'bias': 'float32[30]'}, expected float32[30]",
        ),
        ((X_BAR, {}, B_BAR), TypeError, "for input 1 (weight) {}, expected float32[30,20]"),
        ((X_BAR, "w", B_BAR), TypeError, "for input 1 (weight) a str, expected float32[30,20]"),
        (
            (X_BAR, W_BAR),
            ValueError,
            "2 values, expected 3, for input 0 (input), input 1 (weight), input 2 (bias); None "
            "stands for zeros",
        ),
        (
            (X_BAR,),
            ValueError,
            "1 value, expected 3, for input 0 (input), input 1 (weight), input 2 (bias); None "
            "stands for zeros",
        ),
        (
            (X_BAR, W_BAR, B_BAR, B_BAR),
            ValueError,
            "4 values, expected 3, for input 0 (input), input 1 (weight), input 2 (bias); None "
            "stands for zeros",
        ),
        (([X_BAR, W_BAR, B_BAR],), ValueError, "1 value, expected 3"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_gradient_is_named(gradients, error, message):
    def loss(*args):
        return jnp.sum(returning(*gradients)(*args))

    for grad in (jax.grad(loss, (0, 1, 2)), jax.jit(jax.grad(loss)), jax.grad(jax.jit(loss))):
        with pytest.raises(error, match=re.escape(CALL + message)):
            grad(X, W, B)


def test_values_that_pass():
    def loss(*args):
        return jnp.sum(returning(X_BAR, None, B_BAR, None)(*args))  # None more than needed

    grads = jax.grad(loss, (0, 1, 2))(X, W, B)
    assert [float(g.sum()) for g in grads] == [64 * 20, 0, 30]
    # An argument that is left to its default needs no gradient in the answer, as in PyTorch.
    assert jax.grad(lambda w: jnp.sum(returning(X_BAR, W_BAR)(X, w)))(W).shape == W.shape
    # NumPy arrays and Python numbers are as good as JAX arrays.
    numpy = returning(np.ones(X.shape, np.float32), None)
    assert jax.grad(lambda x: jnp.sum(numpy(x, W)))(X).dtype == X.dtype


def scale(backward, needs_context=False):
    class Scale(jaxfn.Function):
        @staticmethod
        def forward(ctx, x, other):
            return x * 2

    Scale.backward = staticmethod(backward)
    return Scale.apply


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            "text",
            "for input 1 (other) a float32[], expected None: what is no array has no gradient",
        ),
        (
            jnp.arange(3),
            "for input 1 (other) a float32[], expected None: int32[3] has no gradient",
        ),
        (None, "for input 1 (other) float32[], expected None"),
        (
            {"w": jnp.ones(3), "n": "name"},
            "for input 1 (other) float32[], expected {'n': 'None', 'w': 'float32[3]'}",
        ),
    ],
    ids=["text", "integers", "none", "tree"],
)
def test_a_gradient_of_what_has_none(other, message):
    operation = scale(lambda ctx, grad: (2 * grad, jnp.float32(1.0)))
    with pytest.raises(TypeError, match=re.escape(f"Scale.backward returned {message}")):
        jax.grad(lambda x: operation(x, other))(1.0)


def test_the_gradient_of_a_python_number_is_dropped():
    # The same rule has to do for an operation that is called with an array there.
    operation = scale(lambda ctx, grad: (2 * grad, jnp.float32(1.0)))
    assert jax.grad(operation)(1.0, 2.0) == 2.0
    assert jax.grad(operation, 1)(1.0, 2.0) == 1.0


def test_a_wrong_gradient_inside_a_tree_is_named_by_its_path():
    operation = scale(lambda ctx, grad: (grad, {"a": [None, jnp.ones(2)], "b": None}))
    other = {"a": [jnp.ones(3), jnp.ones(3)], "b": {"c": jnp.ones(3)}}
    message = "for input 1 (other) at ['a'][1] a float32[2], expected float32[3]"
    with pytest.raises(ValueError, match=re.escape(message)):
        jax.grad(operation, 1)(1.0, other)


def test_a_column_that_broadcasting_expanded():
    operation = scale(lambda ctx, grad: (grad, jnp.ones((5, 4, 3))))
    message = (
        "a float32[5,4,3], expected float32[4,1]: broadcasting expanded the argument, so sum over "
        "axes (0, 2) and reshape it to [4, 1]"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        jax.grad(operation, 1)(1.0, jnp.ones((4, 1)))


# Calls.


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: LinearFunction.apply(X), "LinearFunction: missing a required argument: 'weight'"),
        (lambda: LinearFunction.apply(X, W, B, 1), "LinearFunction: too many positional arguments"),
        (lambda: LinearFunction.apply(X, w=W), "LinearFunction: "),
        (
            lambda: LinearFunction.forward(None, X, W),
            "LinearFunction.forward was called directly, without its backward: call "
            "LinearFunction.apply(...)",
        ),
        (
            lambda: LinearFunction(),
            "LinearFunction is not instantiated: call LinearFunction.apply(...)",
        ),
        (lambda: jaxfn.function(3), "function: expected forward to be callable, got int"),
        (
            lambda: jaxfn.function(lambda x: x)(1.0),
            "<lambda> has neither a backward nor a jvp rule",
        ),
    ],
)
def test_wrong_calls(call, message):
    with pytest.raises(TypeError, match=re.escape(message)):
        call()


def test_the_two_part_form_is_guarded_too():
    class Twice(jaxfn.Function):
        @staticmethod
        def forward(x):
            return 2 * x

        @staticmethod
        def setup_context(ctx, inputs, output):
            pass

        @staticmethod
        def backward(ctx, grad):
            return 2 * grad

    class Thrice(Twice):
        @staticmethod
        def forward(x):
            return Twice.forward(x) + x  # inside an operation it is a function like any other

        @staticmethod
        def backward(ctx, grad):
            return 3 * grad

    with pytest.raises(TypeError, match=r"Twice\.forward was called directly"):
        Twice.forward(1.0)
    assert Thrice.apply(2.0) == 6.0
    assert jax.grad(Thrice.apply)(2.0) == 3.0


def test_wrong_classes():
    with pytest.raises(
        TypeError, match=r"Empty.forward takes no ctx: expected forward\(ctx, ...\)"
    ):

        class Empty(jaxfn.Function):
            @staticmethod
            def forward():
                return 0.0

    with pytest.raises(TypeError, match="Batched has a vmap rule: expected forward"):

        class Batched(jaxfn.Function):
            @staticmethod
            def forward(ctx, x):
                return x

            @staticmethod
            def vmap(info, in_dims, x):
                return x, 0

    class Half(jaxfn.Function):
        @staticmethod
        def forward(ctx, x):
            return x

    with pytest.raises(TypeError, match="Half has neither a backward nor a jvp rule"):
        Half.apply(1.0)


# The context.


def in_forward(action, backward=lambda ctx, grad: grad):
    class Op(jaxfn.Function):
        @staticmethod
        def forward(ctx, x):
            action(ctx, x)
            return x

    Op.backward = staticmethod(backward)
    return Op.apply


def nothing(ctx, x):
    pass


def set_flag(ctx):
    ctx.flag = 3


def delete_mask(ctx):
    del ctx.mask


IN_BACKWARD = [
    (
        lambda ctx: ctx.saved_tensors,
        ValueError,
        "Op.backward asked for ctx.saved_tensors, but nothing was saved: call "
        "ctx.save_for_backward(...) in forward or setup_context",
    ),
    (
        lambda ctx: ctx.maks,
        AttributeError,
        "Op: ctx has no attribute maks; set in forward or setup_context: mask",
    ),
    (
        set_flag,
        AttributeError,
        "Op: on ctx, flag was set after forward; what backward needs is set",
    ),
    (delete_mask, AttributeError, "Op: on ctx, mask was deleted after forward"),
    (
        lambda ctx: ctx.save_for_backward(X),
        AttributeError,
        "Op: on ctx, save_for_backward was called after forward",
    ),
    (
        lambda ctx: ctx.set_materialize_grads(False),
        AttributeError,
        "Op: on ctx, set_materialize_grads was called after forward",
    ),
]


@pytest.mark.parametrize(("action", "error", "message"), IN_BACKWARD)
def test_wrong_uses_of_the_context_in_backward(action, error, message):
    def set_mask(ctx, x):
        ctx.mask = x > 0

    def backward(ctx, grad):
        action(ctx)
        return grad

    with pytest.raises(error, match=re.escape(message)):
        jax.grad(in_forward(set_mask, backward))(1.0)


def save_twice(ctx, x):
    ctx.save_for_backward(x)
    ctx.save_for_backward(x)


def set_reserved(ctx, x):
    ctx.needs_input_grad = (True,)


def set_closure(ctx, x):
    ctx.pullback = lambda grad: grad * x


IN_FORWARD = [
    (
        lambda ctx, x: ctx.save_for_backward(x, "mode"),
        TypeError,
        "Op: ctx.save_for_backward takes arrays, numbers and None, got str at position 1; set it "
        "as an attribute of ctx",
    ),
    (save_twice, ValueError, "Op: ctx.save_for_backward was called twice"),
    (
        lambda ctx, x: ctx.saved_tensors,
        ValueError,
        "Op: ctx.saved_tensors is for backward, not for forward",
    ),
    (set_reserved, AttributeError, "Op: ctx.needs_input_grad is not to be set"),
    (
        lambda ctx, x: ctx.mark_dirty(x),
        TypeError,
        "Op: ctx.mark_dirty has no counterpart, JAX arrays do not change in place; return the new "
        "array instead",
    ),
    (
        lambda ctx, x: ctx.mark_non_differentiable(x + 1),
        ValueError,
        "Op: ctx.mark_non_differentiable got float32[], which is no output of forward",
    ),
    (
        set_closure,
        TypeError,
        "Op: the function ctx.pullback closes over the traced value x; save the value instead",
    ),
]


@pytest.mark.parametrize(("action", "error", "message"), IN_FORWARD)
def test_wrong_uses_of_the_context_in_forward(action, error, message):
    with pytest.raises(error, match=re.escape(message)):
        jax.jit(jax.grad(in_forward(action)))(1.0)


def test_a_context_that_is_kept_is_closed():
    kept = []
    in_forward(lambda ctx, x: kept.append(ctx))(jnp.ones(3))
    with pytest.raises(AttributeError, match="Op: on ctx, flag was set after forward"):
        kept[0].flag = 1


def test_attributes_that_cannot_be_told_apart():
    class Odd(jaxfn.Function):
        @staticmethod
        def forward(ctx, x, y):
            ctx.one_alone = ctx.needs_input_grad in [(True, False), (False, True)]
            ctx.save_for_backward(x, y)
            return x * y

        @staticmethod
        def backward(ctx, grad):
            x, y = ctx.saved_tensors
            return grad * y, grad * x

    jitted, stop = jax.jit(Odd.apply), jax.lax.stop_gradient
    with pytest.raises(ValueError, match=r"Odd: attributes of ctx depend on ctx\.needs_input_grad"):
        jax.grad(lambda x: jitted(x, x) + jitted(stop(x), x))(2.0)
    assert jax.grad(lambda x: Odd.apply(x, x) + Odd.apply(stop(x), x))(2.0) == 6.0


# What is changed or traced elsewhere.


def test_arguments_do_not_change_in_place():
    class Doubled(jaxfn.Function):
        @staticmethod
        def forward(ctx, values):
            values[0] = values[0] * 2
            return values[0]

        @staticmethod
        def backward(ctx, grad):
            return [2 * grad]

    values = [jnp.ones(3)]
    with pytest.raises(TypeError, match=r"Doubled\.forward changed an argument in place"):
        Doubled.apply(values)
    assert values[0][0] == 1
    with pytest.raises(TypeError, match="JAX arrays are immutable"):  # a NumPy array too is one
        Doubled.apply(np.ones(3))


def test_closing_over_a_traced_value():
    def forward_closes(w):
        @jaxfn.function
        def op(x):
            return x * w, None

        op.defbackward(lambda _, grad: grad)
        return op(2.0)

    def backward_closes(w):
        class Op(jaxfn.Function):
            @staticmethod
            def forward(ctx, x):
                return x

            @staticmethod
            def backward(ctx, grad):
                return grad * w

        return Op.apply(2.0)

    def argument_closes(w):
        @jaxfn.function
        def op(fun, x):
            return fun(x), None

        op.defbackward(lambda _, grad: (None, grad))
        return op(lambda x: x * w, 2.0)

    for fun, what in [
        (forward_closes, "op.forward"),
        (backward_closes, "Op.backward"),
        (argument_closes, "op: input 0 (fun)"),
    ]:
        message = re.escape(f"{what} closes over the traced value w; make it an argument")
        for transformed in (jax.grad(fun), jax.jit(fun)):
            with pytest.raises(TypeError, match=message):
                transformed(3.0)


def test_saving_a_value_that_was_traced_elsewhere():
    elsewhere = types.SimpleNamespace()

    class Op(jaxfn.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(elsewhere.value)
            return x * 2

        @staticmethod
        def backward(ctx, grad):
            return grad * ctx.saved_tensors[0]

    def loss(w):
        elsewhere.value = w * 3
        return Op.apply(w)

    with pytest.raises(jax.errors.UnexpectedTracerError) as raised:
        jax.grad(loss)(1.0)
    assert "Op uses or saves a value that was traced outside of it" in raised.value.__notes__[0]


# Rules for forward mode and batches, and the decorator.


def with_rule(name, rule):
    class Op(jaxfn.Function):
        @staticmethod
        def forward(x):
            return 2 * x, x

        @staticmethod
        def setup_context(ctx, inputs, output):
            pass

        @staticmethod
        def backward(ctx, one, two):
            return one

    setattr(Op, name, staticmethod(rule))
    return Op.apply


def test_wrong_tangents():
    for returned, error, message in [
        (
            lambda dot: dot,
            ValueError,
            "Op.jvp returned 1 value, expected 2, for output 0, output 1",
        ),
        (
            lambda dot: (dot, dot[:1]),
            ValueError,
            "Op.jvp returned for output 1 a float32[1], expected float32[3]",
        ),
        (
            lambda dot: (dot.astype("float16"), dot),
            TypeError,
            "Op.jvp returned for output 0 a float16[3], expected float32[3]",
        ),
    ]:
        operation = with_rule("jvp", lambda ctx, dot, returned=returned: returned(dot))
        with pytest.raises(error, match=re.escape(message)):
            jax.jvp(operation, (jnp.ones(3),), (jnp.ones(3),))
    operation = with_rule("jvp", lambda ctx, dot: ctx.saved_tensors)
    with pytest.raises(ValueError, match=r"call ctx\.save_for_forward"):
        jax.jvp(operation, (jnp.ones(3),), (jnp.ones(3),))


def test_a_wrong_vmap_rule():
    operation = with_rule("vmap", lambda info, in_dims, x: x)
    with pytest.raises(TypeError, match=r"Op.vmap returned .*, expected \(output, out_dims\)"):
        jax.vmap(operation)(jnp.ones(3))


def test_wrong_results():
    class Op(jaxfn.Function):
        @staticmethod
        def forward(ctx, x):
            return x, "text"

        @staticmethod
        def backward(ctx, grad):
            return grad

    with pytest.raises(TypeError, match=r"Op\.forward returned 'text', expected arrays"):
        Op.apply(1.0)

    single = jaxfn.function(lambda x: 2 * x)
    single.defbackward(lambda _, grad: grad)
    with pytest.raises(TypeError, match="expected a pair: the output and what backward needs"):
        single(jnp.ones(3))
