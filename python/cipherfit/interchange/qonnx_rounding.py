"""How far sums of QONNX's executor, which computes in float32, can be from those of integers.

A sum of n products that is rounded after each addition, in any order, is off by at most
``u / (1 - n u)`` times the magnitudes of all that is rounded on the way, with ``u = 2**-24``: see
N. J. Higham, Accuracy and Stability of Numerical Algorithms, chapters 3 and 4. However numbers are
added up two by two, at most n - k + 1 of the parts are of k numbers or more. So these parts are
together at most what they are where one number after the other is added: there the part of k
numbers is at most the k largest, what the n - k largest leave of the whole, and all that is
positive, or negative. Where all numbers are multiples of a power of two and all sums stay within
2**24 of it, nothing is rounded at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
from numpy.typing import NDArray

from cipherfit.interchange.qonnx_nodes import SHAPES, Array, Branches, Node, run_all

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

_UNIT_ROUNDOFF = 2.0**-24
#: Below this many steps of a grid float32 holds each.
_MOST_STEPS = 2.0**24
#: What arithmetic of this module, in float64, may be off by, relatively.
_SLACK = 2.0**-44
#: Parts of the largest sum in which errors are said.
_SECTIONS = 16
#: Products that are sorted at once.
_SORTED_AT_ONCE = 1 << 20
#: Rows of codes on which it is seen whether a bias is added to a sum that is whole.
_PROBES = 16

_SUMS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_MEANS = ("AveragePool", "GlobalAveragePool", "ReduceMean", "ReduceSum")
_MOVES = (*SHAPES, "DepthToSpace", "Dropout", "Identity", "Neg", "Pad", "Slice", "SpaceToDepth",
          "Transpose")  # fmt: skip


@dataclass(frozen=True)
class Codes:
    """Values of a row as integers: ``base + step * code``, with codes from 0 on.

    Parameters
    ----------
    base, step : ndarray of shape (n,), float64
        Value of code 0, and of a step.
    largest : ndarray of shape (n,), int64
        Largest code.
    shape : tuple of int
        Shape that the nodes behind take a row in.
    most, error : ndarray of shape (n,), float64
        Largest magnitude of the executor's values, and how far they are from those of codes.
    grain : float
        Power of two that all of the executor's values are multiples of.
    """

    base: Float64
    step: Float64
    largest: Int64
    shape: tuple[int, ...]
    most: Float64
    error: Float64
    grain: float

    @classmethod
    def of(cls, values: Float64, codes: Int64, step: Float64, shape: tuple[int, ...]) -> Codes:
        """Return how values (n_values, n) of the executor's, and their codes, relate."""
        base = (values - step * codes)[codes.argmin(axis=0), np.arange(values.shape[1])]
        error = np.abs(values - (base + step * codes)).max(axis=0)
        most = np.abs(values).max(axis=0)
        return cls(base, step, codes.max(axis=0), shape, most, error, grain(values))

    def off_by(self, error: Float64) -> Codes:
        """Return the codes where the executor's values can be as far as that from these."""
        return replace(self, most=self.most + error, error=self.error + error)


@dataclass(frozen=True)
class Errors:
    """How far sums of the executor's can be from real ones, the more the larger these are.

    Parameters
    ----------
    most : ndarray of shape (n_out,), float64
        Largest magnitude of a sum.
    of_section : ndarray of shape (n_sections, n_out), float64
        Errors, of sums in as many sections from 0 to the largest. 0 where each sum of integers has
        but one value in float32.
    """

    most: Float64
    of_section: Float64

    @classmethod
    def none(cls, n: int) -> Errors:
        """Return those of sums that nothing rounds."""
        return cls(np.ones(n), np.zeros((1, n)))

    def at(self, sums: Float64) -> Float64:
        """Return the errors of sums (n, n_out)."""
        n = len(self.of_section)
        section = np.ceil(np.abs(sums) / self.most * n * (1 + _SLACK)).astype(np.int64) - 1
        return np.take_along_axis(self.of_section, section.clip(0, n - 1), axis=0)


def grain(values: Array) -> float:
    """Return the largest power of two that all values are multiples of; infinity for zeros."""
    mantissas, exponents = np.frexp(np.asarray(values, dtype=np.float64).ravel())
    held = mantissas != 0
    if not held.any():
        return np.inf
    whole = np.rint(np.ldexp(mantissas[held], 53)).astype(np.int64)
    trailing = np.log2((whole & -whole).astype(np.float64))
    return float(2.0 ** (exponents[held] - 53 + trailing).min())


