"""No number decides a verdict without a name."""

import ast
from pathlib import Path

import jaxfn.verification

ROOT = Path(jaxfn.verification.__file__).parent
VERDICT_CODE = [
    *sorted((ROOT / "evidence").glob("*.py")),
    *sorted((ROOT / "layers").glob("*.py")),
    ROOT / "subject" / "subject.py",
    ROOT / "gradcheck.py",
]
# Of these nothing depends: none, a whole, its halves, and the other sign.
PLAIN = {0.0, 1.0, -1.0, 0.5, 2.0}


def unnamed(source: str) -> list[str]:
    """The floating numbers within functions that have no name."""
    functions = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef)]
    numbers = [n for function in functions for n in ast.walk(function)]
    return [
        f"line {n.lineno}: {n.value}"
        for n in numbers
        if isinstance(n, ast.Constant) and isinstance(n.value, float) and n.value not in PLAIN
    ]


def test_every_number_has_a_name():
    found = {path.name: numbers for path in VERDICT_CODE if (numbers := unnamed(path.read_text()))}
    assert found == {}


def test_a_number_without_a_name_is_found():
    assert unnamed("LIMIT = 1e-9\ndef bad(gap):\n    return gap > 1e-9\n") == ["line 3: 1e-09"]
