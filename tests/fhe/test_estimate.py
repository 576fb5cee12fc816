"""Estimates of what encrypted runs cost."""

import numpy as np
import pytest

from cipherfit import IntegerGraph, NeuralNetClassifier, compile_graph
from cipherfit.exceptions import CipherfitWarning, NotFittedError
from cipherfit.fhe.estimate import (
    estimate_circuit,
    machine_factor,
    modelled_seconds,
)
from cipherfit.fhe.latency import reference_seconds

RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, 5))
Y = (X[:, 0] + X[:, 1] > 0).astype(int)


@pytest.fixture(scope="module")
def model():
    return NeuralNetClassifier(
        module__n_hidden_neurons=[6], module__n_accum_bits=7, module__n_lookup_bits=5,
        random_state=0, verbose=0, max_epochs=2,
    ).fit(X, Y)  # fmt: skip


@pytest.mark.fhe
def test_an_estimate_needs_neither_compilation_nor_keys_of_the_model(model):
    estimate = model.estimate_fhe()
    assert model.fhe_circuit is None
    (layer,) = estimate.layers
    proofs = model.graph_.prove().layers
    assert layer.n_lookups == estimate.n_lookups == model.graph_.n_lookups
    assert layer.accumulator_bits == proofs[0].bits
    assert estimate.output_bits == proofs[1].bits
    assert estimate.p_error == pytest.approx(0.01, rel=0.05)
    text = str(estimate)
    assert text.startswith(f"{layer.n_lookups} lookups of {layer.lookup_bits} bits behind")
    keys = estimate.bootstrap_key_bytes + estimate.keyswitch_key_bytes
    assert f"keys {keys / 1e6:.0f} MB" in text


@pytest.mark.fhe
def test_sizes_are_those_of_the_real_keys_and_ciphertexts(model):
    circuit = model.compile()
    estimate = model.estimate_fhe()
    circuit.keygen()
    encrypted = circuit.encrypt(np.zeros(5, dtype=np.int64))
    # Compressed inputs are so small that what is written around them counts.
    assert len(encrypted.serialize()) == pytest.approx(estimate.input_bytes, abs=300)
    assert estimate.input_bytes < 1000
    keys = estimate.bootstrap_key_bytes + estimate.keyswitch_key_bytes
    # They are sent with half of the bootstrap keys' bytes, and have all of them in memory.
    sent = estimate.bootstrap_key_bytes / 2 + estimate.keyswitch_key_bytes
    assert len(circuit.keys.evaluation.serialize()) == pytest.approx(sent, rel=0.05)
    assert estimate.memory_bytes == keys + estimate.input_bytes + estimate.output_bytes


@pytest.mark.fhe
def test_much_rarer_errors_cost_more(model):
    seconds = [model.estimate_fhe(p_error=p).seconds_per_row for p in (0.01, 1e-9)]
    assert seconds[1] > seconds[0]


@pytest.mark.fhe
def test_seconds_are_those_of_the_modelled_machine_times_how_much_slower_this_one_is(model):
    circuit = model.compile()
    # The machine is measured once per process: again, it would be another number.
    expected = machine_factor() * reference_seconds(circuit)
    assert model.estimate_fhe().seconds_per_row == expected
    assert modelled_seconds(model.graph_) == reference_seconds(circuit)


def test_an_unfitted_model_is_not_estimated():
    with pytest.raises(NotFittedError, match="estimate_fhe"):
        NeuralNetClassifier().estimate_fhe()


def test_large_keys_are_announced_with_the_layer_to_blame():
    unit, zeros = np.eye(2, dtype=np.int64), np.zeros(2, dtype=np.int64)
    graph = IntegerGraph.from_layers(
        {"scale": np.ones(2), "zero_point": zeros, "n_bits": 10},
        [
            {"kind": "linear", "weights": unit, "offset": zeros},
            {"kind": "lookup", "low": zeros, "lsbs": 0, "exact": True,
             "tables": [np.arange(1024) // 256] * 2},
            {"kind": "linear", "weights": unit, "offset": zeros},
        ],
        {"scale": np.ones(2), "offset": np.zeros(2)},
    )  # fmt: skip
    with pytest.warns(CipherfitWarning, match="layer 0 has lookups of 10 bits"):
        circuit = compile_graph(graph, p_error=1e-5)
    assert estimate_layers(circuit, graph) == ("none", 10)


def estimate_layers(circuit, graph):
    (layer,) = estimate_circuit(circuit, graph).layers
    return layer.rounding, layer.lookup_bits