def rounding_errors(
    nodes: Sequence[Node],
    codes: Codes,
    matrix: Float64,
    weights: Int64,
    unit: Float64,
    bias: Float64,
) -> Errors:
    """Return how far the executor's sums can be from those of integers, per output.

    Parameters
    ----------
    nodes : sequence of Node
        What is linear, one after the other.
    codes : Codes
        What goes in.
    matrix : ndarray of shape (n_out, n_in), float64
        What the nodes compute, without biases.
    weights, unit : ndarray of shape (n_out, n_in), int64, and (n_out,), float64
        The integers that stand for it, and the real value of one.
    bias : ndarray of shape (n_out,), float64
        What they compute of zeros.

    """
    has_branches = any(isinstance(node, Branches) for node in nodes)
    computing = [node for node in nodes if node.kind not in _MOVES]
    shift = matrix * codes.step - unit[:, None] * weights
    up, down = (np.maximum(sign * shift, 0) @ codes.largest for sign in (1, -1))
    modelled = np.maximum(up, down)
    if not modelled.any() and not codes.error.any():
        before_bias = _last_bias(computing)
        if _is_exact(nodes, codes, before_bias) and (
            before_bias is None or _adds_bias_last(nodes, codes, matrix, bias)
        ):
            return Errors.none(len(matrix))
    known = np.abs(matrix) @ codes.error + modelled
    largest = _largest_part(codes, matrix) + np.abs(bias)
    if len(computing) == 1 and computing[0].kind in _SUMS:
        rounded = _rounded_sections(
            codes, matrix, bias, largest, 0 if _is_plain(computing[0]) else 4
        )
        return Errors(np.where(largest > 0, largest, 1.0), rounded + known)
    rows, roundings = codes.most[None].reshape(1, *codes.shape), 0
    for node in nodes:
        given, rows = rows, _run(_absolute(node), rows)
        n_of_one = given.size if isinstance(node, Branches) else given.size // rows.size
        roundings += _roundings(node, n_of_one)
    if len(computing) > 1 or has_branches:
        roundings *= 2  # the matrix is the executor's, and has errors of its own
        largest = rows.ravel().astype(np.float64)
    error = _share(roundings, roundings) * largest + known
    return Errors(np.where(largest > 0, largest, 1.0), error[None])


def _share(roundings: int, n: int | Int64) -> Float64:
    """Return the error of some roundings, in units of what is rounded, in a sum of n numbers."""
    return np.asarray(roundings * _UNIT_ROUNDOFF / (1 - n * _UNIT_ROUNDOFF) + _SLACK)


