"""The faults: each a line of the sources as it should be, and as it is wrong."""

from dataclasses import dataclass

FUNCTIONAL = "tests/jaxfn/functional"
VERIFICATION = "tests/jaxfn/verification"


@dataclass(frozen=True)
class Fault:
    """A fault of one line.

    Attributes:
        path: the file.
        right: what stands there, once.
        wrong: what is put in its place.
        tests: those that `make test` runs and that are asked first.
    """

    path: str
    right: str
    wrong: str
    tests: tuple[str, ...]

    @property
    def name(self) -> str:
        """The file, and what is planted in it."""
        return f"{self.path}: {' '.join(self.wrong.split())}"


def _of(path: str, *pairs: tuple[str, str], tests: tuple[str, ...]) -> list[Fault]:
    return [Fault(path, right, wrong, tests) for right, wrong in pairs]


def _operation(module: str, *pairs: tuple[str, str]) -> list[Fault]:
    tests = (f"{FUNCTIONAL}/test_{module}.py", f"{FUNCTIONAL}/test_transformations.py")
    return _of(f"jaxfn/functional/{module}.py", *pairs, tests=tests)


OPERATIONS = [
    *_of(
        "jaxfn/functional/_rules.py",
        (
            "lambda b: ones * expand(b, ones, channels), bias_type, y_bar",
            "lambda b: 2 * ones * expand(b, ones, channels), bias_type, y_bar",
        ),
        tests=(f"{FUNCTIONAL}/test_linear.py",),
    ),
    *_operation(
        "linear",
        (
            "lambda x: _dot(x, weight, dtype), x_type, y_bar",
            "lambda x: _dot(x, weight, dtype), x_type, -y_bar",
        ),
        ("if bias.shape != weight.shape[1:]:", "if bias.ndim != 1:"),
        ("wide = y_bar.astype(accumulator(dtype))", "wide = y_bar"),
    ),
    *_of(
        "jaxfn/functional/_attention_tiles.py",
        ("s_bar = p * (p_bar - ", "s_bar = p * (p_bar + "),
        ("total * decay + jnp.sum(p, -1)", "total + jnp.sum(p, -1)"),
        ("conditions.append(s < tiling.keys)", "pass"),
        ("conditions.append(s >= t - mask.left)", "conditions.append(s > t - mask.left)"),
        tests=(f"{FUNCTIONAL}/test_attention.py",),
    ),
    *_of(
        "jaxfn/functional/_token_losses.py",
        ("d = d - is_label * ((1 - terms.label_smoothing) * one)[:, None]", "d = d - is_label"),
        (
            "s, factor = jnp.where(kept, s, 1), kept.astype(s.dtype)",
            "factor = kept.astype(s.dtype)",
        ),
        tests=(f"{FUNCTIONAL}/test_linear_cross_entropy.py",),
    ),
    *_of(
        "jaxfn/functional/_token_chunks.py",
        ("new = old + product(", "new = product("),
        ("groups = math.gcd(tokens, automatic_devices())", "groups = 1"),
        tests=(f"{FUNCTIONAL}/test_linear_cross_entropy.py",),
    ),
    *_operation(
        "linear_cross_entropy",
        (
            "x, labels = jnp.where(kept[..., None], x, 0), jnp.where(kept, labels, 0)",
            "labels = jnp.where(kept, labels, 0)",
        ),
        ("else jnp.sum(kept)", "else labels.size"),
    ),
    *_operation(
        "activation",
        ("slope = ~_is_negative(x)", "slope = is_positive_or_nan(x)"),
        ("return (_bits(x) > 0) | jnp.isnan(x)", "return _bits(x) >= 0"),
        (
            "at_zero = jnp.where(slope == _ZERO, y_bar * grad_at_zero, zero)",
            "at_zero = jnp.where(slope == _ZERO, y_bar, zero)",
        ),
    ),
    *_operation(
        "convolution",
        (
            "transpose(lambda k: product(x, k.astype(dtype)), types[1], y_bar)",
            "transpose(lambda k: product(x, k.astype(dtype)), types[1], 0.5 * y_bar)",
        ),
        (
            "return _transposes(product, lambda x: x, 3, types, y_bar, x, kernel)",
            "return _transposes(product, lambda x: x, 3, types, y_bar, x, kernel[::-1])",
        ),
    ),
    *_of(
        "jaxfn/functional/_convolutions/winograd.py",
        ("_G = np.array([[1, 0, 0], [0.5, 0.5, 0.5]", "_G = np.array([[1, 0, 0], [0.5, 0.5, 0.4]"),
        ("_transformed(jnp.flip(kernel, (0, 1))), 1, pads)", "_transformed(kernel), 1, pads)"),
        ("return merged[:, :rows, :columns]", "return merged[:, :rows, :columns] * 1.001"),
        tests=(f"{FUNCTIONAL}/test_convolution_ways.py",),
    ),
    *_of(
        "jaxfn/functional/_convolutions/depthwise.py",
        ("rest = n - (s * (m - 1) + 1", "rest = n - (s * m"),
        ("jnp.flip(kernel, (0, 1)), back)", "kernel, back)"),
        tests=(f"{FUNCTIONAL}/test_convolution_ways.py",),
    ),
    *_of(
        "jaxfn/functional/_convolutions/patches.py",
        ("start = (p + low) % s", "start = (p - low) % s"),
        tests=(f"{FUNCTIONAL}/test_convolution_ways.py",),
    ),
    *_of(
        "jaxfn/functional/_convolutions/grouped.py",
        (
            "jnp.diagonal(blocks, axis1=2, axis2=4)",
            "blocks[:, :, :, :, 0].transpose(0, 1, 3, 4, 2)",
        ),
        tests=(f"{FUNCTIONAL}/test_convolution_ways.py",),
    ),
    *_of(
        "jaxfn/functional/_maxima.py",
        (
            "low = place[d] * moves.dilation[d] - moves.pads[d][0]",
            "low = place[d] * moves.dilation[d] - moves.pads[d][1]",
        ),
        (
            "rows[:, None, None] + in_window[0] * moves.dilation[0]",
            "rows[:, None, None] + in_window[0]",
        ),
        ("np.uint8(_NAN - sight.position), _NOT_THERE)", "np.uint8(sight.position), _NOT_THERE)"),
        ("(y > x) | ((y == x) & (j < i))", "(y > x) | ((y == x) & (j > i))"),
        tests=(f"{FUNCTIONAL}/test_pooling.py",),
    ),
    *_of(
        "jaxfn/functional/_moves.py",
        ("return count - 1 if (count - 1) * stride >= n + low else count", "return count"),
        ("np.argmax(seen >= 0, axis=1)", "np.argmax(seen >= 1, axis=1)"),
        ("if all(n + sum(pad) - k > -s", "if all(n + sum(pad) - k >= -s"),
        ("(seen < n + (given if", "(seen < n + (pad[1] if"),
        tests=(f"{FUNCTIONAL}/test_pooling.py", f"{FUNCTIONAL}/test_average_pooling.py"),
    ),
    *_of(
        "jaxfn/functional/average_pooling.py",
        ("_sums(x.astype(accumulator(x.dtype)), moves)", "_sums(x, moves)"),
        ("height * moves.window[0], : width * moves.window[1]", "height * moves.window[0]"),
        tests=(f"{FUNCTIONAL}/test_average_pooling.py",),
    ),
    *_of(
        "jaxfn/nn/operations.py",
        ("stride=(*(strides or (1, 1)),)", "stride=strides"),
        ("else (k + s - 1) // 2 for k", "else (k + s - 2) // 2 for k"),
        ("max(k, s) - 1) for k", "k - 1) for k"),
        tests=("tests/jaxfn/nn/test_layers.py",),
    ),
    *_of(
        "jaxfn/nn/layers.py",
        ("if self.transpose_kernel:", "if not self.transpose_kernel:"),
        ("kernel = kernel if mask is None else kernel * mask", "kernel = kernel * 1"),
        tests=("tests/jaxfn/nn/test_layers.py",),
    ),
    *_operation(
        "pooling",
        (
            "replaces = (candidate > maximum) | jnp.isnan(candidate)",
            "replaces = (candidate >= maximum) | jnp.isnan(candidate)",
        ),
        ("passes = is_positive_or_nan(maximum)", "passes = maximum >= 0"),
    ),
    *_operation(
        "convolution_pooling",
        (
            "jnp.sum(jnp.where(position < len(places), y_bar, zero), (1, 2, 3))",
            "jnp.sum(y_bar, (1, 2, 3))",
        ),
        (
            "return _pair(-(-((w - 1) * s + k) // length) for w, s, k, length in sizes)",
            "return _pair(-(-(w * s + k) // length) for w, s, k, length in sizes)",
        ),
        ("low = place[d] * blocks.strides[d]", "low = place[1 - d] * blocks.strides[d]"),
    ),
    *_operation(
        "binary",
        (
            "_surrogate.where(jnp.abs(x) <= clip_value, x_dot), None\n",
            "_surrogate.where(jnp.abs(x) < clip_value, x_dot), None\n",
        ),
        ("jnp.maximum(2 - 2 * jnp.abs(x), 0) * x_dot", "jnp.maximum(2 - jnp.abs(x), 0) * x_dot"),
        ("(beta * (2 - z * jnp.tanh(z / 2)) * bell)", "(beta * (2 + z * jnp.tanh(z / 2)) * bell)"),
    ),
    *_operation(
        "discrete",
        (
            "return p * (z_dot - jnp.sum(p * z_dot, axis, keepdims=True))",
            "return p * (z_dot - jnp.mean(p * z_dot, axis, keepdims=True))",
        ),
    ),
    *_operation(
        "normalization",
        ("(r * (r * (r * _mean(x * x_dot))))", "(r * (r * _mean(x * x_dot)))"),
        ("centred, r, x_dot) - r * _mean(x_dot), scale)", "centred, r, x_dot), scale)"),
        ("terms.append(_scaled(x * r, scale_dot))", "terms.append(_scaled(x, scale_dot))"),
    ),
    *_operation(
        "gated",
        ("sigma * (1 + held * (1 - sigma))", "sigma * (1 + x * (1 - sigma))"),
        ("(1 + 3 * cubic * square)", "(1 + 2 * cubic * square)"),
        ("y_dot += value * widened(up_dot)", "y_dot += slope * widened(up_dot)"),
    ),
    *_operation(
        "dropout",
        ("kept = (bits >= threshold) & (factor > 0)", "kept = bits >= threshold"),
        (
            "_dropout_tangent = checkpointed_tangent(prevent_cse=False)(_dropout.fun)",
            "_dropout_tangent = _dropout.fun",
        ),
    ),
    *_operation(
        "gradient",
        (
            "return _scale_gradient(x, -jnp.asarray(scale))",
            "return _scale_gradient(x, jnp.asarray(scale))",
        ),
        ("factor = jnp.where(small, 1, limit / norm)", "factor = max_norm / norm"),
        (
            "return jnp.clip(y_bar, *bounds), None, None",
            "return jnp.clip(y_bar, -bounds[1], bounds[1]), None, None",
        ),
    ),
    *_operation(
        "low_bit",
        (
            "part = jnp.where(wide >= end, _OF_ALPHA, part)",
            "part = jnp.where(wide > end, _OF_ALPHA, part)",
        ),
        ("(1 - y) * (1 + y) / jnp.where(m == 0, 1, m)", "(1 - y) / jnp.where(m == 0, 1, m)"),
    ),
    *_operation(
        "lsq",
        (
            "d = jnp.where(inside, jnp.round(v) - v, end)",
            "d = jnp.where(inside, v - jnp.round(v), end)",
        ),
        ("/ math.sqrt(high)", "/ high"),
        ("return (-half, half - 1) if signed", "return (-half + 1, half - 1) if signed"),
    ),
    *_operation(
        "quantization",
        (
            "return y, where((low <= q) & (q <= high), x_dot)",
            "return y, where((low < q) & (q < high), x_dot)",
        ),
        ("down = jnp.floor(wide)", "down = jnp.trunc(wide)"),
    ),
    *_operation(
        "spike",
        (
            "return _heaviside(x, surrogate), _slope(surrogate, x) * x_dot",
            "return _heaviside(x, surrogate), _slope(surrogate, jnp.abs(x)) * x_dot * 1.5",
        ),
    ),
    *_operation(
        "surrogates",
        (
            "return alpha / 2 / (1 + jnp.square(math.pi / 2 * alpha * x))",
            "return alpha / 2 / (1 + jnp.square(math.pi * alpha * x))",
        ),
        ("jnp.abs(x) <= width / 2", "jnp.abs(x) <= width"),
    ),
    *_operation(
        "straight_through",
        ("return jnp.ceil(x)", "return jnp.floor(x) + 1"),
    ),
]

