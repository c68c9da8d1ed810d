"""Trees of arrays as flat real vectors: every layer compares vectors, whatever the tree holds.

A complex element takes two coordinates, its real and its imaginary part. JAX pairs a cotangent
`c` with a tangent `t` as `Re(c t)`, without conjugation, so cotangents and gradients keep
`(Re c, -Im c)`: then `gradient = Jᵀ cotangent` holds for the real Jacobian `J` of the vectors.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxfn.verification.subject.names import path_name

Array = Any
# What has values, or will have them; all else that says it has a dtype stays as it is.
ARRAYS = (jax.Array, np.ndarray, np.generic, jax.ShapeDtypeStruct)


@dataclass(frozen=True)
class Leaf:
    """One array of a tree: where it stands in the tree and in the vector."""

    path: str
    argument: int
    shape: tuple[int, ...]
    dtype: Any
    start: int
    position: int

    @property
    def is_complex(self) -> bool:
        return jnp.issubdtype(self.dtype, jnp.complexfloating)

    @property
    def count(self) -> int:
        return int(np.prod(self.shape, dtype=int))

    @property
    def size(self) -> int:
        return self.count * (2 if self.is_complex else 1)

    @property
    def part(self) -> slice:
        return slice(self.start, self.start + self.size)

    def index_of(self, coordinate: int) -> tuple[int, ...]:
        """The index into the array of a coordinate of the vector."""
        flat = (coordinate - self.start) % max(self.count, 1)
        return tuple(int(i) for i in np.unravel_index(flat, self.shape)) if self.shape else ()


def is_inexact(value: Any) -> bool:
    """Whether the value is an array, or a number, of a floating or complex dtype."""
    return isinstance(value, (float, complex)) or is_inexact_array(value)


def is_inexact_array(value: Any) -> bool:
    """Whether the value is an array of a floating or complex dtype; a `jax.Ref` is none."""
    return _is_array(value) and jnp.issubdtype(value.dtype, jnp.inexact)


def is_integer(value: Any) -> bool:
    """Whether the value is an array of integers or booleans; Python numbers stay static."""
    if not _is_array(value):
        return False
    return jnp.issubdtype(value.dtype, jnp.integer) or value.dtype == jnp.bool_


def _is_array(value: Any) -> bool:
    return isinstance(value, ARRAYS) and not isinstance(value, jax.Ref)


def leaves_of(
    pairs: Sequence[tuple[Any, Any]], names: Sequence[str], static: frozenset[int] = frozenset()
) -> tuple[Leaf, ...]:
    """The differentiable leaves under their names, one after the other; none that is `static`."""
    found, start = [], 0
    for position, ((path, value), name) in enumerate(zip(pairs, names, strict=True)):
        if is_inexact(value) and position not in static:
            argument = getattr(path[0], "idx", 0) if path else 0
            dtype = jnp.result_type(value)
            leaf = Leaf(name, argument, tuple(np.shape(value)), dtype, start, position)
            found.append(leaf)
            start += leaf.size
    return tuple(found)


def wide_dtype(dtype: Any) -> Any:
    """The double precision of the same kind."""
    return jnp.complex128 if jnp.issubdtype(dtype, jnp.complexfloating) else jnp.float64


class Arguments:
    """The arguments of a call: differentiable leaves as a vector, the others beside it.

    `names` are those of the function's parameters. Beside a floating array Python's numbers are
    static, as for `Function`; alone they are differentiated. Static as well are the leaves at the
    positions `static`. `eager` says that the function is not to be traced.
    """

    def __init__(
        self,
        args: tuple[Any, ...],
        names: Sequence[str] | None = None,
        static: frozenset[int] = frozenset(),
        eager: bool = False,
    ) -> None:
        self.names = names or [f"args[{i}]" for i in range(len(args))]
        pairs, self.tree = jax.tree_util.tree_flatten_with_path(args)
        self.values = [value for _, value in pairs]
        self.paths = [f"{self.names[p[0].idx]}{path_name(args[p[0].idx], p[1:])}" for p, _ in pairs]
        self.static, self.eager = static, eager
        if any(map(is_inexact_array, self.values)):
            self.static |= {i for i, v in enumerate(self.values) if isinstance(v, (float, complex))}
        self.leaves = leaves_of(pairs, self.paths, self.static)
        self.integer_positions = [
            i for i, v in enumerate(self.values) if is_integer(v) and i not in static
        ]
        self.size = sum(leaf.size for leaf in self.leaves)
        self.given = self.flatten(self.values)
        self.integers = tuple(np.asarray(self.values[i]) for i in self.integer_positions)

    def flatten(self, values: Sequence[Any]) -> np.ndarray:
        """The vector of a list of leaves, in double precision."""
        parts = [_parts(values[leaf.position], leaf.is_complex) for leaf in self.leaves]
        return np.concatenate([p.astype(np.float64) for p in parts]) if parts else np.zeros(0)

    def array(self, leaf: Leaf, vector: np.ndarray) -> np.ndarray:
        """A leaf's array of points out of a vector of points."""
        part = np.asarray(vector[leaf.part])
        if leaf.is_complex:
            part = part[: leaf.count] + 1j * part[leaf.count :]
        return part.reshape(leaf.shape)

    def differentiable(self, vector: Array, wide: bool) -> list[Array]:
        """The differentiable leaves of a vector, in double or in their own precision."""
        arrays = []
        for leaf in self.leaves:
            part = vector[leaf.part]
            if leaf.is_complex:
                part = jax.lax.complex(part[: leaf.count], part[leaf.count :])
            dtype = wide_dtype(leaf.dtype) if wide else leaf.dtype
            arrays.append(part.reshape(leaf.shape).astype(dtype))
        return arrays

    def concrete(self, vector: np.ndarray, wide: bool) -> list[Array]:
        """The same of numpy's vector, without a compilation."""
        return [
            on_device(self.array(leaf, vector), wide_dtype(leaf.dtype) if wide else leaf.dtype)
            for leaf in self.leaves
        ]

    def rebuild(self, arrays: Sequence[Array], integers: Sequence[Array]) -> tuple[Any, ...]:
        """The arguments with these differentiable leaves and these integer ones.

        A `jax.Ref` is made anew, with what it holds: what a call writes is not seen by the next.
        """
        values = [jax.new_ref(v[...]) if isinstance(v, jax.Ref) else v for v in self.values]
        for leaf, array in zip(self.leaves, arrays, strict=True):
            values[leaf.position] = array
        for position, array in zip(self.integer_positions, integers, strict=True):
            values[position] = array
        return jax.tree.unflatten(self.tree, values)

    def as_given(self, changed: Callable[[Any], Any] | None = None) -> tuple[Any, ...]:
        """The arguments of the call, built anew; `changed` is given those that are no variables."""
        arrays = [self.values[leaf.position] for leaf in self.leaves]
        integers = [self.values[i] for i in self.integer_positions]
        given = self.rebuild(arrays, integers)
        if changed is None:
            return given
        leaves = jax.tree.leaves(given)
        for position in self._held_positions():
            leaves[position] = changed(leaves[position])
        return jax.tree.unflatten(self.tree, leaves)

    @property
    def held(self) -> list[tuple[Any, str]]:
        """What is neither array nor number, and stays as it is; each with its name."""
        return [(self.values[i], self.paths[i]) for i in self._held_positions()]

    def _held_positions(self) -> list[int]:
        kept = (*ARRAYS, jax.Ref, int, float, complex)
        return [i for i, v in enumerate(self.values) if not isinstance(v, kept)]

    def rounded(self, vector: np.ndarray) -> np.ndarray:
        """The vector as the leaves' own dtypes hold it."""
        out = np.array(vector, np.float64)
        for leaf in self.leaves:
            real = np.zeros(0, leaf.dtype).real.dtype
            out[leaf.part] = out[leaf.part].astype(real).astype(np.float64)
        return out


