"""Networks to simulate, and what else computes the same or nearly the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import onnxruntime
import torch
from concrete import fhe
from sklearn.datasets import load_digits
from torch import nn

from cipherfit import IntegerGraph, NeuralNetClassifier, compile_graph, twin
from cipherfit.interchange.onnx_export import to_onnx

#: What computes the same rows in every network, ours first.
PEERS = (
    "cipherfit",
    "its AVX2 path",
    "its portable path",
    "ONNX Runtime float32",
    "ONNX Runtime integers",
    "torch float32",
    "numpy int64",
)
N_BITS = 3
#: Sizes, non-zero weights per neuron before pruning to the budget, accumulator bits; `TRAINED` has
#: the weights and the rows of a data set.
TRAINED = "digits"
NETWORKS = {
    TRAINED: ((64, 32, 10), None, 8),
    "64-32-10": ((64, 32, 10), 10, 8),
    "30-16-2": ((30, 16, 2), 10, 7),
    "784-128-64-10": ((784, 128, 64, 10), 75, 10),
}


@cache
def network(name: str) -> IntegerGraph:
    """Return the trained network, or a random one."""
    if name == TRAINED:
        model = NeuralNetClassifier(module__n_hidden_neurons=32, random_state=0)
        return model.fit(*load_digits(return_X_y=True)).graph_
    return random_network(*NETWORKS[name])


def random_network(sizes: tuple[int, ...], n_nonzeros: int, n_bits: int) -> IntegerGraph:
    """Return a sparse network with weights in [-3, 3] and tables that rise from 0 to 7."""
    rng = np.random.default_rng(0)
    layers: list[dict[str, Any]] = []
    for n_in, n_out in pairwise(sizes):
        weights = np.zeros((n_out, n_in), dtype=np.int64)
        for row in weights:
            columns = rng.permutation(n_in)[:n_nonzeros]
            values = rng.choice([-3, -2, -1, 1, 2, 3], len(columns))
            fits = np.cumsum(np.abs(values)) * 7 < 2**n_bits
            row[columns[fits]] = values[fits]
        if layers:
            widths = np.abs(layers[-1]["weights"]).sum(1) * 7
            tables = [np.arange(width + 1) * 8 // (width + 1) for width in widths]
            lookup = {"kind": "lookup", "low": None, "lsbs": 0, "exact": True, "tables": tables}
            layers.append(lookup)
        offset = rng.integers(-9, 10, n_out)
        layers.append({"kind": "linear", "weights": weights, "offset": offset})
    n_in, n_out = sizes[0], sizes[-1]
    # As training chooses them: see `with_single_reciprocal`.
    scale = 1 / rng.uniform(0.1, 2.0, n_in).astype(np.float32).astype(np.float64)
    zero_point = rng.integers(0, 2**N_BITS, n_in)
    quantizer = {"scale": scale, "zero_point": zero_point, "n_bits": N_BITS}
    output = {"scale": rng.uniform(0.1, 2.0, n_out), "offset": rng.normal(size=n_out)}
    return IntegerGraph.from_layers(quantizer, layers, output)


@cache
def features(name: str, rows: int) -> np.ndarray:
    """Return float32 rows: of the data set, or such as reach every code, and a little beyond."""
    if name == TRAINED:
        X, _ = load_digits(return_X_y=True)
        return X[np.random.default_rng(1).integers(0, len(X), rows)].astype(np.float32)
    graph = network(name)
    quantizer = graph.to_dict()["input"]
    steps = np.random.default_rng(1).uniform(-1, 2**N_BITS, (rows, graph.n_features))
    return ((steps - quantizer["zero_point"]) * quantizer["scale"]).astype(np.float32)


@dataclass(frozen=True)
class Peer:
    """Something that turns rows into results, and what they must be."""

    call: Callable[[np.ndarray], Any]
    expected: Callable[[np.ndarray], np.ndarray]
    exact: bool = True
    #: It is timed on so many rows at most.
    max_rows: int = 100_000

    def check(self, X: np.ndarray) -> None:
        """Hold the results for these rows to what they must be."""
        got = np.asarray(self.call(X))
        tolerance = 0 if self.exact else 1e-3
        np.testing.assert_allclose(got, self.expected(X), rtol=tolerance, atol=tolerance)


def onnx_session(model: bytes, n_threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = n_threads
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def float_onnx(mlp: nn.Sequential) -> bytes:
    """Return a dense float32 network as ONNX, by hand: torch's exporter needs more packages."""
    from onnx import TensorProto, helper, numpy_helper

    nodes, constants, current = [], [], "X"
    for index, layer in enumerate(mlp):
        result = f"layer{index}" if index + 1 < len(mlp) else "Y"
        if isinstance(layer, nn.Linear):
            names = [f"weight{index}", f"bias{index}"]
            for name, value in zip(names, (layer.weight, layer.bias), strict=True):
                constants.append(numpy_helper.from_array(value.detach().numpy().copy(), name))
            nodes.append(helper.make_node("Gemm", [current, *names], [result], transB=1))
        else:
            nodes.append(helper.make_node("Relu", [current], [result]))
        current = result
    value = helper.make_tensor_value_info
    inputs = [value("X", TensorProto.FLOAT, [None, mlp[0].in_features])]
    outputs = [value("Y", TensorProto.FLOAT, [None, mlp[-1].out_features])]
    graph = helper.make_graph(nodes, "mlp", inputs, outputs, constants)
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString()


