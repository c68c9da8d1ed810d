"""`places`: where a source makes custom rules."""

import pytest

from scripts.wild.source import Place, places


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("@jax.custom_jvp\ndef f(x): return x", Place("f", "custom_jvp", 1, False)),
        ("@custom_vjp\n@jax.jit\ndef f(x): return x", Place("f", "custom_vjp", 1, False)),
        (
            "\n@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))\ndef f(n, x): return x",
            Place("f", "custom_vjp", 2, False),
        ),
        ("@eqx.filter_custom_jvp\ndef f(x): return x", Place("f", "filter_custom_jvp", 1, False)),
        (
            "@m.custom_gradient(jvp_fn=g)\ndef f(x): return x",
            Place("f", "custom_gradient", 1, False),
        ),
        ("def f(x): return x\ng = jax.custom_jvp(f)", Place("f", "custom_jvp", 1, False)),
        ("g = jax.custom_jvp(lambda x: x)", Place("<lambda>", "custom_jvp", 1, False)),
        ("class C:\n  @jax.custom_jvp\n  def f(x): return x", Place("f", "custom_jvp", 2, False)),
        ("def h():\n  @jax.custom_jvp\n  def f(x): return x", Place("f", "custom_jvp", 2, True)),
        ("h = lambda f: jax.custom_vjp(f)", Place("f", "custom_vjp", 1, True)),
    ],
)
def test_one_place(text, place):
    assert places(text) == [place]


@pytest.mark.parametrize(
    "text",
    [
        "@f.defjvp\ndef g(primals, tangents): ...",
        "from jax import custom_jvp",
        "@jax.jit\ndef custom_jvp(x): return x",
        "custom_jvp = 1",
        "this is no Python: custom_jvp",
        "",
    ],
)
def test_no_place(text):
    assert places(text) == []
