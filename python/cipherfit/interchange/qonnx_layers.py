"""A chain of QONNX nodes as the layers of an integer graph.

What is linear, from one quantizer to the next, is a matrix of integers; what lies between two such
is a table per neuron, which holds what QONNX's executor makes of each sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherfit._core import IntegerGraph, accumulator_mask
from cipherfit.exceptions import ProofError, UnsupportedModuleError
from cipherfit.interchange.qonnx_chain import QonnxChain
from cipherfit.interchange.qonnx_input import quantized_input
from cipherfit.interchange.qonnx_nodes import (
    AFFINE,
    ELEMENTWISE,
    LINEAR,
    QUANTIZERS,
    SHAPES,
    Branches,
    Node,
    run_all,
    taken,
    up_to_last,
)
from cipherfit.interchange.qonnx_rounding import Codes, Errors, rounding_errors
from cipherfit.interchange.whole_multiples import ROUNDINGS, NotWholeError, whole_multiples
from cipherfit.limits import MAX_LOOKUP_BITS
from cipherfit.predictor.preparation import Preparation

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

#: Table entries that are evaluated at once.
_ENTRIES_AT_ONCE = 1 << 20
#: Weights of a layer, zeros included.
_MOST_WEIGHTS = 1 << 26
#: Relative difference from a straight line that is float32's rounding.
_TOLERANCE = 1e-5
#: Part of a code's step that a value may be off by, as float32 rounds it.
_MOST_SHIFT = 2.0**-8
#: What else to do, by nodes that can't be imported.
_INSTEAD = {
    "MaxPool": "pool by AveragePool, or by the stride of a convolution",
    "Softmax": "Softmax can only be the last node",
    "LogSoftmax": "LogSoftmax can only be the last node",
    "LayerNormalization": "use BatchNormalization, whose statistics are constants",
    "InstanceNormalization": "use BatchNormalization, whose statistics are constants",
    "FloatQuant": "quantize to integers, by Quant",
}


@dataclass(frozen=True)
class Tie:
    """Sums of a layer that float32 rounds to one code or to another, as they are added up.

    Parameters
    ----------
    node, behind : str
        The linear node, and the node that makes codes of its sums.
    entries, of : int
        How many entries of its tables are such sums, and how many there are.
    channels : list of int
        Output channels of the linear node that have some.
    """

    node: str
    behind: str
    entries: int
    of: int
    channels: list[int]


@dataclass(frozen=True)
class Imported:
    """A model as an integer graph, and what is around it.

    Parameters
    ----------
    graph : IntegerGraph
        Its layers.
    preparation : Preparation or None
        What the client computes of features first.
    behind : list of Node
        What the client computes of outputs.
    ties : list of Tie
        Where the executor's float32 decides.
    n_pruned, n_weights : int
        How many weights were left out, of how many.
    """

    graph: IntegerGraph
    preparation: Preparation | None
    behind: list[Node]
    ties: list[Tie]
    n_pruned: int
    n_weights: int


def imported(chain: QonnxChain, n_accum_bits: int | None) -> Imported:
    """Return the integer graph that computes what a chain does.

    Parameters
    ----------
    chain : QonnxChain
        The nodes.
    n_accum_bits : int or None
        Bits that every accumulator must fit, by pruning; None for no limit.

    Raises
    ------
    UnsupportedModuleError
        Naming the node that no table of integers reproduces.
    ProofError
        Naming the node whose lookups would be too wide, with the bits they need.
    """
    _check_kinds(chain.nodes)
    given = quantized_input(chain)
    codes, nodes = given.codes, given.nodes
    layers = _Layers()
    while True:
        linear, nodes = _linear_run(nodes)
        sums = _sums(linear, codes, n_accum_bits, layers)
        tail, rest = taken(nodes, (*ELEMENTWISE, *SHAPES))
        if _holds_linear(rest):
            codes, nodes = layers.look_up(sums, tail), rest
            continue
        coding, tail = up_to_last(tail, lambda node: node.kind in QUANTIZERS)
        if coding:
            sums = layers.pass_on(layers.look_up(sums, coding), coding[-1].name)
        slope, offset, behind = _outputs(sums, tail, rest)
        scale, offset = layers.rise(slope, offset)
        output = {"scale": scale, "offset": offset}
        graph = IntegerGraph.from_layers(given.quantizer, layers.parts, output)
        return Imported(
            graph, given.preparation, behind, layers.ties, layers.n_pruned, layers.n_weights
        )


def _check_kinds(nodes: Sequence[Node]) -> None:
    """Refuse nodes that can't be in front of others, before anything is computed."""
    for i, node in enumerate(nodes):
        if node.kind in (*LINEAR, *ELEMENTWISE):
            if node.kind in LINEAR and not node.takes_value_first:
                raise UnsupportedModuleError(
                    f"node {node.name} has no constant, {node.values[-1]}, where weights "
                    "belong: only its first input may depend on the model's"
                )
        elif isinstance(node, Branches):
            raise UnsupportedModuleError(
                f"node {node.name} joins branches, {' and '.join(node.inner[-1].values)}; an "
                "integer graph is a chain of layers, and what branches from one value can only "
                "meet again if all of it is linear, or all of it elementwise: train the network "
                "without skip connections and parallel layers, such as with wider layers instead"
            )
        elif any(each.kind in (*LINEAR, *ELEMENTWISE) for each in nodes[i + 1 :]):
            instead = _INSTEAD.get(
                node.kind, "it is neither linear nor elementwise, or not known to be so"
            )
            raise UnsupportedModuleError(f"node {node.name} can't be imported: {instead}")


