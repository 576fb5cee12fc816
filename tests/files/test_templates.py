"""What messages of a model look like, as a file: whose it is, and what is no such file."""

from __future__ import annotations

import json

import pytest
from core_graphs import random_parts

from cipherfit import IntegerGraph, compile_graph
from cipherfit.bfv import compile_graph as compile_linear
from cipherfit.exceptions import InvalidInputError, SerializationError
from cipherfit.fhe.messages import Templates
from cipherfit.files.templates import read_templates, templates_file


def linear(n_features):
    return compile_linear(IntegerGraph.from_layers(**random_parts(3, (n_features, 3), 4, 15)))


@pytest.fixture(scope="module")
def circuit():
    return linear(6)


@pytest.fixture(scope="module")
def data(circuit):
    return templates_file(circuit)


def test_a_circuit_without_lookups_needs_none(data, circuit):
    assert read_templates(data, circuit) is None
    assert json.loads(data)["templates"] is None


def test_templates_of_other_parameters_are_refused(data):
    with pytest.raises(InvalidInputError, match="templates are of another model"):
        read_templates(data, linear(7))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: b"", "no JSON"),
        (lambda data: data[:-1], "no JSON"),
        (lambda data: b"\xff" + data, "no JSON"),
        (lambda data: b"[" * 100_000, "no JSON"),
        (lambda data: b"[]", "must have format, specs and templates"),
        (lambda data: data.replace(b"specs", b"spec"), "must have format, specs and templates"),
        (lambda data: data.replace(b'"format":1', b'"format":2'), "have format 2"),
    ],
)
def test_what_is_no_file_of_templates_is_refused(data, circuit, change, message):
    with pytest.raises(SerializationError, match=message):
        read_templates(change(data), circuit)


@pytest.mark.fhe
def test_templates_of_lookups_are_those_of_the_circuit():
    graph = IntegerGraph.from_layers(**random_parts(1, (3, 2, 2), 2, 3))
    circuit = compile_graph(graph, p_error=1e-9)
    data = templates_file(circuit)
    assert read_templates(data, circuit) == Templates.of(circuit)
    record = json.loads(data)
    record["templates"] = None
    with pytest.raises(SerializationError, match="templates must be those of"):
        read_templates(json.dumps(record).encode(), circuit)