BESIDE = [
    *_of(
        "jaxfn/microbatches.py",
        ("t + p.astype(t.dtype) * (examples / size)", "t + p.astype(t.dtype) * (length / size)"),
        tests=("tests/jaxfn/test_microbatches.py",),
    ),
    *_of(
        "jaxfn/_jaxpr.py",
        (
            "return _call(eqn, remove_rules(rule.definition, removal._replace(custom_vmap=True)))",
            "return _call(eqn, rule.definition)",
        ),
        tests=("tests/jaxfn/test_autodiff.py", "tests/jaxfn/test_autodiff_elsewhere.py"),
    ),
    *_of(
        "jaxfn/function/operation.py",
        (
            "return _select(map(_or_zeros, gradients, types), needs)",
            "return _select(map(_or_zeros, gradients[::-1], types), needs)",
        ),
        tests=("tests/jaxfn/function",),
    ),
    *_of(
        "jaxfn/function/gradients.py",
        (
            "        raise TypeError(complaint + _cast_hint(got.dtype, expected.dtype))",
            "        given = jnp.asarray(given, expected.dtype)",
        ),
        tests=("tests/jaxfn/function/test_gradients.py",),
    ),
    *_of(
        "models/binary.py",
        (
            "return jaxfn.conv2d(x, kernel) / math.sqrt(math.prod(kernel.shape[:-1]))",
            "return jaxfn.conv2d(x, kernel) / math.prod(kernel.shape[:-1])",
        ),
        tests=("tests/models/test_binary.py",),
    ),
    *_of(
        "models/spiking.py",
        ("        return votes.mean(-1)", "        return votes.sum(-1)"),
        tests=("tests/models/test_spiking.py",),
    ),
    *_of(
        "models/regression.py",
        ("grad_at_zero=1.0", "grad_at_zero=0.0"),
        tests=("tests/models/test_regression.py", "tests/parity"),
    ),
    *_of(
        "models/decoder.py",
        ("jnp.arange(keys.shape[1]) <= at[:, None]", "jnp.arange(keys.shape[1]) < at[:, None]"),
        (
            "        angles = self._angles(cache.position + jnp.arange(tokens.shape[1]))",
            "        angles = self._angles(jnp.arange(tokens.shape[1]))",
        ),
        tests=("tests/models/test_decoder.py",),
    ),
    *_of(
        "models/rotary.py",
        ("b * cos + a * sin", "b * cos - a * sin"),
        tests=("tests/models/test_rotary.py",),
    ),
    *_of(
        "models/lenet.py",
        (
            "    return (after_conv1 - kernel_size + 1) // 2",
            "    return (after_conv1 - kernel_size) // 2",
        ),
        tests=("tests/models/test_lenet.py",),
    ),
]

