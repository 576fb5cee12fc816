"""Graphs and certificates in notebooks: the numbers are theirs, and nothing heavy is imported."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from core_graphs import random_parts
from html_reading import Piece

from cipherfit import IntegerGraph


@pytest.fixture(params=[0, 1])
def graph(request):
    return IntegerGraph.from_layers(
        **random_parts(1, sizes=(6, 5, 4, 3), n_client_layers=request.param)
    )


def test_a_graph_shows_its_layers_who_computes_them_and_their_proof(graph):
    read = Piece(graph._repr_html_())
    assert "IntegerGraph 6 -> 5 -> 4 -> 3" in read.text
    assert read.facts == {
        "inputs": "6 codes of 3 bits",
        "encrypted lookups per row": str(graph.n_lookups),
        "digest": graph.digest,
    }
    layers = graph.to_dict()["layers"][::2]
    for number, (row, layer, proof) in enumerate(
        zip(read.rows, layers, graph.prove().layers, strict=True)
    ):
        assert row["layer"] == str(number)
        in_clear = number < graph.n_client_layers
        assert row["computed by"] == ("client, in clear" if in_clear else "server, encrypted")
        assert row["neurons"] == str(len(layer["offset"]))
        weights = layer["weights"]
        assert row["weights not 0"] == f"{np.count_nonzero(weights)} of {weights.size}"
        assert row["accumulators in"] == f"[{proof.low.min()}, {proof.high.max()}]"
        assert row["bits"] == str(proof.bits)
        reads = "no lookup" if number == 2 else f"{proof.lookup_bits} bits"
        assert row["lookups read"] == reads
        widths = proof.high - proof.low
        assert read.labels[number].startswith(
            f"widths of {len(widths)} accumulators, from {widths.min()} to {widths.max()};"
        )


def test_a_certificate_shows_what_it_proves(graph):
    certificate = graph.prove()
    read = Piece(certificate._repr_html_())
    assert f"at most {certificate.max_accumulator_bits} bits" in read.text
    assert read.facts == {"digest of the graph": graph.digest}
    assert [row["bits"] for row in read.rows] == [str(layer.bits) for layer in certificate.layers]
    assert [row["weights not 0"] for row in read.rows] == [
        str(layer.nonzeros.sum()) for layer in certificate.layers
    ]
    assert len(read.labels) == 3


def test_a_graph_that_ends_in_codes_is_shown(graph):
    client, _ = graph.split(2)
    read = Piece(client._repr_html_())
    assert [row["lookups read"].endswith("bits") for row in read.rows] == [True, True]


def test_nothing_heavy_is_imported_to_show_them():
    code = (
        "import sys, numpy as np; from cipherfit import IntegerGraph, Predictor\n"
        "from cipherfit.predictor.targets import RealTargets\n"
        "ones = np.ones(2)\n"
        "linear = {'kind': 'linear', 'weights': np.eye(2, dtype=int), 'offset': [0, 0]}\n"
        "graph = IntegerGraph.from_layers(\n"
        "    {'scale': ones, 'zero_point': [0, 0], 'n_bits': 2}, [linear],\n"
        "    {'scale': ones, 'offset': ones},\n"
        ")\n"
        "predictor = Predictor(graph, RealTargets(2, flat=False))\n"
        "for shown in (graph, graph.prove(), predictor):\n"
        "    assert shown._repr_html_()\n"
        "heavy = {'torch', 'sklearn', 'concrete', 'matplotlib', 'jinja2', 'markupsafe'}\n"
        "print(heavy & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600)
    assert run.stdout == "set()\n", run.stdout + run.stderr