def output_leaves(out: Any) -> tuple[Leaf, ...]:
    """The differentiable leaves of an output."""
    pairs = jax.tree_util.tree_flatten_with_path(out)[0]
    return leaves_of(pairs, ["out" + jax.tree_util.keystr(path) for path, _ in pairs])


def flatten_output(arrays: Sequence[Array], dtype: Any, xp: Any = jnp) -> Array:
    """The vector of points of a list of floating or complex arrays, traceable."""
    parts = []
    for array in arrays:
        parts.append(xp.real(array).reshape(-1).astype(dtype))
        if xp.iscomplexobj(array):
            parts.append(xp.imag(array).reshape(-1).astype(dtype))
    return xp.concatenate(parts) if parts else xp.zeros(0, dtype)


def flatten_gradient(
    arrays: Sequence[Array], leaves: Sequence[Leaf], dtype: Any, xp: Any = jnp
) -> Array:
    """The vector of gradients, traceable; a gradient of the wrong kind is cast to the leaf's."""
    parts = []
    for array, leaf in zip(arrays, leaves, strict=True):
        if array.dtype == jax.dtypes.float0:
            array = xp.zeros(leaf.shape, dtype)
        parts.append(xp.real(array).reshape(-1).astype(dtype))
        if leaf.is_complex:
            parts.append(-xp.imag(array).reshape(-1).astype(dtype))
    return xp.concatenate(parts) if parts else xp.zeros(0, dtype)


