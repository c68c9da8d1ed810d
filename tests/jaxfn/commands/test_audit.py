"""`python -m jaxfn audit`: what it asks `jaxfn.audit`, prints, and ends with."""

import types

import jax.numpy as jnp
import pytest

import jaxfn


class Report(types.SimpleNamespace):
    """What `jaxfn.audit` returns, as far as the command looks."""

    def __str__(self):
        return f"audit: {self.verdict}"

    def to_json(self, **options):
        return f'{{"verdict": "{self.verdict}"}}'


@pytest.fixture
def asked(monkeypatch):
    """Takes the place of `jaxfn.audit`: keeps the call, and answers with its `verdict`."""
    kept = types.SimpleNamespace(verdict="pass")

    def audit(fun, args, *, surrogates=None, order=2, seed=0, raise_exception=True):
        kept.call = fun.__name__, args, surrogates, order, seed, raise_exception
        if not isinstance(args[0], dict):
            raise TypeError("expected a tree\nof arrays")
        return Report(verdict=kept.verdict)

    monkeypatch.setattr(jaxfn, "audit", audit, raising=False)
    return kept


def test_what_audit_says_of_a_function_itself(ops, command):
    code, out, _ = command("audit", *TREE, "--order", 1)
    assert code == (0 if ": PASS" in out else 1)
    assert out.startswith("audit of of_tree: ")


TREE = "ops:of_tree", "--args", "ops:example_args"


@pytest.mark.parametrize(("verdict", "code"), [("pass", 0), ("fail", 1), ("inconclusive", 1)])
def test_exit_codes(ops, command, asked, verdict, code):
    asked.verdict = verdict
    assert command("audit", *TREE) == (code, f"audit: {verdict}\n", "")
    name, (params, scale), *options = asked.call
    assert (name, params["w"].shape, scale) == ("of_tree", (3,), 2)
    assert options == [None, 2, 0, False]


def test_flags(ops, command, asked):
    surrogates = "--surrogates", "sine=jax.numpy:tanh", "--surrogates", "reversal=none"
    code, out, _ = command("audit", *TREE, *surrogates, "--order", 1, "--seed", 5, "--json")
    assert (code, out) == (0, '{"verdict": "pass"}\n')
    assert asked.call[2] == {"sine": jnp.tanh, "reversal": None}
    assert asked.call[3:5] == (1, 5)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["ops:sine", "f32[3]"], "ops:sine(f32[3]): TypeError: expected a tree\n"),
        (["ops:sine"], "expected its arguments"),
        ([*TREE, "--surrogates", "sine"], "--surrogates sine: expected name=package.module:"),
        ([*TREE, "--surrogates", "sine=ops:no"], "no attribute 'no'"),
        ([*TREE, "--surrogates", "a=none", "--surrogates", "a=none"], "expected a once"),
    ],
)
def test_bad_commands(ops, asked, refused, argv, message):
    assert message in refused("audit", *argv)
