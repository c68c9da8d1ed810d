"""Which function, and what it is called with; each mistake is one line."""

import pytest

from jaxfn.commands.program import UserError
from jaxfn.commands.target import Target, load_optional

pytestmark = pytest.mark.usefixtures("ops")


def test_arguments_as_text():
    target = Target("ops:of_tree", ("f32[2]", "0.5", "key"))
    fun, (x, scale, key) = target.load()
    assert fun.__name__ == "of_tree"
    assert (x.shape, scale, key.shape) == ((2,), 0.5, ())
    assert target.call == "ops:of_tree(f32[2], 0.5, key)"
    again = Target("ops:of_tree", ("f32[2]",), seed=1).load()[1][0]
    assert (again != x).all()


def test_a_factory():
    target = Target("ops:of_tree", args="ops:example_args")
    _, (params, scale) = target.load()
    assert (params["w"].shape, scale) == ((3,), 2)
    assert target.call == "ops:of_tree(*ops:example_args())"


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (Target("ops.sine", ("f32[3]",)), "'ops.sine': expected 'package.module:function'"),
        (Target("nowhere:f", ("f32[3]",)), "No module named 'nowhere'"),
        (Target("ops:nothing", ("f32[3]",)), "no attribute 'nothing'"),
        (Target("ops:__name__", ("f32[3]",)), "expected a function, got str"),
        (Target("ops:sine", ("f32[3",)), "expected an array such as"),
        (Target("ops:sine", ("same",)), "or a Python literal such as"),
        (Target("ops:sine"), "ops:sine: expected its arguments"),
        (Target("ops:sine", ("f32[3]",), "ops:example_args"), "expected arguments or --args"),
        (Target("ops:sine", args="ops:raises"), r"ops:raises\(\): RuntimeError: no data here$"),
        (Target("ops:sine", args="ops:a_dict"), r"expected the tuple of arguments, got dict"),
        (Target("ops:sine", args="ops:__file__"), "expected a function, got str"),
        (Target("ops:sine", ("f32[3]",), seed=-1), "--seed: expected 0 to"),
    ],
)
def test_mistakes(target, message):
    with pytest.raises(UserError, match=message) as caught:
        target.load()
    assert "\n" not in str(caught.value)


def test_a_flag_that_names_no_function():
    assert load_optional(None) is None
    assert load_optional("ops:sine").__name__ == "sine"
