"""The first signal is a wish, the second an order."""

import os
import signal
import subprocess
import sys

import pytest

from scripts.command.signals import STOP, stop_on_signal


@pytest.mark.parametrize("number", STOP)
def test_the_first_is_noted_and_the_handlers_come_back(number):
    before = [signal.getsignal(each) for each in STOP]
    with stop_on_signal() as request:
        assert request.number is None
        os.kill(os.getpid(), number)
        assert request.number == number
        assert [signal.getsignal(each) for each in STOP] == [signal.SIG_DFL, signal.SIG_DFL]
    assert [signal.getsignal(each) for each in STOP] == before


@pytest.mark.parametrize("second", STOP)
def test_the_second_ends_the_process(second):
    code = f"""
import os, signal
from scripts.command.signals import stop_on_signal
with stop_on_signal():
    os.kill(os.getpid(), signal.SIGINT)
    print("noted", flush=True)
    os.kill(os.getpid(), {int(second)})
    print("not reached")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (-second, "noted\n")
