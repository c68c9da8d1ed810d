"""Cases of simulators of bodies and molecules: Brax, JAX MD, MuJoCo MJX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from scripts.wild.case import POSITIVE, Entry, X, by, get, normal, of

INSIDE = [-0.9, -0.2, 0.3, 0.8]
DISPLACED = "in fractional coordinates the gradient is that in real ones, by its documentation"


def _rotate() -> Callable[..., Any]:
    rotate = get("jax_md.rigid_body:_quaternion_rotate")
    return lambda q, v: rotate(q / jnp.linalg.norm(q), v)


def _cylinder() -> Callable[..., Any]:
    return get("mujoco.mjx._src.collision_sdf:_cylinder")


BOX = np.array([[2.0, 0.3], [0.0, 1.5]], np.float32)
ROTATION = "jax_md._nn.uma.common.rotation:"
FORCES = "jax_md.mm_forcefields."

CASES = (
    Entry("brax", "math.safe_arccos", of("brax.math:safe_arccos", INSIDE)),
    Entry("brax", "math.safe_arccos (at ±1)", of("brax.math:safe_arccos", [-1.0, 1.0])),
    Entry("brax", "math.safe_arcsin", of("brax.math:safe_arcsin", INSIDE)),
    Entry("jax_md", "space.transform", of("jax_md.space:transform", BOX, normal(3, 2)), DISPLACED),
    Entry(
        "jax_md",
        "energy.electrostatics.transform_gradients",
        of("jax_md._energy.electrostatics:transform_gradients", BOX, normal(3, 2)),
        DISPLACED,
    ),
    Entry(
        "jax_md",
        "mm_forcefields.nonbonded.electrostatics.transform_gradients",
        of(FORCES + "nonbonded.electrostatics:transform_gradients", BOX, normal(3, 2)),
        DISPLACED,
    ),
    Entry(
        "jax_md",
        "mm_forcefields.reaxff.reaxff_helper.safe_sqrt",
        of(FORCES + "reaxff.reaxff_helper:safe_sqrt", POSITIVE),
    ),
    Entry(
        "jax_md",
        "mm_forcefields.reaxff.reaxff_helper.safe_sqrt (at 0)",
        of(FORCES + "reaxff.reaxff_helper:safe_sqrt", [0.0]),
        "0 at 0 by design",
    ),
    Entry("jax_md", "rigid_body quaternion_rotate", by(_rotate, normal(4), normal(3, seed=1))),
    Entry(
        "jax_md",
        "rigid_body quaternion_rotate (any quaternion)",
        of("jax_md.rigid_body:_quaternion_rotate", normal(4), normal(3, seed=1)),
        "meant for unit quaternions: the gradient is projected onto their tangents",
    ),
    Entry("jax_md", "uma.common.rotation.safe_acos", of(ROTATION + "safe_acos", INSIDE)),
    Entry(
        "jax_md",
        "uma.common.rotation.safe_atan2",
        of(ROTATION + "safe_atan2", X, [0.5, -0.7, 2.0, -1.0]),
    ),
    Entry(
        "jax_md",
        "uma.kernels.segment_mm",
        of(
            "jax_md._nn.uma.kernels:segment_mm",
            normal(5, 3),
            normal(2, 4, 3, seed=1),
            np.array([2, 3], np.int32),
        ),
    ),
    Entry(
        "mujoco.mjx",
        "mjx cylinder distance (outside)",
        by(_cylinder, [1.1, 0.7, 1.4], [0.6, 0.8]),
    ),
    Entry(
        "mujoco.mjx",
        "mjx cylinder distance (inside)",
        by(_cylinder, [0.2, 0.1, 0.3], [0.6, 0.8]),
    ),
)
