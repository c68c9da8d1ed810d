"""Each planted fault is caught by a test that `make test` runs."""

import pytest

from tests.faults.__main__ import ROOT, copy_of_the_project, fails, is_caught, planted
from tests.faults.planted import FAULTS, Fault


def test_there_are_many_all_over_and_each_has_its_place():
    assert len(FAULTS) >= 40
    assert len({fault.path for fault in FAULTS}) >= 25
    for fault in FAULTS:
        assert planted((ROOT / fault.path).read_text(), fault) != ""
        assert all((ROOT / tests).exists() for tests in fault.tests), fault.tests


def test_a_fault_without_a_place_is_named():
    with pytest.raises(ValueError, match=r"a\.py: expected once, got 0 times"):
        planted("x = 1", Fault("a.py", "x = 2", "x = 3", ()))


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return copy_of_the_project(tmp_path_factory.mktemp("faults"))


@pytest.mark.long
def test_nothing_fails_where_nothing_is_planted(project):
    assert not fails(project, tuple({tests for fault in FAULTS for tests in fault.tests}))


@pytest.mark.long
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_it_is_caught(fault, project):
    assert is_caught(fault, project)
