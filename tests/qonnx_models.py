"""QONNX models for tests: chains of nodes, Brevitas networks, and what QONNX's executor gives."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from qonnx.core.datatype import DataType
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.transformation.infer_shapes import InferShapes

#: Rows that a model takes at once: those of a test go through the executor in few calls.
BATCH = 500
_CUSTOM = ("BipolarQuant", "IntQuant", "MultiThreshold", "Quant", "Trunc")


def executor(model, X):
    """Return what QONNX's executor gives for rows, as many at once as the model takes."""
    model = (model if isinstance(model, ModelWrapper) else ModelWrapper(model)).transform(
        InferShapes()
    )
    name, output = model.graph.input[0].name, model.graph.output[0].name
    batch = model.get_tensor_shape(name)[0]
    assert len(X) % batch == 0
    parts = [
        execute_onnx(model, {name: X[first : first + batch]})[output].reshape(batch, -1)
        for first in range(0, len(X), batch)
    ]
    return np.concatenate(parts)


def n_differing(predictor, X, outputs):
    """Return in how many rows real outputs stand for other integers than the graph's."""
    graph = predictor.graph
    flat = X.reshape(len(X), -1)
    features = flat if predictor.preparation is None else predictor.preparation(flat)
    output = graph.to_dict()["output"]
    sums = (outputs.astype(np.float64) - output["offset"]) / output["scale"]
    assert np.abs(sums - np.rint(sums)).max() < 1e-2
    own = graph.simulate(graph.quantize(features.astype(np.float32)))
    return int((np.rint(sums) != own).any(axis=1).sum())


def made(nodes, constants, shape=(4,), outputs=3, input_type=None, batch=BATCH, opset=1):
    """Return a model of nodes (kind, constants' names, attributes), each after the other."""
    protos, value = [], "X"
    for index, (kind, names, attributes) in enumerate(nodes):
        domain = "qonnx.custom_op.general" if kind in _CUSTOM else ""
        out = "Y" if index == len(nodes) - 1 else f"v{index}"
        given = [value, *names] if "@" not in names else [{"@": value}.get(n, n) for n in names]
        name = f"n{index}"
        protos.append(helper.make_node(kind, given, [out], name=name, domain=domain, **attributes))
        value = out
    tensors = [
        numpy_helper.from_array(np.asarray(v, dtype=np.int64 if k == "shape" else np.float32), k)
        for k, v in constants.items()
    ]
    graph = helper.make_graph(
        protos, "made",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [batch, *shape])],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, [batch, outputs])], tensors,
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("qonnx.custom_op.general", opset)]
    model = ModelWrapper(helper.make_model(graph, opset_imports=opsets))
    if input_type is not None:
        model.set_tensor_datatype("X", DataType[input_type])
    return model


def exported(module, shape, path, batch=BATCH, seed=0):
    """Return the path of what Brevitas exports, after passes that set scales and statistics."""
    import torch
    from brevitas.export import export_qonnx

    torch.manual_seed(seed)
    for each in module.modules():
        if isinstance(each, torch.nn.modules.batchnorm._BatchNorm):
            torch.nn.init.uniform_(each.weight, 0.5, 1.5)
            torch.nn.init.uniform_(each.bias, -0.5, 0.5)
    for _ in range(3):
        module.train()(torch.randn(400, *shape))
    module.eval()
    export_qonnx(module, torch.randn(batch, *shape), str(path), dynamo=False)
    return str(path)
