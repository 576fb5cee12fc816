"""From QONNX models, such as Brevitas exports, to integer graphs that compute the same.

What is quantized there is integers here: weights that are whole multiples of one scale per neuron
become integer weights, and all that lies between two linear layers becomes tables, by running it on
every value that an accumulator can take. Nothing is rounded anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherfit.exceptions import InvalidParameterError, UnsupportedModuleError
from cipherfit.interchange.losses import lost_variance, tell_what_is_lost
from cipherfit.interchange.qonnx_chain import QonnxChain, read
from cipherfit.interchange.qonnx_layers import Tie, imported
from cipherfit.interchange.qonnx_nodes import SHAPES, Node, run_all
from cipherfit.limits import MAX_ACCUM_BITS
from cipherfit.parameters import integer
from cipherfit.predictor.features import Features
from cipherfit.predictor.postprocessing import Step, post_process
from cipherfit.predictor.predictor import Predictor
from cipherfit.predictor.targets import ClassTargets, RealTargets, Targets

Float64 = NDArray[np.float64]

_TIES = ("error", "nearest")
#: Channels that an error lists.
_MOST_LISTED = 5


def from_qonnx(
    path_or_model: Any,
    X: Any = None,
    *,
    classes: Any = None,
    n_accum_bits: int | None = None,
    ties: str = "error",
) -> Predictor:
    """Make a predictor of a QONNX model, such as Brevitas exports.

    Its outputs are those of QONNX's own executor, integer for integer, on every row: quantizers,
    thresholds and activations become tables that hold what that executor gives, and the client
    quantizes the input as it does, for every number of float32.

    Parameters
    ----------
    path_or_model : str, path, onnx.ModelProto or qonnx's ModelWrapper
        A chain of nodes: a quantizer of the input (or an input of an integer type, or one of a
        fixed point), then MatMul, Gemm, Conv, ConvTranspose, AveragePool, GlobalAveragePool,
        ReduceMean, ReduceSum, Pad, Slice, Transpose, Reshape and their like with elementwise nodes
        and quantizers (Quant, IntQuant, BipolarQuant, MultiThreshold, Trunc) between them. Behind
        the last, a quantizer, what scales and shifts, Softmax, Sigmoid and their like.
    X : array-like of shape (n_samples, ...), optional
        Rows that show what `n_accum_bits` changes.
    classes : array-like of shape (n_classes,), optional
        Labels that the outputs stand for. Default: they are real values.
    n_accum_bits : int in [1, 48], optional
        Bits that every accumulator must fit: the least weights are pruned until they do, and a
        warning tells what that changes on `X`. Default: nothing is pruned.
    ties : {"error", "nearest"}, default="error"
        What to do where a sum lies so close to the border between two codes that the executor,
        which adds in float32, can give either, depending on the order it adds in. That is never so
        where scales are powers of two; with others, the more bits and neurons, the likelier it is.
        "error" refuses the model; "nearest" takes the code of the exact sum, so that the
        executor may give the next one on rows that reach such a sum and no other.

    Returns
    -------
    Predictor
        It takes rows flat, or in the shape of the model's input. Where no scale and zero point give
        the executor's codes of every float32, the codes come from its `preparation`.

    Raises
    ------
    MissingDependencyError
        If the package qonnx is not installed.
    UnsupportedModuleError
        Naming the node that no table of integers reproduces, and, of one where the executor's
        rounding decides, its channels, and how many entries of its tables.
    ProofError
        Naming the node whose lookups would be too wide, with the bits they need.
    InvalidParameterError
        If `n_accum_bits` is out of range, or comes without `X`, or `ties` is something else.
    """
    chain = read(path_or_model)
    if n_accum_bits is not None:
        integer("n_accum_bits", n_accum_bits, 1, MAX_ACCUM_BITS)
        if X is None:
            raise InvalidParameterError(
                "n_accum_bits prunes weights: give rows X, on which it is told what that changes"
            )
    if ties not in _TIES:
        raise InvalidParameterError(f"ties={ties!r} must be one of {', '.join(_TIES)}")
    made = imported(chain, n_accum_bits)
    if made.ties and ties == "error":
        raise UnsupportedModuleError(_what_ties(made.ties))
    steps, n_values = _post_processing(made.behind, made.graph.n_outputs)
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
    predictor = Predictor(made.graph, targets, post_processing=steps, preparation=made.preparation)
    if n_accum_bits is not None and made.n_pruned:
        lost = _lost(predictor, chain, X)
        tell_what_is_lost(
            n_accum_bits, made.n_pruned, made.n_weights, lost, predictor.is_classifier, "the model"
        )
    return predictor


def _what_ties(ties: Sequence[Tie]) -> str:
    """Say where the executor's float32 decides between two codes, and what to do."""
    places = []
    for tie in ties:
        n = len(tie.channels)
        listed = ", ".join(map(str, tie.channels[:_MOST_LISTED])) + ", ..." * (n > _MOST_LISTED)
        places.append(
            f"{tie.entries} of {tie.of} entries of the tables between node {tie.node} and node "
            f"{tie.behind}, channel{'s' * (n > 1)} {listed}"
        )
    return (
        f"{'; '.join(places)}: there a sum is so close to the border between two codes that "
        "the executor's float32 rounds it to one or the other, depending on the order it adds in, "
        "so no table gives what it gives on every row. Train with scales that are powers of two, "
        "or give ties='nearest': tables hold what the exact sum is rounded to"
    )


def _lost(predictor: Predictor, chain: QonnxChain, X: Any) -> float:
    """Return what pruning changes on given rows, compared with the model as it was."""
    rows = Features(predictor.graph.n_features).check(X)
    shaped = rows.reshape(len(rows), *chain.shape)
    real = run_all(chain.nodes, shaped, chain.shape).reshape(len(rows), -1).astype(np.float64)
    features = rows if predictor.preparation is None else predictor.preparation(rows)
    values = post_process(predictor.graph.run(features), predictor.post_processing)
    if predictor.is_classifier:
        return float((values.argmax(axis=1) != _scored(real).argmax(axis=1)).mean())
    return lost_variance(values, real)


def _scored(real: Float64) -> Float64:
    """Return scores of classes; one stands for the second of two."""
    return np.concatenate([-real, real], axis=1) if real.shape[1] == 1 else real


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