GRADCHECK = [
    *_of(
        "jaxfn/verification/evidence/finite_difference.py",
        (
            "finer = column[1:] + (column[1:] - column[:-1]) / (power - 1)",
            "finer = column[1:] - (column[1:] - column[:-1]) / (power - 1)",
        ),
        tests=(f"{VERIFICATION}/evidence/test_finite_difference.py",),
    ),
    *_of(
        "jaxfn/verification/evidence/agreement.py",
        (
            "        one = np.isfinite(rule) != np.isfinite(reference)",
            "        one = np.isnan(rule) & np.isfinite(reference)",
        ),
        (
            "    return ulps * np.linalg.norm(values, axis=1, keepdims=True) / sizes",
            "    return 1e6 * ulps * np.linalg.norm(values, axis=1, keepdims=True) / sizes",
        ),
        tests=(VERIFICATION,),
    ),
    *_of(
        "jaxfn/verification/evidence/judge.py",
        (
            "    if not inside and known and (expected or not np.isfinite(reference)):\n        return WRONG",
            "    if not inside and known and (expected or not np.isfinite(reference)):\n        return OPEN",
        ),
        tests=(VERIFICATION,),
    ),
    *_of(
        "jaxfn/verification/layers/contract.py",
        (
            "gradient.dtype != leaf.dtype or gradient.shape != leaf.shape",
            "gradient.shape != leaf.shape",
        ),
        tests=(f"{VERIFICATION}/layers/test_contract.py", VERIFICATION),
    ),
    *_of(
        "jaxfn/verification/layers/linearity.py",
        ("        gap = np.abs(both - a - b)", "        gap = np.abs(both - a - b) * 0"),
        tests=(VERIFICATION,),
    ),
    *_of(
        "jaxfn/verification/layers/table.py",
        ('    "second order": check_second_order,\n', ""),
        ('    "shapes": check_shapes,\n', ""),
        tests=(f"{VERIFICATION}/layers", VERIFICATION),
    ),
    *_of(
        "jaxfn/verification/layers/variants.py",
        (
            "axes = [0 if k in group else None for k in range(len(fixed))]",
            "axes = [0 if k in group else None for k in range(len(fixed))][::-1]",
        ),
        tests=(VERIFICATION,),
    ),
    *_of(
        "jaxfn/verification/diagnosis/means.py",
        ('"mean-for-sum", factor * size', '"mean-for-sum", factor / size'),
        tests=(f"{VERIFICATION}/diagnosis", VERIFICATION),
    ),
    *_of(
        "jaxfn/verification/subject/coordinates.py",
        (
            "            parts.append(-xp.imag(array).reshape(-1).astype(dtype))",
            "            parts.append(xp.imag(array).reshape(-1).astype(dtype))",
        ),
        tests=(f"{VERIFICATION}/subject", VERIFICATION),
    ),
    *_of(
        "jaxfn/verification/points/probes.py",
        (
            "        x[leaf.part] = np.where((part >= low) & (part <= high), part, folded)",
            "        x[leaf.part] = part",
        ),
        tests=(f"{VERIFICATION}/points", VERIFICATION),
    ),
]

COMPARE = [
    *_of(
        "jaxfn/comparison/verdict/differences.py",
        ("reference.median / rule.median", "rule.median / reference.median"),
        tests=("tests/jaxfn/comparison/verdict",),
    ),
]

FAULTS = (*OPERATIONS, *BESIDE, *GRADCHECK, *COMPARE)
