"""`pytest --audit-rules` on a small project, each in a process as its users have it."""

import subprocess
import sys
import textwrap

import pytest

OPS = """
    import jax
    import jax.numpy as jnp

    @jax.custom_vjp
    def wrong_sine(x):
        return jnp.sin(x)

    wrong_sine.defvjp(lambda x: (jnp.sin(x), x), lambda x, g: (jnp.cos(x),))  # forgets g

    @jax.custom_vjp
    def right_sine(x):
        return jnp.sin(x)

    right_sine.defvjp(lambda x: (jnp.sin(x), x), lambda x, g: (g * jnp.cos(x),))

    @jax.custom_jvp
    def floor_through(x):
        return jnp.floor(x)

    floor_through.defjvps(lambda x_dot, y, x: x_dot)

    def identity(x):
        return x
"""

TESTS = """
    import jax
    import jax.numpy as jnp
    import pytest
    import ops

    X = jnp.array([0.5, -1.0])

    def test_eagerly():
        assert ops.right_sine(X).shape == (2,)

    @jax.jit
    def loss(x):
        return ops.wrong_sine(x).sum()

    def test_traced_and_at_a_cotangent_of_one():
        assert jnp.allclose(jax.grad(loss)(X), jnp.cos(X))

    def test_looks_at_the_program():
        assert "callback" not in str(jax.make_jaxpr(jax.jit(lambda x: ops.right_sine(2 * x)))(X))

    def test_meant_so():
        assert jax.jit(jax.grad(ops.floor_through))(0.5) == 1
"""


def run_pytest(folder, *flags, ini="", tests=TESTS):
    (folder / "ops.py").write_text(textwrap.dedent(OPS))
    (folder / "test_ops.py").write_text(textwrap.dedent(tests))
    (folder / "pytest.ini").write_text(f"[pytest]\npythonpath = .\n{ini}")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *flags]
    if "jaxfn_pytest" not in _loaded():
        command += ["-p", "jaxfn_pytest"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


def _loaded():
    """What pytest loads by itself here: an installed jaxfn has an entry point."""
    from importlib.metadata import entry_points

    return {entry.value for entry in entry_points(group="pytest11")}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    ini = "audit_surrogates =\n    floor_through = ops:identity\n"
    return run_pytest(tmp_path_factory.mktemp("project"), "--audit-rules-only=ops", ini=ini)


def test_a_wrong_rule_fails_the_run_that_was_green(finished):
    assert finished.returncode == 1
    assert "4 passed" in finished.stdout
    assert "3 rules: 1 wrong, 2 right" in finished.stdout


def test_the_test_that_applied_it_is_named(finished):
    said = finished.stdout[finished.stdout.index("FAIL: wrong_sine") :]
    assert "applied by test_ops.py::test_traced_and_at_a_cotangent_of_one" in said
    assert "diagnosis:" in said


def test_what_looks_at_the_program_runs_as_it_is(finished):
    assert "1 test passed only without callbacks" in finished.stdout


def test_each_worker_of_xdist_proves_what_its_tests_applied(tmp_path):
    found = run_pytest(tmp_path, "--audit-rules-only=ops", "-n", "2", "-k", "eagerly or traced")
    assert found.returncode == 1
    assert "2 passed" in found.stdout
    assert "FAIL: wrong_sine" in found.stdout
    assert found.stdout.count("audit of the tests") == 2


def test_without_the_option_nothing_is_imported(tmp_path):
    tests = """
        import sys

        def test_nothing():
            assert "jax" not in sys.modules
    """
    found = run_pytest(tmp_path, tests=tests)
    assert found.returncode == 0, found.stdout


def test_the_diagnosis_of_gradcheck_comes_first(tmp_path):
    tests = """
        import jax.numpy as jnp
        import jaxfn
        import ops

        def test_sine():
            jaxfn.gradcheck(ops.wrong_sine, (jnp.array([0.5]),), order=1)
    """
    found = run_pytest(tmp_path, tests=tests)
    assert "gradcheck.py" not in found.stdout  # no frame of jaxfn's own
    lines = found.stdout.splitlines()
    (summary,) = (line for line in lines if line.startswith("FAILED test_ops.py::test_sine"))
    assert "gradcheck of wrong_sine: " in summary
    assert "a constant is added" in summary


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("floor_through", "expected 'name = package.module:function'"),
        ("floor_through = ops:nothing", "has no attribute 'nothing'"),
    ],
)
def test_a_wrong_line_of_the_ini_file(tmp_path, line, said):
    found = run_pytest(tmp_path, "--audit-rules", ini=f"audit_surrogates =\n    {line}\n")
    assert found.returncode == pytest.ExitCode.USAGE_ERROR
    assert said in found.stderr + found.stdout
