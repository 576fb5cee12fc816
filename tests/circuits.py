"""Small networks for tests of deployment, made without training."""

from __future__ import annotations

import numpy as np

from cipherfit import IntegerGraph


def network(n_features: int = 4, n_hidden: int = 3, n_outputs: int = 2, seed: int = 0):
    """Return a graph with lookups: codes of 2 bits, tables that divide by four."""
    rng = np.random.default_rng(seed)
    weights = rng.integers(-1, 2, (n_hidden, n_features))
    weights[:, 0] = 1
    low, high = 3 * np.minimum(weights, 0).sum(1), 3 * np.maximum(weights, 0).sum(1)
    lookup = {
        "kind": "lookup",
        "low": low,
        "lsbs": 0,
        "exact": True,
        "tables": [np.clip(np.arange(width + 1) // 4, 0, 3) for width in high - low],
    }
    return IntegerGraph.from_layers(
        _input(n_features, 2),
        [_linear(weights), lookup, _linear(rng.integers(-1, 2, (n_outputs, n_hidden)))],
        _output(n_outputs),
    )


def with_keys(graph):
    """Return a circuit of a graph, whose lookups hardly ever err, with its keys."""
    from cipherfit.fhe import compile_graph

    circuit = compile_graph(graph, p_error=1e-7)
    circuit.keygen()
    return circuit


def mirrored(graph):
    """Return a graph with its outputs in the opposite order, which encryption can't tell apart."""
    parts = graph.to_dict()
    last = parts["layers"][-1]
    last.update(weights=last["weights"][::-1].copy(), offset=last["offset"][::-1].copy())
    return IntegerGraph.from_layers(parts["input"], parts["layers"], parts["output"])


def linear(n_features: int = 8, n_outputs: int = 3, seed: int = 0):
    """Return a graph without lookups: codes of 4 bits."""
    weights = np.random.default_rng(seed).integers(-3, 4, (n_outputs, n_features))
    return IntegerGraph.from_layers(_input(n_features, 4), [_linear(weights)], _output(n_outputs))


def _input(n_features, n_bits):
    zeros = np.zeros(n_features, dtype=np.int64)
    return {"scale": np.ones(n_features), "zero_point": zeros, "n_bits": n_bits}


def _linear(weights):
    return {"kind": "linear", "weights": weights, "offset": np.zeros(len(weights), dtype=np.int64)}


def _output(n_outputs):
    return {"scale": np.ones(n_outputs), "offset": np.zeros(n_outputs)}
