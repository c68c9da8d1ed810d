"""The map of the house is true, and no import leads upwards or in a circle."""

import graphlib

import pytest
from PIL import Image

from scripts import map as house
from scripts.command.program import UserError


@pytest.fixture(scope="module")
def found():
    return house.arrows()


def test_no_import_leads_upwards(found):
    assert house.against(found) == []


def test_no_modules_import_each_other_in_a_circle():
    modules = house.sources()
    graph = {name: set(house.imports(path, modules)) - {name} for name, path in modules.items()}
    assert len(list(graphlib.TopologicalSorter(graph).static_order())) == len(modules)


def test_the_picture_shows_the_imports_of_today(found):
    shown = Image.open(house.ROOT / "docs" / "map.png").text[house.ARROWS]
    assert shown == house.as_text(found), "python -m scripts.map draws it again"


def test_each_room_has_a_place_and_words(found):
    rooms = {room for floor in house.FLOORS for room in floor}
    assert rooms == set(house.SAYS)
    assert {room for arrow in found for room in arrow} == rooms


def test_an_import_against_the_arrows_is_named(tmp_path, monkeypatch):
    for name, text in {
        "points/probes": "def look():\n    from jaxfn.verification.layers import shapes\n",
        "layers/shapes": "import jaxfn.verification.points.probes\n",
    }.items():
        path = tmp_path / "jaxfn" / "verification" / f"{name}.py"
        path.parent.mkdir(parents=True)
        path.write_text(text)
        (path.parent / "__init__.py").touch()
    planted = house.arrows(tmp_path)
    up = "jaxfn.verification.points imports jaxfn.verification.layers"
    assert house.against(planted) == [up]
    monkeypatch.setattr(house, "arrows", lambda: planted)
    with pytest.raises(UserError, match=up):
        house.main(house.Config(output=tmp_path / "map.png"))
    assert not (tmp_path / "map.png").exists()


def test_what_is_left_out_of_the_picture():
    arrows = {("a", "b"): 1, ("b", "c"): 1, ("a", "c"): 1, ("a", "d"): 1}
    assert house.without_detours(arrows) == [("a", "b"), ("b", "c"), ("a", "d")]


def test_it_is_drawn(tmp_path, found):
    assert house.main(house.Config(output=tmp_path / "docs" / "map.png")) == found
    assert Image.open(tmp_path / "docs" / "map.png").text[house.ARROWS] == house.as_text(found)
