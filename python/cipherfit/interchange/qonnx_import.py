"""From QONNX models, such as Brevitas exports, to integer graphs that compute the same.

What is quantized there is integers here: weights that are whole multiples of one scale per neuron
become integer weights, and all that lies between two linear layers becomes tables, by running it on
every value that an accumulator can take. Nothing is rounded anew.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherfit._core import IntegerGraph, accumulator_mask
from cipherfit.exceptions import (
    CipherfitWarning,
    InvalidParameterError,
    ProofError,
    UnsupportedModuleError,
)
from cipherfit.interchange.qonnx_nodes import (
    ELEMENTWISE,
    LINEAR,
    SHAPES,
    Node,
    QonnxChain,
    read,
    run_all,
)
from cipherfit.interchange.whole_multiples import NotWholeError, whole_multiples
from cipherfit.limits import MAX_ACCUM_BITS, MAX_LOOKUP_BITS
from cipherfit.parameters import integer
from cipherfit.predictor.features import Features
from cipherfit.predictor.postprocessing import Step, post_process
from cipherfit.predictor.predictor import Predictor
from cipherfit.predictor.targets import ClassTargets, RealTargets, Targets

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

#: Table entries that are evaluated at once.
_ENTRIES_AT_ONCE = 1 << 20
#: Relative difference from a straight line that is float32's rounding.
_TOLERANCE = 1e-5


def from_qonnx(
    path_or_model: Any, X: Any = None, *, classes: Any = None, n_accum_bits: int | None = None
) -> Predictor:
    """Make a predictor of a QONNX model, such as Brevitas exports.

    Its outputs are those of QONNX's own executor: every quantizer, threshold and activation of the
    model becomes tables that hold what that executor gives. Scales that are powers of two make
    all of it exact; with others, the executor's own rounding in float32 decides where a feature or
    a sum lies within a ten-millionth of the border between two codes, and here it may be the other
    one: about one row in a hundred thousand.

    Parameters
    ----------
    path_or_model : str, path, onnx.ModelProto or qonnx's ModelWrapper
        A chain of nodes: a quantizer of the input (or an input of an integer type), then MatMul,
        Gemm, Conv, AveragePool, GlobalAveragePool, Pad, Transpose, Reshape and Flatten with
        elementwise nodes and quantizers (Quant, IntQuant, BipolarQuant, MultiThreshold, Trunc)
        between them. Behind the last, what scales and shifts, and Softmax or Sigmoid.
    X : array-like of shape (n_samples, ...), optional
        Rows that show what `n_accum_bits` changes.
    classes : array-like of shape (n_classes,), optional
        Labels that the outputs stand for. Default: they are real values.
    n_accum_bits : int in [1, 48], optional
        Bits that every accumulator must fit: the least weights are pruned until they do, and a
        warning tells what that changes on `X`. Default: nothing is pruned.

    Returns
    -------
    Predictor
        It takes rows flat, or in the shape of the model's input.

    Raises
    ------
    MissingDependencyError
        If the package qonnx is not installed.
    UnsupportedModuleError
        Naming the node that no table of integers reproduces.
    ProofError
        Naming the node whose lookups would be too wide, with the bits they need.
    InvalidParameterError
        If `n_accum_bits` is out of range, or comes without `X`.
    """
    chain = read(path_or_model)
    if n_accum_bits is not None:
        integer("n_accum_bits", n_accum_bits, 1, MAX_ACCUM_BITS)
        if X is None:
            raise InvalidParameterError(
                "n_accum_bits prunes weights: give rows X, on which it is told what that changes"
            )
    graph, behind = _graph(chain, n_accum_bits)
    steps, n_values = _post_processing(behind, graph.n_outputs)
    targets: Targets = RealTargets(n_values, flat=n_values == 1)
    if classes is not None:
        targets = ClassTargets(np.asarray(classes))
        expected = 2 if n_values == 1 else n_values
        if targets.n_outputs != expected:
            raise InvalidParameterError(
                f"classes={targets.classes.tolist()!r} has {targets.n_outputs} labels, and the "
                f"model's outputs stand for {expected}"
            )
        if n_values == 1 and steps and steps[-1].name == "sigmoid":
            steps.append(Step("two_columns"))
        elif not steps or steps[-1].name not in ("softmax", "log_softmax"):
            steps.append(Step("scores"))
    predictor = Predictor(graph, targets, post_processing=steps)
    if n_accum_bits is not None:
        _tell_what_is_lost(predictor, chain, X, n_accum_bits)
    return predictor


def _tell_what_is_lost(predictor: Predictor, chain: QonnxChain, X: Any, n_accum_bits: int) -> None:
    """Warn of what pruning changes on given rows, compared with the model as it was."""
    rows = Features(predictor.graph.n_features).check(X)
    shaped = rows.reshape(len(rows), *chain.shape)
    real = run_all(chain.nodes, shaped, chain.shape).reshape(len(rows), -1).astype(np.float64)
    values = post_process(predictor.graph.run(rows), predictor.post_processing)
    if predictor.is_classifier:
        lost = float((values.argmax(axis=1) != _scored(real).argmax(axis=1)).mean())
        what = "of the rows of X get another label"
    else:
        spread = real.var(axis=0)
        error = ((values - real) ** 2).mean(axis=0)
        lost = float((error / np.where(spread > 0, spread, 1)).max())
        what = "of the outputs' variance on X is lost"
    if lost:
        warnings.warn(
            f"with n_accum_bits={n_accum_bits}, {lost:.2%} {what}, compared with the model",
            CipherfitWarning,
            stacklevel=3,
        )


def _scored(real: Float64) -> Float64:
    """Return scores of classes; one stands for the second of two."""
    return np.concatenate([-real, real], axis=1) if real.shape[1] == 1 else real


@dataclass(frozen=True)
class _Codes:
    """Values of a row as integers: ``base + step * code``, with codes from 0 on."""

    base: Float64
    step: Float64
    largest: Int64
    shape: tuple[int, ...]


def _graph(chain: QonnxChain, n_accum_bits: int | None) -> tuple[IntegerGraph, list[Node]]:
    """Return the integer graph, and the nodes behind its outputs that it can't hold."""
    quantizer, codes, nodes = _quantized_input(chain)
    low, high = np.zeros_like(codes.largest), codes.largest
    layers: list[dict[str, Any]] = []
    while True:
        linear, nodes = _taken(nodes, LINEAR)
        if not any(node.kind not in SHAPES for node in linear):
            where = nodes[0].name if nodes else "the end"
            raise UnsupportedModuleError(f"there is no linear node before {where}")
        weights, unit, constant, shape = _linear(linear, codes)
        if n_accum_bits is not None:
            weights = weights * accumulator_mask(weights, low, high, n_accum_bits)
        positive, negative = np.maximum(weights, 0), np.minimum(weights, 0)
        lowest = positive @ low + negative @ high
        lengths = np.abs(weights) @ (high - low) + 1
        layers.append({"kind": "linear", "weights": weights, "offset": -lowest})
        tail, rest = _taken(nodes, ELEMENTWISE)
        reals = _Accumulators(lowest, unit, constant, shape)
        if not any(node.kind in LINEAR for node in rest):
            scale, offset, rest = _outputs(reals, tail, rest, lengths)
            output = {"scale": scale, "offset": offset}
            return IntegerGraph.from_layers(quantizer, layers, output), rest
        tables, codes = _tables(reals, linear, tail, lengths)
        layers.append(
            {
                "kind": "lookup",
                "low": np.zeros_like(lowest),
                "lsbs": 0,
                "exact": True,
                "tables": tables,
            }
        )
        low, high = np.zeros_like(codes.largest), codes.largest
        nodes = rest


