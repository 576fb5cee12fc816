"""A graph cut in two: the client's half and the server's are the whole, and each a graph itself."""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest
from core_graphs import graph_parts, random_features, random_parts
from hypothesis import given, settings

from cipherfit import IntegerGraph, twin
from cipherfit.exceptions import GraphError, InvalidInputError


def halves(parts):
    graph = IntegerGraph.from_layers(**parts)
    return [(graph, *graph.split(n)) for n in range(1, len(parts["layers"]) // 2 + 1)]


@given(graph_parts())
def test_the_twin_computes_both_halves(parts):
    X = random_features(parts, 65)
    for graph, client, server in halves(parts):
        between = twin.simulate(client.to_dict(), twin.quantize(client.to_dict(), X))
        np.testing.assert_array_equal(client.run(X), between)
        np.testing.assert_array_equal(twin.quantize(server.to_dict(), between), between)
        np.testing.assert_array_equal(server.quantize(between), between)
        np.testing.assert_array_equal(server.run(client.run(X)), graph.run(X))
        np.testing.assert_array_equal(twin.run(server.to_dict(), between), graph.run(X))


@given(graph_parts())
def test_the_twin_proves_both_halves(parts):
    for _, client, server in halves(parts):
        for half in (client, server):
            proven = [(layer.low, layer.high) for layer in half.prove().layers]
            np.testing.assert_equal(proven, twin.prove(half.to_dict()))


@pytest.mark.parametrize("seed", range(20))
def test_halves_are_the_whole_on_every_input(seed):
    parts = random_parts(seed, (3, 4, 3, 2), n_bits=2, lsbs=seed % 3)
    codes = np.array(list(itertools.product(range(4), repeat=3)), dtype=np.uint16)
    for graph, client, server in halves(parts):
        between = client.simulate(codes)
        np.testing.assert_array_equal(server.simulate(between), graph.simulate(codes))
        np.testing.assert_array_equal(graph.simulate(codes), twin.simulate(parts, codes))


@pytest.mark.parametrize("weight", [3, 40])
def test_halves_are_the_whole_on_a_million_rows(weight):
    parts = random_parts(2, (20, 16, 12, 3), n_bits=4, weight=weight, lsbs=2)
    codes = np.random.default_rng(0).integers(0, 16, (1_000_000, 20), dtype=np.uint16)
    for graph, client, server in halves(parts):
        between = client.simulate(codes).astype(np.uint16)
        assert np.array_equal(server.simulate(between), graph.simulate(codes))


def test_the_servers_inputs_are_the_clients_tables():
    _, client, server = halves(random_parts(0))[0]
    tables = client.to_dict()["layers"][-1]["tables"]
    quantizer = server.to_dict()["input"]
    assert quantizer["low"].tolist() == [table.min() for table in tables]
    assert quantizer["high"].tolist() == [table.max() for table in tables]
    beyond = quantizer["high"][None].copy()
    beyond[0, 1] += 1
    with pytest.raises(InvalidInputError, match=rf"code {beyond[0, 1]} at row 0, column 1 is outs"):
        server.simulate(beyond)


def test_client_layers_are_what_a_graph_is_cut_at_by_default():
    graph = IntegerGraph.from_layers(**random_parts(0, (6, 5, 4, 3), n_client_layers=2))
    assert graph.n_client_layers == 2
    assert graph.n_lookups == 0
    assert graph.split() == graph.split(2)
    assert "2 layers in clear at the client, 0 lookups" in repr(graph)
    client, server = graph.split(1)
    assert (client.n_client_layers, server.n_client_layers) == (1, 1)
    assert (client.ends_in_codes, server.ends_in_codes) == (True, False)
    assert pickle.loads(pickle.dumps(client)) == client


@settings(max_examples=20)
@given(graph_parts())
def test_client_layers_never_err(parts):
    graph = IntegerGraph.from_layers(**parts)
    codes = graph.quantize(random_features(parts, 40))
    noisy = graph.simulate(codes, p_error=0.4, seed=3)
    if not graph.n_client_layers:
        return
    client, server = graph.split()
    between = client.simulate(codes, p_error=0.4, seed=3)
    np.testing.assert_array_equal(between, client.simulate(codes))
    np.testing.assert_array_equal(noisy, server.simulate(between, p_error=0.4, seed=3))


def test_a_graph_that_has_no_client_layer_wants_to_know_where_to_be_cut():
    graph = IntegerGraph.from_layers(**random_parts(0))
    with pytest.raises(GraphError, match=r"n must be in \[1, 1\], got 0"):
        graph.split()
    with pytest.raises(GraphError, match="there is no lookup"):
        IntegerGraph.from_layers(**random_parts(0, (4, 3))).split(1)
    with pytest.raises(GraphError, match=r"n_client_layers must be in \[0, 1\], got 2"):
        IntegerGraph.from_layers(**random_parts(0, n_client_layers=2))


def test_the_halves_hold_nothing_of_each_other():
    """Weights and tables are searched for as they would be stored."""
    parts = random_parts(4, (40, 12, 5), n_bits=6, weight=900, lsbs=4)
    _, client, server = halves(parts)[0]
    first, lookup, last = parts["layers"]
    secret, public = last["weights"][last["weights"] != 0], first["weights"][first["weights"] != 0]
    assert stored(secret) in server.to_bytes()
    assert stored(public) in client.to_bytes()
    assert stored(secret)[:8] not in client.to_bytes()
    assert stored(public)[:8] not in server.to_bytes()
    assert bytes(stored(lookup["tables"][0], signed=False)[:8]) not in server.to_bytes()


def stored(values, *, signed=True) -> bytes:
    """Integers as a stored graph has them: docs/format.md."""
    written = bytearray()
    for value in map(int, values):
        left = (2 * value if value >= 0 else -2 * value - 1) if signed else value
        while left >= 128:
            written.append(left % 128 + 128)
            left //= 128
        written.append(left)
    return bytes(written)
