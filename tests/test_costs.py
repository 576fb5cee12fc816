"""Estimates in notebooks say what they say in print."""

from __future__ import annotations

import pytest
from core_graphs import random_parts
from html_reading import Piece

from cipherfit import FheEstimate, IntegerGraph
from cipherfit.bfv import compile_graph, estimate_circuit
from cipherfit.costs import LayerCost

ESTIMATE = FheEstimate(
    backend="concrete", parameters="TFHE <b>", p_error=0.01, seconds_per_row=0.1234,
    layers=(LayerCost(16, 8, 6, "approximate"), LayerCost(4, 7, 7, "none")), output_bits=9,
    input_bytes=1_500, output_bytes=120, bootstrap_key_bytes=20_000_000,
    keyswitch_key_bytes=14_000_000,
)  # fmt: skip


def test_every_number_of_an_estimate_is_shown():
    read = Piece(ESTIMATE._repr_html_())
    assert read.facts == {
        "an encrypted row": "0.123 s on this machine (modelled)",
        "lookups, layer 1": "16 of 6 bits behind accumulators of 8 (approximate rounding)",
        "lookups, layer 2": "4 of 7 bits behind accumulators of 7 (none rounding)",
        "errors": "p_error 0.01 per lookup",
        "outputs": "9 bits",
        "concrete": "TFHE <b>",
        "keys that the server needs": "34 MB",
        "up, per row": "1.5 kB",
        "down, per row": "120 bytes",
    }
    assert all(
        number in str(ESTIMATE) for number in ("0.123 s", "34 MB", "1.5 kB", "120 bytes", "0.01")
    )


@pytest.mark.fhe
def test_without_lookups_none_are_shown_and_batches_are():
    graph = IntegerGraph.from_layers(**random_parts(5, (16, 3), 4, 15))
    estimate = estimate_circuit(compile_graph(graph), graph)
    facts = Piece(estimate._repr_html_()).facts
    assert (facts["lookups"], facts["errors"]) == ("none", "none")
    assert facts["bfv"] == estimate.parameters
    (batches,) = [value for name, value in facts.items() if name.startswith("in batches of")]
    assert batches in str(estimate)