def _taken(nodes: list[Node], kinds: tuple[str, ...]) -> tuple[list[Node], list[Node]]:
    """Return the nodes at the start that are of some kinds, and the rest."""
    n = next((i for i, node in enumerate(nodes) if node.kind not in kinds), len(nodes))
    return nodes[:n], nodes[n:]


def _quantized_input(chain: QonnxChain) -> tuple[dict[str, Any], _Codes, list[Node]]:
    """Return the input quantizer, the codes that it gives, and the nodes behind it."""
    size = prod(chain.shape)
    shaping, nodes = _taken(chain.nodes, SHAPES)
    if chain.input_type is not None:
        least, most = chain.input_type
        codes = _Codes(
            np.full(size, float(least)), np.ones(size), np.full(size, most - least), chain.shape
        )
        return _quantizer(np.ones(size), -least, most - least), codes, chain.nodes
    if not nodes or nodes[0].kind not in ("Quant", "IntQuant"):
        found = nodes[0].name if nodes else "nothing"
        raise UnsupportedModuleError(
            f"the input goes to {found}; it must be quantized first, by Quant, or be of an integer "
            "type that the model names"
        )
    quant, *rest = nodes
    shape = run_all(shaping, np.zeros((1, *chain.shape), dtype=np.float32), chain.shape).shape[1:]
    scale = np.broadcast_to(quant.constant(1).astype(np.float64), (1, *shape)).ravel()
    zero_point, n_bits = np.ravel(quant.constant(2)), int(np.ravel(quant.constant(3))[0])
    signed, narrow = bool(quant.attribute("signed", 1)), bool(quant.attribute("narrow", 1))
    mode = str(quant.attribute("rounding_mode", "ROUND")).upper()
    least = -(2 ** (n_bits - 1)) + narrow if signed else 0
    most = 2 ** (n_bits - 1) - 1 if signed else 2**n_bits - 1 - narrow
    zero = int(zero_point[0])
    whole = (zero_point == zero).all() and zero % 2 == 0
    if mode not in ("ROUND", "HALF_EVEN") or not whole or (n_bits == 1 and signed):
        raise UnsupportedModuleError(
            f"node {quant.name} quantizes the input with rounding_mode={mode!r}, zero point "
            f"{zero_point.tolist()} and {n_bits} bits; the client rounds half to even, with an "
            "even zero point, to more than one signed bit"
        )
    base = (np.float32(least - zero) * quant.constant(1).astype(np.float32)).astype(np.float64)
    codes = _Codes(
        np.broadcast_to(base, (1, *shape)).ravel(), scale, np.full(size, most - least), shape
    )
    return _quantizer(scale, zero - least, most - least), codes, rest


