"""Cases of Optax."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from scripts.wild.case import (
    STRAIGHT,
    Case,
    Entry,
    X,
    arrays,
    by,
    get,
    normal,
    of,
)


def _scale_gradient() -> Case:
    scale = get("optax:scale_gradient")
    return Case(lambda x: scale(x, 0.5), arrays([X]), {"surrogate": lambda x: 0.5 * x})


def _perturbed() -> Callable[..., Any]:
    make = get("optax.perturbations:make_perturbed_fun")
    perturbed = make(lambda x: jax.nn.one_hot(jnp.argmax(x), 3), 50, 0.5)
    return lambda x: perturbed(jax.random.key(0), x)


CASES = (
    Entry(
        "optax",
        "projections.projection_simplex",
        of("optax.projections:projection_simplex", normal(5)),
    ),
    Entry(
        "optax",
        "projections.projection_l1_ball",
        of("optax.projections:projection_l1_ball", normal(5)),
    ),
    Entry(
        "optax",
        "projections.projection_l1_sphere",
        of("optax.projections:projection_l1_sphere", normal(5)),
    ),
    Entry(
        "optax",
        "losses.safe_softmax_cross_entropy",
        of(
            "optax:safe_softmax_cross_entropy",
            normal(3, 4),
            [[1, 0, 0, 0], [0.2, 0.3, 0.5, 0], [0, 0, 0.9, 0.1]],
        ),
    ),
    Entry(
        "optax",
        "losses.weighted_logsoftmax",
        of("optax.losses._classification:weighted_logsoftmax", normal(4), [0.0, 1.0, 0.5, 0.0]),
        "weights of 0",
    ),
    Entry(
        "optax",
        "losses.sparsemax_loss",
        of("optax.losses:sparsemax_loss", X, np.array([0, 1, 1, 0])),
    ),
    Entry(
        "optax",
        "losses.multiclass_sparsemax_loss",
        of("optax.losses:multiclass_sparsemax_loss", normal(3, 4), np.array([0, 2, 1])),
    ),
    Entry("optax", "scale_gradient", _scale_gradient, STRAIGHT),
    Entry(
        "optax",
        "perturbations.make_perturbed_fun",
        by(_perturbed, normal(3)),
        "a Monte Carlo estimate by design, of a piecewise constant function",
    ),
)
