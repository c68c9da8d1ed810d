"""Which sizes are tried: different ones made equal, equal ones different, one beyond a block."""

from typing import Any

from jaxfn.verification.points.sizes import Axes, groups


def first_accepted(shapes, integers=(), accepts=lambda sizes: True) -> list[Any]:
    names = tuple(f"args[{k}]" for k in range(len(shapes)))
    axes = Axes(shapes, names, frozenset(integers))
    return [
        next((one.shapes for one in group if accepts(one)), ()) for group in groups(axes, accepts)
    ]


def product(sizes):
    left, right = sizes.shapes
    return left[1] == right[0]


def test_equal_axes_are_made_different_and_one_grows_beyond_a_block():
    (grown, one, equal) = first_accepted(((8, 8), (8, 8)), accepts=product)
    (rows, inner), (also_inner, columns) = grown
    assert inner == also_inner == 131
    assert len({rows, inner, columns}) == 3
    assert one == ((1, 1), (1, 1))
    assert equal == ()


def test_different_axes_are_made_equal():
    assert first_accepted(((6, 4),))[2] == ((4, 4),)
    assert first_accepted(((6, 4), (6,)), integers=[1])[2] == ((6, 6), (6,))


def test_axes_of_two_are_made_three():
    assert first_accepted(((5, 2),))[2] == ((3, 3),)


def test_an_axis_is_no_longer_than_a_block_where_that_is_dear():
    ((grown,), *_) = first_accepted(((100, 90),))
    assert grown == (101, 91)


def test_indices_do_not_leave_the_axis_that_they_index():
    ((table, indices), *_) = first_accepted(((7, 7), (7,)), integers=[1])
    assert min(table) > indices[0]
