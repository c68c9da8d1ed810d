"""Lines where there is no terminal, a bar above them where there is one."""

import pytest

from scripts.training.display import Display


def show(quiet=False):
    with Display(3, quiet=quiet) as display:
        display.start(completed=1)
        display.warn("[warning]")
        display.say("[start]" + "." * 100)
        display.advance("epoch 2", "loss 0.1")


def test_plain_lines(capsys):
    show()
    assert capsys.readouterr() == ("[start]" + "." * 100 + "\nepoch 2\n", "[warning]\n")


def test_quiet(capsys):
    show(quiet=True)
    assert capsys.readouterr() == ("", "[warning]\n")


def test_bar_on_a_terminal(capsys, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    show()
    shown = capsys.readouterr().out
    assert "2/3" in shown
    assert "loss 0.1" in shown
    assert "epoch 2\n" in shown
