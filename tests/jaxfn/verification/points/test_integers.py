"""Other integers: in the range of the given ones, repeated, and where the program branches."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxfn.verification import gradcheck
from jaxfn.verification.points.integers import Taken, is_permutation, other_integers, redrawn
from jaxfn.verification.points.probes import probes
from jaxfn.verification.subject.coordinates import Arguments
from tests.jaxfn.verification.test_gradcheck import ruled

X = np.array([0.5, -1.25, 2.0], np.float32)


def others(taken, *integers):
    arguments = Arguments((jnp.ones(3), *map(jnp.asarray, integers)))
    return list(other_integers(arguments, np.random.default_rng(0), taken))


def test_integers_keep_their_range_and_permutations():
    arguments = Arguments((jnp.ones(3), jnp.array([1, 0, 2]), jnp.array([4, 4, 7])))
    for probe in probes(arguments, np.random.default_rng(0), False):
        permutation, indices = probe.integers
        assert sorted(permutation) == [0, 1, 2]
        assert 0 <= indices.min() <= indices.max() <= 7


def test_the_first_indices_of_a_longer_axis_are_no_permutation():
    arguments = Arguments((jnp.ones((5, 4)), jnp.array([0, 1, 2])))
    found = [p.integers[0] for p in probes(arguments, np.random.default_rng(0), False)]
    assert any(len(set(indices)) < 3 for indices in found)


def test_what_is_a_permutation():
    arguments = Arguments((jnp.ones(3),))
    assert is_permutation(arguments, np.array([2, 0, 1]))
    for indices in ([0, 0, 1], [1, 2, 3], [0, 1], [0], [True, False]):
        assert not is_permutation(arguments, np.array(indices))


def test_a_permutation_is_repeated_where_the_function_takes_that():
    for repeated in True, False:
        found = others(Taken(repeated=repeated), [2, 0, 1])
        drawn = [(said, len(set(p))) for _, said, (p,) in found if len(set(p)) < 3]
        assert bool(drawn) == repeated
        assert all("has repeated elements" in said for said, _ in drawn)


def test_the_branches_of_a_program_are_among_them():
    found = others(Taken(branches=((-100,), (4,))), [1, 0, 1], [2, 2])
    of_branches = [(said, moved) for _, said, moved in found if said]
    (first, (labels, starts)), (second, (given, moved)) = of_branches
    assert first.endswith("has -100 among it")
    assert set(labels) <= {-100, 0, 1}
    assert -100 in labels
    assert list(starts) == [2, 2]
    assert second.endswith("has 4 among it")
    assert 4 in moved
    assert list(given) == [1, 0, 1]


def test_values_that_the_type_does_not_hold_are_left_out():
    found = others(Taken(branches=((-100, 300, 7),)), np.array([1, 0], np.uint8))
    assert [said for _, said, _ in found if said and "7 among it" not in said] == []


def test_redrawn():
    arguments = Arguments((jnp.ones(3), jnp.array([0, 1, 2]), jnp.array([4, 4, 7, 7])))
    permutation, indices = redrawn(arguments, np.random.default_rng(0))
    assert sorted(permutation) == [0, 1, 2]
    assert set(indices) <= {4, 5, 6, 7}
    assert (np.diff(indices) >= 0).all()


def autodiff(rule, *args):
    return gradcheck(rule, args, layers=("autodiff",), raise_exception=False)


def place(report):
    worst = report.check("autodiff").worst
    assert worst is not None
    return worst.probe


def test_set_for_add_of_a_permutation():
    def rule(add):
        def backward(x, i, g):
            at = jnp.zeros_like(x).at[i]
            return (at.add(g) if add else at.set(g), None)

        return ruled(lambda x, i: x[i], backward)

    assert autodiff(rule(add=True), X, np.arange(3)).verdict == "pass"
    report = autodiff(rule(add=False), X, np.arange(3))
    assert report.verdict == "fail"
    assert place(report) == "integers repeated in i"


def test_labels_to_ignore_that_are_not_given():
    def loss(logits, labels):
        kept = labels != -100
        chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), (labels * kept)[:, None], 1)[:, 0]
        return -jnp.where(kept, chosen, 0).sum() / jnp.maximum(kept.sum(), 1)

    def backward(logits, labels, g, ignore):
        kept = labels != -100 if ignore else jnp.ones_like(labels, bool)
        d = jax.nn.softmax(logits) - jax.nn.one_hot(labels, logits.shape[1])
        return (g * d * kept[:, None] / jnp.maximum(kept.sum(), 1), None)

    logits = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    for ignore in True, False:
        rule = ruled(loss, lambda x, y, g, ignore=ignore: backward(x, y, g, ignore))
        report = autodiff(rule, logits, np.array([1, 0, 3]))
        assert report.verdict == ("pass" if ignore else "fail")
        assert ignore or place(report) == "-100 in labels"


def test_a_matrix_that_is_symmetric_by_chance():
    def form(x, a):
        return x @ a @ x

    a = np.array([[2, 1, 0], [1, 3, 1], [0, 1, 4]], np.float32)
    right = ruled(form, lambda x, a, g: (g * ((a + a.T) @ x), g * jnp.outer(x, x)))
    wrong = ruled(form, lambda x, a, g: (2 * g * (a @ x), g * jnp.outer(x, x)))
    assert autodiff(right, X, a).verdict == "pass"
    report = autodiff(wrong, X, a)
    assert report.verdict == "fail"
    assert place(report) == "a not symmetric"
