"""Wrong rules of sums and moves along an axis, of sorting and indexing."""

import jax.numpy as jnp
import numpy as np
from jax import lax

from tests.jaxfn.verification.bodies.body import Body
from tests.jaxfn.verification.bodies.case import array, normal, positive, rule
from tests.jaxfn.verification.bodies.witnesses import (
    gradient,
)

body = Body()


# Sums and moves along an axis.


@body.wrong("other", normal(6))
@rule(lambda x, g: (jnp.cumsum(g),))
def cumulative_sum_not_reversed(x):
    return jnp.cumsum(x)


@body.wrong("dropped-term", normal(6))
@rule(lambda x, g: (jnp.cumsum(g[::-1])[::-1] - g,))
def cumulative_sum_without_the_element_itself(x):
    return jnp.cumsum(x)


@body.wrong("dropped-term", positive(5))
@rule(lambda x, g: (g * jnp.cumprod(x) / x,))
def cumulative_product_without_later_outputs(x):
    return jnp.cumprod(x)


@body.wrong("nan", positive(5), witness=gradient(at=(array(2, 0, 3, 1),)))
@rule(lambda x, g: (jnp.cumsum((g * jnp.cumprod(x))[::-1])[::-1] / x,))
def cumulative_product_nan_at_a_zero(x):
    return jnp.cumprod(x)


@body.wrong("other", normal(6))
@rule(lambda x, g: (jnp.roll(g, 2),))
def roll_in_the_same_direction(x):
    return jnp.roll(x, 2)


@body.wrong("dropped-term", normal(6))
@rule(lambda x, g: (jnp.pad(g, (1, 0)),))
def difference_without_the_left_neighbour(x):
    return jnp.diff(x)


@body.wrong("exchanged", normal(4), normal(4, seed=1))
@rule(lambda a, b, g: (g[4:], g[:4]))
def concatenation_exchanged(a, b):
    return jnp.concatenate([a, b])


@body.wrong("other", normal(4, 6))
@rule(lambda x, g: (g.reshape(6, 4).T,))
def reshape_in_the_order_of_columns(x):
    return x.reshape(-1)


@body.wrong("elements", normal(8))
@rule(lambda x, g: (jnp.where(jnp.arange(8) % 2 == 0, jnp.repeat(g, 2), 0),))
def sum_of_pairs_to_the_first_of_each(x):
    return x.reshape(4, 2).sum(1)


# Sorting and indexing.


@body.wrong("other", normal(6))
@rule(lambda x, g: (g,))
def sort_not_permuted_back(x):
    return jnp.sort(x)


@body.wrong("other", normal(6))
@rule(lambda x, g: (g[jnp.argsort(x)],))
def sort_with_the_permutation_for_its_inverse(x):
    return jnp.sort(x)


@body.wrong("other", normal(6))
@rule(lambda x, g: (jnp.zeros_like(x).at[:2].set(g),))
def two_largest_at_their_ranks(x):
    return lax.top_k(x, 2)[0]


REPEATED = np.array([0, 2, 2, 1, 2])


@body.wrong("dropped-term", normal(4, 3), REPEATED)
@rule(lambda table, i, g: (jnp.zeros_like(table).at[i].set(g), None))
def embedding_that_sets_instead_of_adding(table, i):
    return table[i]


@body.wrong("scale", normal(4, 3), np.array([0, 0, 1, 1, 3, 3]))
@rule(lambda table, i, g: (jnp.zeros_like(table).at[i].add(g) / 2, None))
def embedding_with_a_mean_over_repetitions(table, i):
    return table[i]


@body.wrong("elements", normal(5, 2), np.array([1, 3, 0]))
@rule(lambda table, i, g: (jnp.zeros_like(table).at[i[1:]].add(g[1:]), None))
def embedding_with_a_padding_row_at_zero(table, i):
    return table[i]


@body.wrong("other", normal(5), REPEATED)
@rule(lambda x, i, g: (g[jnp.argsort(i)[jnp.argsort(i)]], None))
def segment_sum_gathered_by_rank(x, i):
    return jnp.zeros(5, x.dtype).at[i].add(x)


@body.wrong("elements", normal(5), normal(2), np.array([3, 1]))
@rule(lambda x, update, i, g: (g, g[i], None))
def overwritten_elements_keep_their_gradient(x, update, i):
    return x.at[i].set(update)


@body.wrong("elements", normal(4, 5), np.array([1, 4, 0, 2]))
@rule(lambda x, i, g: (jnp.zeros_like(x).at[jnp.arange(4), i - 1].set(g), None))
def picked_elements_off_by_one(x, i):
    return jnp.take_along_axis(x, i[:, None], 1)[:, 0]