def cotangents(vector: Array, outputs: Sequence[Array]) -> list[Array]:
    """The cotangents of these outputs out of a vector of cotangents, traceable."""
    arrays, start = [], 0
    for out in outputs:
        count = int(np.prod(out.shape, dtype=int))
        part = vector[start : start + count]
        start += count
        if jnp.iscomplexobj(out):
            part = jax.lax.complex(part, -vector[start : start + count])
            start += count
        arrays.append(part.reshape(out.shape).astype(out.dtype))
    return arrays


def concrete_cotangents(vector: np.ndarray, outputs: Sequence[Array]) -> list[Array]:
    """The same of numpy's vector, without a compilation."""
    arrays, start = [], 0
    for out in outputs:
        count = int(np.prod(out.shape, dtype=int))
        part = vector[start : start + count]
        start += count
        if jnp.issubdtype(out.dtype, jnp.complexfloating):
            part = part - 1j * vector[start : start + count]
            start += count
        arrays.append(on_device(part.reshape(out.shape), out.dtype))
    return arrays


def _parts(value: Any, is_complex: bool) -> np.ndarray:
    flat: Any = np.asarray(value).reshape(-1)
    return np.concatenate([flat.real, flat.imag]) if is_complex else flat


def canonical(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments with numpy's arrays made JAX's, which functions may count on.

    Single integers of numpy's stay, which may be sizes and the like, and arrays that JAX does not
    know, of strings, say.
    """
    return jax.tree.map(_canonical, args)


def _canonical(value: Any) -> Any:
    if not isinstance(value, np.ndarray | np.generic) or not is_known(value.dtype):
        return value
    if isinstance(value, np.integer | np.bool_):
        return value
    return on_device(value.astype(value.dtype.newbyteorder("="), copy=False))


def is_known(dtype: np.dtype) -> bool:
    """Whether JAX has arrays of this dtype of numpy's."""
    numeric = jnp.issubdtype(dtype, jnp.number) or dtype == jnp.bool_
    return bool(numeric) and dtype.char not in "gG"  # `longdouble`, and complex numbers of them


def on_device(value: Any, dtype: Any = None) -> Array:
    """JAX's array of numpy's, without the compilation that `jnp.asarray` of it may cost."""
    with np.errstate(all="ignore"):  # of a dtype that holds less
        return jax.device_put(np.asarray(value, dtype))
