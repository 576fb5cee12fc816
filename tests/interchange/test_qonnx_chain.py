"""Models are read as chains: shapes are computed, constants folded, branches joined or refused."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from cipherfit import from_qonnx
from cipherfit.exceptions import UnsupportedModuleError

pytest.importorskip("qonnx")

from qonnx.core.modelwrapper import ModelWrapper
from qonnx_models import BATCH, executor, n_differing

# QONNX tells that shapes between nodes are not known; its results are the same.
pytestmark = pytest.mark.filterwarnings("ignore:Output shapes disagree:UserWarning")

DOMAIN = "qonnx.custom_op.general"
RNG = np.random.default_rng(0)
CONSTANTS = {
    "s": 0.25, "half": 0.5, "zero": 0.0, "four": 4.0,
    "W": RNG.integers(-3, 4, (8, 5)) * 0.125, "V": RNG.integers(-3, 4, (5, 3)) * 0.5,
    "P": RNG.integers(-3, 4, (8, 5)) * 0.125, "Q": RNG.integers(-3, 4, (8, 2)) * 0.125,
}  # fmt: skip
WHOLE = {
    "0": np.array([0]), "1": np.array([1]), "-1": np.array([-1]), "2": np.array([2]),
    "3": np.array([3]), "first": np.array(0),
}  # fmt: skip


def node(kind, given, output, **attributes):
    domain = DOMAIN if "Quant" in kind else ""
    return helper.make_node(
        kind, given, [output], name=f"make_{output}", domain=domain, **attributes
    )


def quant(given, output, scale="half"):
    options = {"signed": 1, "narrow": 0, "rounding_mode": "ROUND"}
    return node("Quant", [given, scale, "zero", "four"], output, **options)


def model_of(nodes, shape=(8,), outputs=3, batch=BATCH):
    tensors = [
        numpy_helper.from_array(np.asarray(value, dtype=np.float32), name)
        for name, value in CONSTANTS.items()
    ] + [numpy_helper.from_array(value.astype(np.int64), name) for name, value in WHOLE.items()]
    graph = helper.make_graph(
        nodes, "chain",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [batch, *shape])],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, [batch, outputs])], tensors,
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid(DOMAIN, 1)]
    return ModelWrapper(helper.make_model(graph, opset_imports=opsets))


def rows(shape=(8,)):
    return (1.5 * np.random.default_rng(1).normal(size=(2 * BATCH, *shape))).astype(np.float32)


LAYERS = [
    node("MatMul", ["q", "W"], "sums"), quant("sums", "codes"), node("MatMul", ["codes", "V"], "Y"),
]  # fmt: skip


def test_shapes_that_are_computed_are_constants():
    # As torch exports ``x.view(x.shape[0], -1)``.
    shaping = [
        node("Shape", ["X"], "shape"), node("Gather", ["shape", "first"], "n", axis=0),
        node("Unsqueeze", ["n", "0"], "ns"), node("Concat", ["ns", "-1"], "flat", axis=0),
        node("Reshape", ["X", "flat"], "x"), quant("x", "q", "s"),
    ]  # fmt: skip
    model = model_of([*shaping, *LAYERS], shape=(2, 2, 2))
    X = rows((2, 2, 2))
    assert n_differing(from_qonnx(model), X, executor(model, X)) == 0


def test_nodes_that_nothing_needs_and_constants_count_for_nothing():
    value = numpy_helper.from_array(np.float32([0.5]), "held")
    extra = [
        node("Relu", ["X"], "unused"), node("MaxPool", ["X"], "unused too", kernel_shape=[1]),
        node("Constant", [], "c", value=value), quant("X", "x", "s"), node("Mul", ["x", "c"], "q"),
    ]  # fmt: skip
    model = model_of([*extra, *LAYERS])
    reference = model_of([each for each in [*extra, *LAYERS] if "unused" not in each.output[0]])
    assert n_differing(from_qonnx(model), rows(), executor(reference, rows())) == 0


@pytest.mark.parametrize(
    "joined",
    [
        [node("MatMul", ["q", "P"], "p"), node("Add", ["w", "p"], "sums")],
        [node("MatMul", ["q", "P"], "p"), node("Neg", ["p"], "n"), node("Sub", ["w", "n"], "sums")],
    ],
)
def test_linear_branches_are_one_layer(joined):
    nodes = [quant("X", "q", "s"), node("MatMul", ["q", "W"], "w"), *joined, *LAYERS[1:]]
    model = model_of(nodes)
    predictor = from_qonnx(model)
    assert predictor.graph.n_lookups == 5
    assert n_differing(predictor, rows(), executor(model, rows())) == 0


def test_parts_may_be_taken_apart_and_put_together():
    nodes = [
        quant("X", "q", "s"), node("Slice", ["q", "0", "2", "1"], "left"),
        node("Slice", ["q", "2", "3", "1"], "middle"), node("MatMul", ["q", "Q"], "right"),
        node("Concat", ["left", "middle", "right"], "sums", axis=1), *LAYERS[1:],
    ]  # fmt: skip
    model = model_of(nodes)
    predictor = from_qonnx(model)
    assert predictor.graph.n_lookups == 5
    assert n_differing(predictor, rows(), executor(model, rows())) == 0


@pytest.mark.parametrize(
    "activation",
    [
        [node("Sigmoid", ["sums"], "p"), node("Mul", ["sums", "p"], "a")],
        [node("Softplus", ["sums"], "p"), node("Tanh", ["p"], "t"),
         node("Mul", ["t", "sums"], "a")],
        [node("Relu", ["sums"], "r"), node("Neg", ["sums"], "n"), node("Relu", ["n"], "m"),
         node("Add", ["r", "m"], "a")],
    ],
)  # fmt: skip
def test_elementwise_branches_are_tables(activation):
    nodes = [quant("X", "q", "s"), LAYERS[0], *activation, quant("a", "codes"), LAYERS[2]]
    model = model_of(nodes)
    assert n_differing(from_qonnx(model), rows(), executor(model, rows())) == 0


def test_skip_connections_are_refused_by_the_node_that_joins_them():
    nodes = [
        quant("X", "q", "s"), node("MatMul", ["q", "W"], "w"), quant("w", "codes"),
        node("MatMul", ["q", "P"], "p"), node("Add", ["codes", "p"], "sum"), quant("sum", "b"),
        node("MatMul", ["b", "V"], "Y"),
    ]  # fmt: skip
    message = r"node make_sum \(Add\) joins branches, codes and p; .* without skip connections"
    with pytest.raises(UnsupportedModuleError, match=message):
        from_qonnx(model_of(nodes))


def test_second_outputs_are_refused():
    split = helper.make_node("Split", ["X"], ["a", "b"], name="split", axis=1)
    nodes = [split, quant("b", "q", "s"), node("MatMul", ["q", "W"], "Y")]
    with pytest.raises(UnsupportedModuleError, match=r"node make_q \(Quant\) takes b, which is no"):
        from_qonnx(model_of(nodes))


def test_an_output_without_the_input_and_inputs_without_shapes_are_refused():
    with pytest.raises(UnsupportedModuleError, match="output Y does not depend on"):
        from_qonnx(model_of([quant("X", "q", "s"), node("Neg", ["V"], "Y")], outputs=3))
    model = model_of([quant("X", "q", "s"), *LAYERS])
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "n"
    with pytest.raises(UnsupportedModuleError, match="input X has no fixed shape"):
        from_qonnx(model.model)