def _quantizer(scale: Float64, zero_point: int, most: int) -> dict[str, Any]:
    ones = np.ones(len(scale), dtype=np.int64)
    return {
        "scale": np.array(scale),
        "zero_point": zero_point * ones,
        "n_bits": max(1, most.bit_length()),
        "low": 0 * ones,
        "high": most * ones,
    }


def _linear(nodes: list[Node], codes: _Codes) -> tuple[Int64, Float64, Float64, tuple[int, ...]]:
    """Return integer weights, the real value of a unit, that of sum 0, and the outputs' shape."""
    size = len(codes.step)
    plain = [node.without_bias() for node in nodes]
    eye = np.eye(size, dtype=np.float32).reshape(size, *codes.shape)
    parts = run_all(plain, eye, codes.shape)
    zeros = np.zeros((1, *codes.shape), dtype=np.float32)
    matrix = parts.reshape(size, -1).T.astype(np.float64)
    bias = run_all(nodes, zeros, codes.shape).ravel().astype(np.float64)
    try:
        weights, unit = whole_multiples(matrix * codes.step)
    except NotWholeError as error:
        raise UnsupportedModuleError(
            f"weights of node {nodes[-1].name}, neuron {error.row}, are no whole multiples of one "
            "scale, so no integers give its sums: quantize them by Quant, with one scale per neuron"
        ) from error
    return weights, unit, matrix @ codes.base + bias, parts.shape[1:]


@dataclass(frozen=True)
class _Accumulators:
    """Values that accumulators have where they are counted from their least one."""

    lowest: Int64
    unit: Float64
    constant: Float64
    shape: tuple[int, ...]

    def after(self, nodes: list[Node], index: Int64) -> NDArray[Any]:
        """Return what nodes make of accumulators of some indexes (n, 1) or (n, n_neurons)."""
        real = (self.lowest + index) * self.unit + self.constant
        rows = real.astype(np.float32).reshape(len(index), *self.shape)
        return run_all(nodes, rows, self.shape)


