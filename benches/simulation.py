"""Measure simulation against peers on the same rows of the same networks; print ratios.

Run with `make bench`, or `python benches/simulation.py [--quick]`. Results of a run are kept in
benches/README.md. Each contestant's results are checked before they are timed; a time is the best
of several repeats, which take turns, so that a busy moment hits all alike.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import onnxruntime
import torch
from concrete import fhe
from torch import nn

from cipherfit import IntegerGraph, compile_graph, twin
from cipherfit.onnx_export import to_onnx

N_BITS = 3
#: Sizes, non-zero weights per neuron before pruning to the budget, accumulator bits.
NETWORKS = {
    "64-32-10": ((64, 32, 10), 10, 8),
    "30-16-2": ((30, 16, 2), 10, 7),
    "784-128-64-10": ((784, 128, 64, 10), 75, 10),
}
BATCHES = (1, 64, 1000, 100_000)
#: A peer that takes longer than this on a batch is timed on fewer rows, in proportion.
SLOW_ROWS = 2000


def network(sizes: tuple[int, ...], n_nonzeros: int, n_bits: int) -> IntegerGraph:
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
    scale = rng.uniform(0.1, 2.0, n_in)
    zero_point = rng.integers(0, 2**N_BITS, n_in)
    quantizer = {"scale": scale, "zero_point": zero_point, "n_bits": N_BITS}
    output = {"scale": rng.uniform(0.1, 2.0, n_out), "offset": rng.normal(size=n_out)}
    return IntegerGraph.from_layers(quantizer, layers, output)


def features(graph: IntegerGraph, rows: int) -> np.ndarray:
    """Return float32 rows that reach every code, and a little beyond the ends."""
    quantizer = graph.to_dict()["input"]
    steps = np.random.default_rng(1).uniform(-1, 2**N_BITS, (rows, graph.n_features))
    return ((steps - quantizer["zero_point"]) * quantizer["scale"]).astype(np.float32)


@dataclass
class Contestant:
    """Something that turns rows into results, and what they must be."""

    name: str
    call: Callable[[np.ndarray], Any]
    expected: Callable[[np.ndarray], np.ndarray]
    exact: bool = True
    per_row_only: bool = False

    def check(self, X: np.ndarray) -> None:
        """Hold the results for these rows to what they must be."""
        got = np.asarray(self.call(X))
        if self.exact:
            np.testing.assert_array_equal(got, self.expected(X), err_msg=self.name)
        else:
            np.testing.assert_allclose(got, self.expected(X), rtol=1e-3, atol=1e-3)


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


def contestants(graph: IntegerGraph, sizes: tuple[int, ...], n_threads: int) -> list[Contestant]:
    parts = graph.to_dict()
    layers = [layer for pair in pairwise(sizes) for layer in (nn.Linear(*pair), nn.ReLU())]
    torch.manual_seed(0)
    mlp = nn.Sequential(*layers[:-1]).eval()
    integers = onnx_session(to_onnx(graph).SerializeToString(), n_threads)
    floats = onnx_session(float_onnx(mlp), n_threads)

    def by_twin(X: np.ndarray) -> np.ndarray:
        return twin.dequantize(parts, twin.simulate(parts, twin.quantize(parts, X)))

    def by_torch(X: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return mlp(torch.from_numpy(X)).numpy()

    def by_double(X: np.ndarray) -> np.ndarray:
        values = torch.from_numpy(X).double()
        for layer in mlp:
            linear = isinstance(layer, nn.Linear)
            values = (
                values @ layer.weight.double().T + layer.bias.double() if linear else values.relu()
            )
        return values.detach().numpy()

    def run(path: str | None) -> Callable[[np.ndarray], np.ndarray]:
        return lambda X: graph.run(X, n_threads=n_threads, path=path)

    mine = [Contestant("cipherfit", run(None), by_twin)]
    mine += [Contestant(f"cipherfit, {path}", run(path), by_twin) for path in ("avx2", "portable")]
    others = [
        Contestant(
            "ONNX Runtime, float32 MLP", lambda X: floats.run(None, {"X": X})[0], by_double, False
        ),
        Contestant(
            "ONNX Runtime, integer model", lambda X: integers.run(["outputs"], {"X": X})[0], by_twin
        ),
        Contestant("torch float32", by_torch, by_double, False),
        Contestant("numpy int64", by_twin, run(None)),
    ]
    if sizes == NETWORKS["30-16-2"][0] and n_threads == 1:
        others.append(concrete(graph))
    return mine + others


def concrete(graph: IntegerGraph) -> Contestant:
    """Concrete's own simulation, a row at a time."""
    configuration = fhe.Configuration(fhe_simulation=True, p_error=1e-9)
    circuit = compile_graph(graph, configuration=configuration)

    def by_concrete(X: np.ndarray) -> np.ndarray:
        codes = graph.quantize(X).astype(np.int64)
        accumulators = np.array([np.ravel(circuit.simulate(row)) for row in codes])
        return graph.dequantize(accumulators.astype(np.int64))

    return Contestant(
        "Concrete's simulate",
        by_concrete,
        lambda X: graph.run(X),
        per_row_only=True,
    )


