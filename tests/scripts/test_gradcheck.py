"""`python -m scripts.gradcheck` is `python -m jaxfn check`."""

import runpy
import sys

import pytest


def test_it_runs(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gradcheck", "jaxfn:no_such", "f32[3]"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("scripts.gradcheck", run_name="__main__")
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert "no_such" in error
    assert error.count("\n") == 1