def _tables(
    reals: _Accumulators, linear: list[Node], tail: list[Node], lengths: Int64
) -> tuple[list[Int64], _Codes]:
    """Return the tables of what lies between two linear layers, and the codes that they hold."""
    longest, n_neurons = int(lengths.max()), len(lengths)
    if longest > 1 << MAX_LOOKUP_BITS:
        bits = (longest - 1).bit_length()
        raise ProofError(
            f"behind node {linear[-1].name} accumulators have {bits} bits, and a lookup reads "
            f"{MAX_LOOKUP_BITS} at most: train with fewer bits, or fewer weights",
            bits_needed=bits,
            bits_allowed=MAX_LOOKUP_BITS,
        )
    values = np.empty((longest, n_neurons))
    rows = max(1, _ENTRIES_AT_ONCE // n_neurons)
    shape = reals.shape
    for first in range(0, longest, rows):
        index = np.arange(first, min(first + rows, longest))[:, None]
        # Beyond a table's end its last entry, so that nothing is run on what can't be.
        piece = reals.after(tail, np.minimum(index, lengths - 1))
        shape = piece.shape[1:]
        values[first : first + len(index)] = piece.reshape(len(index), -1)
    base = values.min(axis=0)
    if values.shape[1] != n_neurons or not np.isfinite(base).all():
        raise UnsupportedModuleError(
            f"what follows node {linear[-1].name} gives NaN or infinity, or other shapes"
        )
    try:
        codes, step = whole_multiples((values - base).T)
    except NotWholeError as error:
        raise UnsupportedModuleError(
            f"values behind node {tail[-1].name if tail else linear[-1].name}, neuron {error.row}, "
            "are no steps of one width, so they are no codes: end them with a quantizer"
        ) from error
    tables = [np.ascontiguousarray(codes[j, :n]) for j, n in enumerate(lengths.tolist())]
    return tables, _Codes(base, step, codes.max(axis=1), shape)


def _outputs(
    reals: _Accumulators, tail: list[Node], rest: list[Node], lengths: Int64
) -> tuple[Float64, Float64, list[Node]]:
    """Return scale and offset of the outputs, and the nodes that follow what these hold."""
    ends = (lengths - 1)[None]
    kept = len(tail)
    while True:
        first, middle, last = (
            reals.after(tail[:kept], part).reshape(-1).astype(np.float64)
            for part in (0 * ends, ends // 2, ends)
        )
        slope = (last - first) / np.maximum(ends[0], 1)
        straight = first + slope * (ends[0] // 2)
        spread = np.abs(last - first) + np.abs(first) + np.finfo(np.float32).tiny
        if (np.abs(straight - middle) <= _TOLERANCE * spread).all():
            break
        kept -= 1
    return np.where(slope == 0, 1.0, slope), first, [*tail[kept:], *rest]


def _post_processing(nodes: list[Node], n_outputs: int) -> tuple[list[Step], int]:
    """Return what nodes behind the outputs compute, by name, and how many values that gives."""
    known = {"Sigmoid": "sigmoid", "Tanh": "tanh", "Relu": "relu", "Exp": "exp"}
    steps: list[Step] = []
    for node in nodes:
        if node.kind == "Softmax" and node.attribute("axis", -1) in (-1, 1):
            steps.append(Step("softmax"))
        elif node.kind == "LogSoftmax" and node.attribute("axis", -1) in (-1, 1):
            steps.append(Step("log_softmax"))
        elif node.kind in known:
            steps.append(Step(known[node.kind]))
        elif node.kind not in (*SHAPES, "Identity", "Dropout"):
            raise UnsupportedModuleError(
                f"node {node.name} follows the last linear layer, where only what scales and "
                "shifts, Softmax, LogSoftmax, Sigmoid, Tanh, Relu and Exp can"
            )
    return steps, n_outputs
