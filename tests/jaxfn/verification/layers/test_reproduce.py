"""The program of a failed report shows the failure again."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfn.verification import gradcheck
from jaxfn.verification.layers.reproduce import NoLiteralError, literal

X = np.array([0.5, -1.25, 2.0], np.float32)
Z = np.array([1 + 2j, 0.25 - 1j], np.complex64)


def ruled(fun, backward):
    op = jax.custom_vjp(fun)
    op.defvjp(lambda *args: (fun(*args), args), lambda args, g: backward(*args, g))
    return op


def ran(report, capsys, fun, args, **names):
    """What the program prints, run as a user would who has the function."""
    name = fun.__name__ if fun.__name__.isidentifier() else "fun"
    capsys.readouterr()
    exec(report.reproduce, {name: fun} | names)
    return capsys.readouterr().out


SMALL = {
    "one array": (ruled(jnp.sin, lambda x, g: (1.001 * g * jnp.cos(x),)), (X,)),
    "tree and integers": (
        ruled(
            lambda p, i: {"y": p["w"][i] ** 2},
            lambda p, i, g: ({"w": jnp.zeros(3).at[i].add(p["w"][i] * g["y"])}, None),
        ),
        ({"w": X}, np.array([2, 1, 2])),
    ),
    "complex": (ruled(lambda z: z**2, lambda z, g: (2 * jnp.conj(z) * g,)), (Z,)),
    "away from the given point": (
        ruled(jnp.square, lambda x, g: (jnp.where(jnp.abs(x) > 3, 0, 2 * x) * g,)),
        (X,),
    ),
    "a constant": (ruled(jnp.sin, lambda x, g: (g * jnp.cos(x) + 1,)), (X,)),
}


@pytest.mark.parametrize("name", SMALL)
def test_small_points_are_written_out(name, capsys):
    fun, args = SMALL[name]
    report = gradcheck(fun, args, layers=("linearity", "autodiff"), raise_exception=False)
    assert "jax.vjp" in report.reproduce
    namespace = {"jnp": jnp, "jax": jax, "Array": lambda value, dtype: value}
    namespace |= {str(np.dtype(t)): t for t in (jnp.float64, jnp.complex128)}
    rule, expected = eval(ran(report, capsys, fun, args), namespace)
    failed = next(c for c in report.checks if c.reproduce)
    assert failed.worst is not None
    assert rule == pytest.approx(failed.worst.rule)
    assert expected == pytest.approx(failed.worst.reference)


def test_otherwise_gradcheck_is_asked(capsys):
    fun = ruled(jnp.sin, lambda x, g: ((g * jnp.cos(x)).at[50].multiply(1.01),))
    args = (np.linspace(-1, 1, 60).astype(np.float32),)
    report = gradcheck(fun, args, order=1, layers=("autodiff",), seed=3, raise_exception=False)
    assert "order=1, layers=('autodiff',), seed=3" in report.reproduce
    worst = report.check("autodiff").worst
    assert ran(report, capsys, fun, args).strip() == str(worst)


@jax.custom_vjp
def wrong_cube(x):
    return x**3


wrong_cube.defvjp(lambda x: (x**3, x), lambda x, g: (2 * g * x**2,))


@pytest.mark.parametrize("args", [(X,), (np.linspace(-1, 1, 60).astype(np.float32),)])
def test_what_stands_in_a_module_runs_as_it_is(args, capsys):
    report = gradcheck(wrong_cube, args, layers=("autodiff",), raise_exception=False)
    exec(report.reproduce, {})
    printed = capsys.readouterr().out
    worst = report.check("autodiff").worst
    assert worst is not None
    assert printed.startswith("[Array(") if len(args[0]) == 3 else printed.strip() == str(worst)


def test_no_line_is_wider_than_the_report():
    report = gradcheck(wrong_cube, (X,), layers=("autodiff",), raise_exception=False)
    assert max(map(len, report.text(verbose=True).split("reproduce:")[1].splitlines())) <= 100


def test_what_cannot_be_written_is_said():
    fun = ruled(lambda x: x**3, lambda x, g: (2 * g * x**2,))
    args = (np.linspace(-1, 1, 400).astype(np.float32),)
    report = gradcheck(fun, args, layers=("autodiff",), raise_exception=False)
    assert "# fun has to be known here" in report.reproduce
    assert "args = ...  # the arguments that were given" in report.reproduce


def test_names_of_other_functions(capsys):
    fun = ruled(lambda x: jnp.sum(jnp.round(x)), lambda x, g: (2 * g * jnp.ones_like(x),))

    def surrogate(x):
        return jnp.sum(x)

    report = gradcheck(fun, (X,), surrogate=surrogate, layers=("autodiff",), raise_exception=False)
    assert "[fun, surrogate]" in report.reproduce
    assert "2." in ran(report, capsys, fun, (X,), surrogate=surrogate)


def test_a_right_rule_has_no_line():
    assert gradcheck(jnp.sin, (X,), layers=("autodiff",)).reproduce == ""


def test_literals():
    assert (
        literal((np.float32(0.1), [None, "a", 3])) == "(jnp.array(0.1, 'float32'), [None, 'a', 3],)"
    )
    assert literal(np.float64(0.1)) == "jnp.array(0.1, 'float64')"
    assert literal(jnp.bfloat16(0.5)) == "jnp.array(0.5, 'float32').astype('bfloat16')"
    assert literal(np.array([True])) == "jnp.array([True], 'bool')"
    for value in (object(), np.float32(np.inf), np.zeros((0, 2))):
        with pytest.raises(NoLiteralError):
            literal(value)