@cache
def float_mlp(name: str) -> nn.Sequential:
    """Return a dense float32 network of the same shape."""
    torch.manual_seed(0)
    pairs = pairwise(NETWORKS[name][0])
    layers = [layer for pair in pairs for layer in (nn.Linear(*pair), nn.ReLU())]
    return nn.Sequential(*layers[:-1]).eval()


@cache
def peers(name: str, n_threads: int) -> dict[str, Peer]:
    graph, mlp = network(name), float_mlp(name)
    parts = graph.to_dict()
    integers = onnx_session(to_onnx(graph).SerializeToString(), n_threads)
    floats = onnx_session(float_onnx(mlp), n_threads)

    def run(path: str | None) -> Callable[[np.ndarray], np.ndarray]:
        return lambda X: graph.run(X, n_threads=n_threads, path=path)

    def by_twin(X: np.ndarray) -> np.ndarray:
        return twin.dequantize(parts, twin.simulate(parts, twin.quantize(parts, X)))

    def by_torch(X: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return mlp(torch.from_numpy(X)).numpy()

    def by_double(X: np.ndarray) -> np.ndarray:
        values = X.astype(np.float64)
        for layer in mlp:
            if isinstance(layer, nn.Linear):
                weight, bias = (part.detach().double().numpy() for part in layer.parameters())
                values = values @ weight.T + bias
            else:
                values = np.maximum(values, 0)
        return values

    return {
        "cipherfit": Peer(run(None), by_twin),
        "its AVX2 path": Peer(run("avx2"), by_twin),
        "its portable path": Peer(run("portable"), by_twin),
        "ONNX Runtime float32": Peer(
            lambda X: floats.run(None, {"X": X})[0], by_double, exact=False
        ),
        "ONNX Runtime integers": Peer(lambda X: integers.run(["outputs"], {"X": X})[0], by_twin),
        "torch float32": Peer(by_torch, by_double, exact=False),
        "numpy int64": Peer(by_twin, run(None), max_rows=2000),
    }


@cache
def concrete(name: str) -> Peer:
    """Return Concrete's own simulation, a row at a time."""
    graph = network(name)
    configuration = fhe.Configuration(fhe_simulation=True, p_error=1e-9)
    circuit = compile_graph(graph, configuration=configuration)

    def by_concrete(X: np.ndarray) -> np.ndarray:
        codes = graph.quantize(X).astype(np.int64)
        accumulators = np.array([np.ravel(circuit.simulate(row)) for row in codes])
        return graph.dequantize(accumulators.astype(np.int64))

    return Peer(by_concrete, graph.run, max_rows=20)
