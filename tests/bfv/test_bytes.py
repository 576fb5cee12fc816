"""What travels is BFV, as a reader written from the paper finds; and it holds nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from bfv_oracle import Oracle, chacha20
from core_graphs import random_parts

from cipherfit import IntegerGraph
from cipherfit.bfv import compile_graph


def test_the_oracles_key_stream_is_that_of_rfc_8439():
    stream = chacha20(bytes(range(32)), bytes.fromhex("000000090000004a00000000"), 2)
    assert stream[64:80].hex() == "10f1e7e4d13b5915500fdd1fa32071c4"


@pytest.mark.parametrize(
    ("sizes", "n_bits", "weight", "rows", "flooding_bits"),
    [
        ((30, 7), 4, 15, 1, None),
        ((30, 7), 4, 15, 9, None),
        ((3, 2), 2, 3, 2048, None),
        ((30, 7), 16, 2**15, 2, None),
        ((30, 7), 4, 15, 3, 40),
        ((3000, 2), 4, 15, 1, None),
    ],
)
def test_an_independent_decryption_finds_codes_sums_and_no_more_noise_than_proven(
    sizes, n_bits, weight, rows, flooding_bits
):
    graph = IntegerGraph.from_layers(**random_parts(1, sizes, n_bits, weight))
    circuit = compile_graph(graph, flooding_bits=flooding_bits)
    circuit.keygen()
    oracle = Oracle(circuit.parameters, circuit.client.serialize_secret_key())
    noise = oracle.public_key_noise(circuit.client.evaluation_keys.serialize())
    assert max(map(abs, noise)) <= 21
    assert np.var(noise) == pytest.approx(10.5, rel=0.2)

    codes = np.random.default_rng(0).integers(0, 2**n_bits, (rows, sizes[0]))
    encrypted = circuit.encrypt(codes)
    found, largest = oracle.codes(encrypted.serialize())
    assert np.array_equal(found, codes)
    assert largest <= 21

    answer = circuit.run(encrypted)
    found, largest = oracle.sums(answer.serialize())
    assert np.array_equal(found, graph.simulate(codes))
    assert np.array_equal(found, circuit.decrypt(answer))
    # Half a step is the limit of what is proven; flooding fills it, or its 128 bits' share.
    assert oracle.scale // 16 < largest < oracle.scale // 2


def test_public_parameters_depend_on_sizes_and_widths_alone():
    parts = random_parts(1, (20, 4), 4, 15)
    other = random_parts(1, (20, 4), 4, 15)
    linear = other["layers"][0]
    linear["weights"] = -linear["weights"][:, ::-1]
    linear["offset"] = -linear["offset"]
    specs = [
        compile_graph(IntegerGraph.from_layers(**each)).server.specs for each in (parts, other)
    ]
    assert specs[0] == specs[1]


def windows(data: bytes, size: int) -> set[bytes]:
    return {data[start : start + size] for start in range(len(data) - size + 1)}


def test_neither_weights_nor_secret_keys_are_in_what_the_other_party_gets():
    parts = random_parts(1, (40, 4), 4, 15)
    graph = IntegerGraph.from_layers(**parts)
    circuit = compile_graph(graph)
    encrypted = circuit.encrypt(np.full(40, 3))
    answer = circuit.run(encrypted)
    client, server = circuit.client, circuit.server
    weights = graph.to_dict()["layers"][0]["weights"]
    packings = [weights.astype(kind).tobytes() for kind in ("i1", "<i2", "<i4", "<i8")]
    stored = [server.serialize(), graph.to_bytes(), *packings]
    secret = client.serialize_secret_key()
    oracle = Oracle(circuit.parameters, secret)
    trits = [value if value < 2 else -1 for value in oracle.secret]
    secrets = [secret[-32:], *(np.array(trits, kind).tobytes() for kind in ("i1", "<i2", "<i8"))]

    # Eight bytes meet by chance once in 10^13; heads of messages are alike, and in neither set.
    of_server = set().union(*(windows(data[17:], 8) for data in stored)) - {bytes(8)}
    for data in (client.specs[17:], answer.serialize()[55:]):
        assert not windows(data, 8) & of_server
    of_client = set().union(*(windows(data, 8) for data in secrets)) - {bytes(8)}
    for data in (client.evaluation_keys.serialize(), encrypted.serialize()):
        assert not windows(data, 8) & of_client
    assert windows(server.serialize(), 8) & of_server, "the search finds"
    assert windows(secret, 8) & of_client, "the search finds"


def test_the_same_row_is_never_encrypted_the_same_way():
    circuit = compile_graph(IntegerGraph.from_layers(**random_parts(1, (20, 4), 4, 15)))
    row = np.full(20, 3)
    requests = [circuit.encrypt(row).serialize() for _ in range(2)]
    assert not windows(requests[0][55:], 8) & windows(requests[1][55:], 8)
    encrypted = circuit.encrypt(row)
    answers = [circuit.run(encrypted).serialize() for _ in range(2)]
    assert not windows(answers[0][55:], 8) & windows(answers[1][55:], 8)