def _rounded_sections(
    codes: Codes, matrix: Float64, bias: Float64, largest: Float64, others: int
) -> Float64:
    """Return errors (n_sections, n_out) of sums of products, and of other roundings of these."""
    errors = np.empty((_SECTIONS, len(matrix)))
    step = max(1, _SORTED_AT_ONCE // (matrix.shape[1] + 1))
    for first in range(0, len(matrix), step):
        rows = slice(first, first + step)
        terms = np.abs(np.column_stack([matrix[rows] * codes.most, bias[rows]]))
        counts, products = (terms > 0).sum(axis=1), terms[:, :-1].sum(axis=1)
        n = np.arange(2, counts.max(initial=1) + 1)
        sizes = np.zeros((len(terms), len(n) + 2))
        sizes[:, 1:] = -np.sort(-terms, axis=1)[:, : len(n) + 1]
        sizes = sizes.cumsum(axis=1)
        left = np.take_along_axis(sizes, np.maximum(counts[:, None] - n, 0), axis=1)
        added = np.minimum(sizes[:, 2:], largest[rows, None]) * (n <= counts[:, None])
        for section in range(_SECTIONS):
            sums = largest[rows] * ((section + 1) / _SECTIONS)
            parts = np.minimum(added, sums[:, None] + left).sum(axis=1)
            parts += products + others * largest[rows]
            errors[section, rows] = _share(1, counts + others + 1) * parts
    return errors


def _largest_part(codes: Codes, matrix: Float64) -> Float64:
    """Return the largest magnitude (n_out,) that a part of a sum of products can have."""
    first, last = matrix * codes.base, matrix * (codes.base + codes.step * codes.largest)
    up = np.maximum(np.maximum(first, last), 0).sum(axis=1)
    down = np.minimum(np.minimum(first, last), 0).sum(axis=1)
    return np.asarray(np.maximum(up, -down))


@dataclass(frozen=True)
class _Held:
    """Values of some largest magnitudes (1, ...), all multiples of a power of two."""

    grain: float
    most: Array


def _is_exact(nodes: Sequence[Node], codes: Codes, before_bias: Node | None) -> bool:
    """Tell whether nothing is rounded, up to the bias of one node that is the last to compute."""
    held: _Held | None = _Held(codes.grain, codes.most.reshape(1, *codes.shape).astype(np.float32))
    for node in nodes:
        if held is not None:
            node = node.without_bias() if node is before_bias else node
            held = _held_after(node, {node.values[0]: held})
    return held is not None


def _held_after(node: Node, given: dict[str, _Held]) -> _Held | None:
    """Return what a node makes of its inputs that are no constants; None if that is rounded."""
    if isinstance(node, Branches):
        known = dict(given)
        for each in node.inner:
            after = _held_after(each, known)
            if after is None:
                return None
            known[each.proto.output[0]] = after
        return known[node.proto.output[0]]
    most = _absolute(node).join({name: given[name].most for name in node.values})
    # A mean is of a sum, which is larger.
    count = _count(node, given[node.values[0]].most.size // most.size) if node.kind in _MEANS else 1
    size = _grain_after(node, min(given[name].grain for name in node.values), count)
    if size == 0 or most.max(initial=0) >= _MOST_STEPS * size:
        return None
    return _Held(size, most)


def _run(node: Node, rows: Array) -> Array:
    return node.run(rows.astype(np.float32), rows.shape[1:])


def _grain_after(node: Node, size: float, count: int) -> float:
    """Return the grain of a node's outputs and sums, given that of its input; 0 for unknown."""
    held = [grain(each) for each in _floats(node)]
    if node.kind in _MOVES:
        return size
    if node.kind in ("Add", "Concat", "Sub"):
        return min([size, *held])
    if node.kind == "Mul" or (node.kind in _SUMS and len(held) == 1):
        return size * prod(held) if _is_plain(node) else 0.0
    if node.kind in _SUMS:
        return min(size * held[0], *held[1:]) if _is_plain(node) else 0.0
    if node.kind in ("AveragePool", "GlobalAveragePool", "ReduceMean"):
        padded = any(node.attribute("pads", [0])) or node.attribute("auto_pad", "") not in (
            "", "NOTSET", "VALID",
        )  # fmt: skip
        return size / count if count & (count - 1) == 0 and not padded else 0.0
    return 0.0


def _is_plain(node: Node) -> bool:
    """Tell whether a node multiplies sums by nothing."""
    return bool(node.attribute("alpha", 1.0) == 1.0 and node.attribute("beta", 1.0) == 1.0)


def _last_bias(computing: Sequence[Node]) -> Node | None:
    """Return the last node that computes, if it adds a bias to a sum."""
    last = computing[-1] if computing else None
    return last if last is not None and last.kind in _SUMS and len(_floats(last)) > 1 else None


def _adds_bias_last(nodes: Sequence[Node], codes: Codes, matrix: Float64, bias: Float64) -> bool:
    """Tell whether sums are rounded once, as the bias is added: seen on rows of codes.

    In which order numbers are added depends on how many there are, and not on their values.
    """
    generator = np.random.default_rng(0)
    drawn = generator.integers(0, codes.largest + 1, (max(_PROBES, nodes[0].batch), len(matrix.T)))
    values = codes.base + codes.step * drawn
    expected = (values @ matrix.T + bias).astype(np.float32)
    for n_rows in {1, nodes[0].batch, len(values)}:
        rows = values[:n_rows].astype(np.float32).reshape(-1, *codes.shape)
        given = run_all(nodes, rows, codes.shape).reshape(n_rows, -1)
        if not np.array_equal(given, expected[:n_rows]):
            return False
    return True


def _absolute(node: Node) -> Node:
    """Return the node that gives the largest magnitude of the outputs for those of the inputs."""
    if isinstance(node, Branches):
        return node.with_inner([_absolute(each) for each in node.inner])
    magnitudes = {
        name: np.asarray(np.abs(each)) for name, each in node.constants.items() if _is_real(each)
    }
    if node.kind == "Neg":
        return node.with_constants({}, "Identity")
    if node.kind == "Sub":
        return node.with_constants(magnitudes, "Add")
    if node.kind == "BatchNormalization":
        mean = node.proto.input[3]
        magnitudes[mean] = -magnitudes[mean]
    return node.with_constants(magnitudes) if node.kind not in _MOVES else node


def _roundings(node: Node, n_of_one: int) -> int:
    """Return how often a value is rounded at most on its way through a node."""
    if isinstance(node, Branches):
        return sum(_roundings(each, n_of_one) for each in node.inner)
    if node.kind in _MOVES:
        return 0
    if node.kind in _MEANS:
        return _count(node, n_of_one) + 1
    if node.kind == "BatchNormalization":
        return 8
    if node.kind not in _SUMS:
        return 1
    weights = _floats(node)[0] != 0
    if node.kind == "MatMul":
        axes: tuple[int, ...] = (max(weights.ndim - 2, 0),)
    elif node.kind == "Gemm":
        axes = (1,) if node.attribute("transB", 0) else (0,)
    elif node.kind == "Conv":
        axes = tuple(range(1, weights.ndim))
    else:
        axes = (0, *range(2, weights.ndim))
    return int(weights.sum(axis=axes).max(initial=0)) + 4


def _count(node: Node, n_of_one: int) -> int:
    """Return how many values a mean is of, where outputs are fewer than inputs by some number."""
    return int(prod(node.attribute("kernel_shape", [n_of_one])))


def _floats(node: Node) -> list[Array]:
    """Return a node's constants that are real numbers, in the order of its inputs."""
    held = [node.constants[name] for name in node.proto.input if name in node.constants]
    return [each for each in held if _is_real(each)]


def _is_real(values: Array) -> bool:
    return bool(values.dtype.kind == "f")