def _holds_linear(nodes: Sequence[Node]) -> bool:
    return any(node.kind in LINEAR and node.kind not in SHAPES for node in nodes)


def _linear_run(nodes: list[Node]) -> tuple[list[Node], list[Node]]:
    """Return linear nodes at the start, with what scales and shifts between them, and the rest."""
    run, rest = taken(nodes, LINEAR)
    if not _holds_linear(run):
        where = rest[0].name if rest else "the end"
        raise UnsupportedModuleError(f"there is no linear node before {where}")
    while True:
        between, behind = taken(rest, (*AFFINE, *SHAPES))
        more, behind = taken(behind, LINEAR)
        if not all(node.is_affine or node.kind in SHAPES for node in between):
            return run, rest
        if not between or not _holds_linear(more):
            return run, rest
        run, rest = [*run, *between, *more], behind


@dataclass(frozen=True)
class _Sums:
    """Sums of integers, counted from their least, and the values that they stand for.

    The executor's are at most `errors` from these.
    """

    unit: Float64
    constant: Float64
    lengths: Int64
    errors: Errors
    shape: tuple[int, ...]
    node: str

    def after(self, nodes: Sequence[Node], index: Int64, sign: int = 0) -> NDArray[Any]:
        """Return what nodes make of sums of some indexes (n, 1) or (n, n_neurons).

        With a sign, these are the least, or largest, that the executor can have for them.
        """
        real = index * self.unit + self.constant
        rows = real.astype(np.float32)
        if sign:
            end = real + sign * self.errors.at(real)
            last = end.astype(np.float32)
            beyond = sign * (last - end) > 0
            last = np.where(beyond, np.nextafter(last, np.float32(-sign * np.inf)), last)
            rows = np.maximum(rows, last) if sign > 0 else np.minimum(rows, last)
        return run_all(nodes, rows.reshape(len(index), *self.shape), self.shape)

    def pieces(self) -> list[tuple[slice, Int64]]:
        """Return all indexes (n, n_neurons) of tables in pieces; behind their ends, the last."""
        longest, rows = int(self.lengths.max()), max(1, _ENTRIES_AT_ONCE // len(self.lengths))
        bounds = [(first, min(first + rows, longest)) for first in range(0, longest, rows)]
        return [
            (slice(*each), np.minimum(np.arange(*each)[:, None], self.lengths - 1))
            for each in bounds
        ]


def _sums(nodes: Sequence[Node], codes: Codes, n_accum_bits: int | None, layers: _Layers) -> _Sums:
    """Add a linear layer, and return its sums."""
    name = [node for node in nodes if node.kind not in SHAPES][-1].name
    matrix, bias, shape = _matrix(nodes, codes, name)
    try:
        # What has but one code is a constant, and its step none.
        weights, unit = whole_multiples(matrix * codes.step * (codes.largest > 0))
    except NotWholeError as error:
        raise UnsupportedModuleError(_no_integers(nodes, error.row)) from error
    kept = np.ones(weights.shape, dtype=bool)
    if n_accum_bits is not None:
        low = np.zeros_like(codes.largest)
        mask = accumulator_mask(weights, low, codes.largest, n_accum_bits)
        kept = (weights == 0) | mask
        layers.n_pruned += int(np.count_nonzero(~kept))
    layers.n_weights += int(np.count_nonzero(weights))
    errors = Errors.none(len(unit))
    if not layers.n_pruned:
        errors = rounding_errors(nodes, codes, matrix, weights, unit, bias)
    weights = weights * kept
    lowest = np.minimum(weights, 0) @ codes.largest
    layers.parts.append({"kind": "linear", "weights": weights, "offset": -lowest})
    constant = (matrix * kept) @ codes.base + bias + lowest * unit
    lengths = np.abs(weights) @ codes.largest + 1
    return _Sums(unit, constant, lengths, errors, shape, name)


def _no_integers(nodes: Sequence[Node], neuron: int) -> str:
    """Say that weights are no integers, and what to do."""
    linear = [node.name for node in nodes if node.kind not in (*SHAPES, *AFFINE)]
    if len(linear) > 1:
        return (
            f"nodes {' and '.join(linear)} are linear, and nothing between them is a quantizer; "
            f"the weights of neuron {neuron} that they make together are no whole multiples of "
            f"one scale, so no integers give its sums: quantize what {linear[-2]} gives"
        )
    return (
        f"weights of node {linear[-1]}, neuron {neuron}, are no whole multiples of one scale, so "
        "no integers give its sums: quantize them by Quant, with one scale per neuron"
    )


def _matrix(
    nodes: Sequence[Node], codes: Codes, name: str
) -> tuple[Float64, Float64, tuple[int, ...]]:
    """Return what nodes compute: matrix (n_out, n_in), biases (n_out,), shape of outputs."""
    size = len(codes.step)
    zeros = np.zeros((1, *codes.shape), dtype=np.float32)
    bias = run_all(nodes, zeros, codes.shape)
    if size * bias.size > _MOST_WEIGHTS:
        raise UnsupportedModuleError(
            f"node {name} is a layer of {size} inputs and {bias.size} outputs, so of "
            f"{size * bias.size} weights, and {_MOST_WEIGHTS} can be imported at most"
        )
    plain = [node.without_bias() for node in nodes]
    eye = np.eye(size, dtype=np.float32).reshape(size, *codes.shape)
    parts = run_all(plain, eye, codes.shape)
    if parts.shape != (size, *bias.shape[1:]) or run_all(plain, zeros, codes.shape).any():
        raise UnsupportedModuleError(
            f"the nodes up to {name} are not linear: they mix rows, or pad with other values than 0"
        )
    matrix = parts.reshape(size, -1).T.astype(np.float64)
    return matrix, bias.ravel().astype(np.float64), bias.shape[1:]


@dataclass
class _Layers:
    """The layers of a graph, as far as they are known."""

    parts: list[dict[str, Any]] = field(default_factory=list)
    ties: list[Tie] = field(default_factory=list)
    n_pruned: int = 0
    n_weights: int = 0

    def look_up(self, sums: _Sums, tail: Sequence[Node]) -> Codes:
        """Add tables of what lies between two linear layers, and return the codes they hold."""
        longest, n_neurons = int(sums.lengths.max()), len(sums.lengths)
        if longest > 1 << MAX_LOOKUP_BITS:
            bits = (longest - 1).bit_length()
            raise ProofError(
                f"behind node {sums.node} accumulators have {bits} bits, and a lookup reads "
                f"{MAX_LOOKUP_BITS} at most: train with fewer bits, or fewer weights, or give "
                f"n_accum_bits={MAX_LOOKUP_BITS}, or less, and rows X: the least weights are "
                "pruned then",
                bits_needed=bits,
                bits_allowed=MAX_LOOKUP_BITS,
            )
        last = tail[-1].name if tail else sums.node
        values = np.empty((longest, n_neurons))
        shape = sums.shape
        for rows, index in sums.pieces():
            piece = sums.after(tail, index)
            shape = piece.shape[1:]
            if prod(shape) != n_neurons or not np.isfinite(piece).all():
                raise UnsupportedModuleError(
                    f"what node {last} gives behind node {sums.node} is NaN or infinity, or of "
                    "another size"
                )
            values[rows] = piece.reshape(len(index), -1)
        base = values.min(axis=0)
        try:
            codes, step = whole_multiples((values - base).T, ROUNDINGS * np.abs(values).max(axis=0))
        except NotWholeError as error:
            raise UnsupportedModuleError(
                f"values behind node {last}, neuron {error.row}, are no steps of one width, so "
                "they are no codes: end them with a quantizer"
            ) from error
        off = self._note_ties(sums, tail, last, values, step)
        ends = sums.lengths.tolist()
        tables = [np.ascontiguousarray(each[:n]) for each, n in zip(codes, ends, strict=True)]
        self.parts.append(
            {
                "kind": "lookup",
                "low": np.zeros(n_neurons, dtype=np.int64),
                "lsbs": 0,
                "exact": True,
                "tables": tables,
            }
        )
        return Codes.of(values, codes.T, step, shape).off_by(off)

    def pass_on(self, codes: Codes, node: str) -> _Sums:
        """Add a linear layer whose sums are the codes, as outputs that are codes need."""
        n = len(codes.step)
        weights, offset = np.eye(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
        self.parts.append({"kind": "linear", "weights": weights, "offset": offset})
        return _Sums(codes.step, codes.base, codes.largest + 1, Errors.none(n), codes.shape, node)

    def rise(self, slope: Float64, first: Float64) -> tuple[Float64, Float64]:
        """Return scale and offset of outputs, where those that fall as sums rise are negated."""
        falls = slope < 0
        last = self.parts[-1]
        sign = np.where(falls, -1, 1)
        last["weights"], last["offset"] = last["weights"] * sign[:, None], last["offset"] * sign
        return np.where(slope == 0, 1.0, np.abs(slope)), first

    def _note_ties(
        self, sums: _Sums, tail: Sequence[Node], last: str, values: Float64, step: Float64
    ) -> Float64:
        """Note sums that have one code or another within the executor's rounding.

        Returns how far (n_neurons,) its values can be from those of tables for all the others.
        """
        off = np.zeros(len(sums.lengths))
        if not sums.errors.of_section.any():
            return off
        counts = np.zeros(len(sums.lengths), dtype=np.int64)
        for rows, index in sums.pieces():
            shift = np.zeros(index.shape)
            for sign in (-1, 1):
                piece = sums.after(tail, index, sign).reshape(len(index), -1)
                shift = np.maximum(shift, np.abs(piece - values[rows]))
            is_tie = shift > _MOST_SHIFT * step
            is_entry = np.arange(rows.start, rows.stop)[:, None] < sums.lengths
            counts += (is_tie & is_entry).sum(axis=0)
            off = np.maximum(off, np.where(is_tie, 0.0, shift).max(axis=0))
        if counts.any():
            per_channel = counts.reshape(sums.shape[0], -1).sum(axis=1)
            channels = np.flatnonzero(per_channel).tolist()
            self.ties.append(
                Tie(sums.node, last, int(counts.sum()), int(sums.lengths.sum()), channels)
            )
        return off


def _outputs(
    sums: _Sums, tail: list[Node], rest: list[Node]
) -> tuple[Float64, Float64, list[Node]]:
    """Return what outputs rise by with their sums, those of 0, and the nodes that follow them."""
    ends = (sums.lengths - 1)[None]
    kept = len(taken(tail, (*AFFINE, *SHAPES))[0])
    while True:
        first, middle, last = (
            sums.after(tail[:kept], part).reshape(-1).astype(np.float64)
            for part in (0 * ends, ends // 2, ends)
        )
        if first.shape != ends[0].shape:
            raise UnsupportedModuleError(
                f"what node {tail[kept - 1].name} gives behind node {sums.node} has another size"
            )
        slope = (last - first) / np.maximum(ends[0], 1)
        straight = first + slope * (ends[0] // 2)
        spread = np.abs(last - first) + np.abs(first) + np.finfo(np.float32).tiny
        if (np.abs(straight - middle) <= _TOLERANCE * spread).all():
            break
        kept -= 1
    return slope, first, [*tail[kept:], *rest]