def read_bandwidth(X: np.ndarray) -> float:
    """Return bytes per second at which one core reads these rows: the best of numpy's maxima."""
    flat = X.ravel()
    return X.nbytes / min(seconds(lambda: flat.max()) for _ in range(7))


def seconds(call: Callable[..., Any], *arguments: Any, loops: int = 1) -> float:
    start = time.perf_counter()
    for _ in range(loops):
        call(*arguments)
    return time.perf_counter() - start


def measure(everyone: list[Contestant], X: np.ndarray, repeats: int) -> dict[str, float]:
    """Return seconds per row of each, the best of several turns."""
    best = {contestant.name: float("inf") for contestant in everyone}
    for turn in range(repeats):
        for contestant in everyone:
            slow = contestant.per_row_only or contestant.name == "numpy int64"
            rows = X[: 20 if contestant.per_row_only else SLOW_ROWS] if slow else X
            if slow and turn > 2:
                continue
            loops = 1 if slow else max(1, 2000 // len(rows))
            taken = seconds(contestant.call, rows, loops=loops)
            best[contestant.name] = min(best[contestant.name], taken / loops / len(rows))
    return best


def report(name: str, batch: int, n_threads: int, repeats: int) -> None:
    sizes, n_nonzeros, n_bits = NETWORKS[name]
    torch.set_num_threads(n_threads)
    graph = network(sizes, n_nonzeros, n_bits)
    X = features(graph, batch)
    everyone = contestants(graph, sizes, n_threads)
    for contestant in everyone:
        contestant.check(X[: 5 if contestant.per_row_only else 300])
    best = measure(everyone, X, repeats)
    mine = best["cipherfit"]
    cells = [f"{1e-6 / mine:.3g}"]
    cells += [f"{best[c.name] / mine:.3g}" if c.name in best else "" for c in everyone[1:]]
    cells += [""] * (8 - len(cells))
    roofline = read_bandwidth(X) / X[:1].nbytes * mine if batch == max(BATCHES) else None
    cells.append(f"{1 / roofline:.0%}" if roofline and n_threads == 1 else "")
    print(f"| {name} | {n_threads} | {batch} | " + " | ".join(cells) + " |", flush=True)


def noise(name: str) -> None:
    """Report what simulated errors and a second thread cost."""
    sizes, n_nonzeros, n_bits = NETWORKS[name]
    graph = network(sizes, n_nonzeros, n_bits)
    X = features(graph, 100_000)
    codes = graph.quantize(X)
    calls = {
        "exact": lambda: graph.simulate(codes, n_threads=1),
        "noisy": lambda: graph.simulate(codes, p_error=0.01, seed=0, n_threads=1),
        "one": lambda: graph.run(X, n_threads=1),
        "two": lambda: graph.run(X, n_threads=2),
    }
    best = {key: min(seconds(call) for _ in range(15)) for key, call in calls.items()}
    noisy, threads = best["noisy"] / best["exact"], best["one"] / best["two"]
    print(f"| {name} | {noisy:.2f} | {threads:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one batch, one thread, few repeats")
    quick = parser.parse_args().quick
    print(
        "| network | threads | rows | cipherfit, million rows/s | cipherfit, AVX2 | portable "
        "| ONNX Runtime float32 | its integer model | torch float32 | numpy int64 | Concrete "
        "| of roofline |\n" + "|---" * 12 + "|"
    )
    for n_threads in (1,) if quick else (1, 2):
        for name in NETWORKS:
            for batch in BATCHES[-1:] if quick else BATCHES:
                report(name, batch, n_threads, 3 if quick else 9)
    print("\n| network | p_error 0.01, times exact | two threads, times one |\n|---|---|---|")
    for name in NETWORKS:
        noise(name)


if __name__ == "__main__":
    main()
