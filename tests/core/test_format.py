"""The specification of stored graphs says what the bytes are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from core_graphs import graph_parts, random_parts
from hypothesis import given
from hypothesis import strategies as st

from cipherfit import IntegerGraph
from cipherfit.exceptions import SerializationError

SPECIFICATION = (Path(__file__).parents[2] / "docs/format.md").read_text()

#: The graph of the specification's example.
EXAMPLE: dict[str, Any] = {
    "input": {"scale": [0.5, 0.25], "zero_point": [-1, 2], "n_bits": 2},
    "layers": [
        {"kind": "linear", "weights": [[2, -1]], "offset": [3]},
        {"kind": "lookup", "low": [0], "lsbs": 1, "exact": False, "tables": [[0, 0, 1, 2, 300, 3]]},
        {"kind": "linear", "weights": [[-7]], "offset": [0]},
    ],
    "output": {"scale": [0.1], "offset": [-1.0]},
    "n_client_layers": 0,
}


@pytest.fixture(scope="module")
def read_graph():
    """Return the specification's own reader."""
    names: dict[str, Any] = {}
    exec(re.search(r"```python\n(.*?)```", SPECIFICATION, re.DOTALL)[1], names)
    return names["read_graph"]


def example_bytes() -> bytes:
    lines = re.search(r"```text\n(63 .*?)```", SPECIFICATION, re.DOTALL)[1].splitlines()
    return bytes.fromhex("".join(line.partition("#")[0] for line in lines))


def assert_same(left: Any, right: Any) -> None:
    if isinstance(left, dict):
        assert left.keys() == right.keys()
        left, right = list(left.values()), list(right.values())
    if isinstance(left, list):
        assert len(left) == len(right)
        for one, other in zip(left, right, strict=True):
            assert_same(one, other)
    else:
        np.testing.assert_array_equal(left, right)


def test_the_examples_bytes_are_those_of_its_graph(read_graph):
    graph = IntegerGraph.from_layers(**EXAMPLE)
    assert graph.to_bytes() == example_bytes()
    assert IntegerGraph.from_bytes(example_bytes()) == graph
    assert_same(read_graph(example_bytes()), graph.to_dict())


@given(graph_parts())
def test_a_reader_written_from_the_specification_reads_every_graph(read_graph, parts):
    graph = IntegerGraph.from_layers(**parts)
    read = read_graph(graph.to_bytes())
    assert_same(read, graph.to_dict())
    assert IntegerGraph.from_layers(**read) == graph


@given(graph_parts())
def test_it_reads_both_halves_of_a_graph_that_is_cut(read_graph, parts):
    graph = IntegerGraph.from_layers(**parts)
    for n in range(1, len(parts["layers"]) // 2 + 1):
        for half in graph.split(n):
            read = read_graph(half.to_bytes())
            assert_same(read, half.to_dict())
            assert IntegerGraph.from_layers(**read) == half


@given(graph_parts(), st.data())
def test_what_the_specifications_reader_refuses_is_refused(read_graph, parts, data):
    damaged = bytearray(IntegerGraph.from_layers(**parts).to_bytes())
    damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    damaged = damaged[: data.draw(st.integers(1, len(damaged)))]
    try:
        read_graph(bytes(damaged))
    except (ValueError, IndexError):
        with pytest.raises(SerializationError):
            IntegerGraph.from_bytes(bytes(damaged))


def replaced(old: str, new: str) -> bytes:
    """Return the example with some bytes replaced, which occur once."""
    data, old_bytes = example_bytes(), bytes.fromhex(old)
    assert data.count(old_bytes) == 1
    return data.replace(old_bytes, bytes.fromhex(new))


@pytest.mark.parametrize(
    ("rule", "data"),
    [
        (1, replaced("67 72 61 70 68 0a", "67 72 61 70 68 20")),
        (1, replaced("0a 01 00 02", "0a 02 00 02")),
        (2, example_bytes()[:-1]),
        (2, example_bytes() + b"\0"),
        (3, replaced("01 00 01 00 01 06", "01 00 01 02 01 06")),  # exact: 2
        (3, replaced("02 01 04 02 00 01", "02 01 04 02 02 01")),  # input codes: neither
        (3, replaced("ac 02", "ac 82 04")),  # a table's entry of 17 bits
        (4, replaced("02 01 04 02 00", "01 01 02 00")),  # one zero point for two features
        (5, replaced("02 01 04 02 00", "02 01 04 11 00")),  # 17 bits
        (6, replaced("e0 3f", "e0 bf")),  # a scale of -0.5
        (6, replaced("04 02 00 01", "04 02 01 02 00 02 02 03 01 01")),  # codes from 2 to 1
        (6, replaced("04 02 00 01", "04 02 01 02 00 00 02 03 04 01")),  # a code of 3 bits
        (7, replaced("03 01 01 01 01 01", "03 01 02 01 01 01")),  # two inputs of the head
        (8, replaced("01 02 02 00 01 02", "01 01 02 00 01 02")),  # row_ends: 1
        (9, replaced("02 00 01 02 04", "02 01 00 02 04")),  # columns 1, 0
        (9, replaced("02 04 01", "02 00 01")),  # a weight of 0
        (10, replaced("01 06 01 00", "01 ff ff ff ff ff ff ff ff 7f 01 00")),  # offset: -2^62
        (11, replaced("01 00 01 00 01 06", "01 00 3f 00 01 06")),  # lsbs: 63
        (12, replaced("01 06 01 00 01", "01 06 01 02 01")),  # low: 1
        (13, replaced("06 00 00 01 02 ac 02 03", "05 00 00 01 02 03")),  # 5 entries
        (14, replaced("f0 bf 00", "f0 7f 00")),  # an offset of infinity
        (15, replaced("f0 bf 00", "f0 bf 02")),  # two client layers of one
    ],
)
def test_bytes_that_break_a_rule_are_refused(rule, data):
    assert f"\n{rule}. " in SPECIFICATION
    with pytest.raises(SerializationError):
        IntegerGraph.from_bytes(data)


def test_integers_longer_than_needed_have_the_digest_of_the_shortest():
    longer = replaced("0a 01 00 02 00", "0a 01 00 82 00 00")
    graph = IntegerGraph.from_bytes(longer)
    assert graph.to_bytes() == example_bytes()


def test_a_lookup_that_rounds_nothing_is_stored_as_exact(read_graph):
    parts = random_parts(0, lsbs=0)
    parts["layers"][1]["exact"] = False
    assert read_graph(IntegerGraph.from_layers(**parts).to_bytes())["layers"][1]["exact"]
