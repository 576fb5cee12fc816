"""No input leaves the proven intervals of a lowered network: enumerated, random, adversarial."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from samples import calibrated_network, fitted

from cipherfit import lower


def accumulators(graph, codes):
    """Yield each linear layer's accumulators, written out from the graph's definition."""
    values = np.asarray(codes, dtype=np.int64)
    layers = graph.to_dict()["layers"]
    for linear, lookup in zip(layers[::2], [*layers[1::2], None], strict=True):
        acc = values @ linear["weights"].T + linear["offset"]
        yield acc
        if lookup is None:
            continue
        half = 1 << lookup["lsbs"] >> 1
        index = (acc - lookup["low"] + half) >> lookup["lsbs"]
        columns = []
        for neuron, table in enumerate(lookup["tables"]):
            assert index[:, neuron].min() >= 0
            assert index[:, neuron].max() < len(table)
            columns.append(table[index[:, neuron]])
        values = np.stack(columns, axis=1)


def assert_within_proof(graph, codes, n_accum_bits=8):
    proofs = graph.prove().layers
    for number, (proof, acc) in enumerate(zip(proofs, accumulators(graph, codes), strict=True)):
        assert (acc >= proof.low).all(), f"layer {number}"
        assert (acc <= proof.high).all(), f"layer {number}"
        assert (proof.high - proof.low).max() <= 2**n_accum_bits - 1


def small_graph(seed, **options):
    options = {"n_hidden_neurons": 4, "n_a_bits": 2, "n_in_bits": 2, "n_w_bits": 3, **options}
    return lower(calibrated_network(5, seed=seed, **options)[0])


@pytest.mark.parametrize("seed", range(10))
def test_every_input_of_a_small_network_stays_within_its_proof(seed):
    graph = small_graph(seed)
    codes = np.array(list(product(range(4), repeat=5)))
    assert_within_proof(graph, codes)
    first = next(iter(accumulators(graph, codes)))
    proof = graph.prove().layers[0]
    assert np.array_equal(first.min(axis=0), proof.low), "the first layer's bounds are not tight"
    assert np.array_equal(first.max(axis=0), proof.high), "the first layer's bounds are not tight"


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer", "digits", "diabetes"])
def test_witnesses_bring_the_first_layer_of_trained_networks_to_its_ends(name):
    graph = fitted(name, 3).graph_
    at_low, at_high = graph.prove().witnesses()
    proof = graph.prove().layers[0]
    lowest = next(accumulators(graph, at_low))
    highest = next(accumulators(graph, at_high))
    assert np.array_equal(np.diag(lowest), proof.low)
    assert np.array_equal(np.diag(highest), proof.high)
    assert_within_proof(graph, np.concatenate([at_low, at_high]))


@pytest.mark.parametrize(("name", "n_layers"), [("iris", 4), ("digits", 3)])
def test_a_million_random_rows_stay_within_the_proof(name, n_layers):
    graph = fitted(name, n_layers).graph_
    rng = np.random.default_rng(0)
    for _ in range(10):
        shape = (100_000, graph.n_features)
        codes = rng.integers(0, 8, shape)
        codes[::2] = 7 * (codes[::2] > 3)  # corners of the input's cube
        assert_within_proof(graph, codes)


def climb(graph, neuron, sign, start):
    """Push one output accumulator as far as changing one feature at a time can."""
    codes, top = start.copy(), 2**graph.n_bits
    for feature in range(graph.n_features):
        candidates = np.repeat(codes[None], top, axis=0)
        candidates[:, feature] = np.arange(top)
        codes = candidates[(sign * graph.simulate(candidates)[:, neuron]).argmax()]
    return codes


@pytest.mark.parametrize("name", ["wine", "digits"])
def test_adversarial_rows_stay_within_the_proof(name):
    graph = fitted(name, 3).graph_
    rng = np.random.default_rng(0)
    rows = [
        climb(graph, neuron, sign, rng.integers(0, 8, graph.n_features))
        for neuron in range(graph.n_outputs)
        for sign in (-1, 1)
    ]
    codes = np.array(rows)
    assert_within_proof(graph, codes)
    outputs = graph.simulate(codes)
    ends = outputs[np.arange(len(rows)), np.repeat(np.arange(graph.n_outputs), 2)]
    assert (ends[1::2] > ends[::2]).all(), "the climb found nothing to push"


@given(
    seed=st.integers(0, 2**32),
    spread=st.floats(0.1, 20),
    lookup_bits=st.none() | st.integers(1, 8),
    codes=npst.arrays(np.int64, (20, 5), elements=st.integers(0, 3)),
)
def test_no_codes_leave_the_proof_of_any_network(seed, spread, lookup_bits, codes):
    graph = small_graph(seed, spread=spread, n_lookup_bits=lookup_bits)
    assert_within_proof(graph, codes)
