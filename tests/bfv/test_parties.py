"""Client and server share public parameters, and no secret."""

from __future__ import annotations

import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from core_graphs import random_parts

from cipherfit import IntegerGraph
from cipherfit.bfv import BfvCiphertext, BfvClient, BfvEvaluationKeys, BfvServer, compile_graph
from cipherfit.exceptions import CipherfitError, InvalidInputError, SerializationError

CODES = np.arange(12).reshape(2, 6)


@pytest.fixture(scope="module")
def graph():
    return IntegerGraph.from_layers(**random_parts(3, (6, 3), 4, 15))


@pytest.fixture(scope="module")
def server(graph):
    return compile_graph(graph).server


def test_both_parties_work_from_bytes_alone(graph, server):
    stored = server.serialize()
    client = BfvClient.deserialize(server.specs)
    sent = client.encrypt(CODES).serialize()
    keys = client.evaluation_keys.serialize()

    remote = BfvServer.deserialize(stored)
    assert remote.specs == server.specs
    answers = [
        remote.run(BfvCiphertext.deserialize(sent), BfvEvaluationKeys.deserialize(keys)),
        remote.run(sent, keys),
    ]
    for answer in answers:
        assert np.array_equal(client.decrypt(answer.serialize()), graph.simulate(CODES))
    row = remote.run(client.encrypt(CODES[1]), keys)
    assert np.array_equal(client.decrypt(row), graph.simulate(CODES)[1])


def test_a_secret_key_that_is_restored_decrypts(graph, server):
    first, second = BfvClient(server.specs), BfvClient(server.specs)
    answer = server.run(first.encrypt(CODES), first.evaluation_keys)
    with pytest.raises(InvalidInputError, match="the answer was made under other keys"):
        second.decrypt(answer)
    second.restore_secret_key(first.serialize_secret_key())
    assert np.array_equal(second.decrypt(answer), graph.simulate(CODES))
    assert second.evaluation_keys == first.evaluation_keys


def test_keys_are_kept_until_new_ones_are_asked_for(server):
    client = BfvClient(server.specs)
    with pytest.raises(CipherfitError, match=r"has no keys yet; make them with keygen\(\)"):
        client.serialize_secret_key()
    client.keygen()
    keys = client.evaluation_keys
    client.keygen()
    assert client.evaluation_keys == keys
    client.keygen(force=True)
    assert client.evaluation_keys != keys


def test_secret_keys_are_in_no_pickle_and_no_repr(server):
    client = BfvClient(server.specs)
    client.keygen()
    secret = client.serialize_secret_key()[-32:]
    assert not pickle.loads(pickle.dumps(client)).has_keys
    for shown in (pickle.dumps(client), repr(client).encode(), repr(vars(client)).encode()):
        assert secret[:6] not in shown
        assert repr(secret[:6]).encode()[2:-1] not in shown
    assert "with keys" in repr(client)


def test_servers_are_pickled_with_their_weights(graph, server):
    client = BfvClient(server.specs)
    copy = pickle.loads(pickle.dumps(server))
    answer = copy.run(client.encrypt(CODES), client.evaluation_keys)
    assert np.array_equal(client.decrypt(answer), graph.simulate(CODES))
    assert repr(copy) == "BfvServer(6 features, 3 outputs, N=2048)"


@pytest.mark.parametrize("read", [
    BfvClient.deserialize,
    BfvServer.deserialize,
    lambda data: BfvClient(SERVER.specs).restore_secret_key(data),
    lambda data: BfvClient(SERVER.specs).decrypt(data),
    lambda data: SERVER.run(data, BfvClient(SERVER.specs).evaluation_keys),
    lambda data: SERVER.run(b"", data),
])  # fmt: skip
@pytest.mark.parametrize("data", [b"", b"cipherfit-bfv\n", bytes(99), b"cipherfit-bfv\n\1\0\7" * 9])
def test_bytes_that_are_no_message_are_errors(read, data):
    with pytest.raises(SerializationError):
        read(data)


SERVER = compile_graph(IntegerGraph.from_layers(**random_parts(3, (6, 3), 4, 15))).server


def test_mutated_messages_are_errors_or_answered(server):
    client = BfvClient(server.specs)
    keys = client.evaluation_keys.serialize()
    request = client.encrypt(CODES).serialize()
    answer = server.run(request, keys).serialize()
    rng = np.random.default_rng(0)
    outcomes = {True: 0, False: 0}
    for _ in range(300):
        for data, use in (
            (request, lambda data: server.run(data, keys)),
            (answer, client.decrypt),
            (keys, lambda data: server.run(request, data)),
        ):
            mutated = bytearray(data)
            at = rng.integers(0, len(data) if rng.random() < 0.5 else 60)
            mutated[at] = rng.integers(0, 256)
            try:
                use(bytes(mutated))
                outcomes[True] += 1
            except (SerializationError, InvalidInputError):
                outcomes[False] += 1
    assert min(outcomes.values()) > 100


def test_threads_share_a_client_and_a_server(graph, server):
    client = BfvClient(server.specs)

    def answered(seed: int) -> bool:
        codes = np.random.default_rng(seed).integers(0, 16, (20, 6))
        answer = server.run(client.encrypt(codes), client.evaluation_keys)
        return np.array_equal(client.decrypt(answer), graph.simulate(codes))

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(answered, range(40)))


FORKED = """
import os, numpy as np
from cipherfit import IntegerGraph
from cipherfit.bfv import compile_graph
ones = np.ones(3, dtype=int)
graph = IntegerGraph.from_layers(
    {"scale": ones, "zero_point": 0 * ones, "n_bits": 4},
    [{"kind": "linear", "weights": [[1, 2, 3]], "offset": [4]}],
    {"scale": [1.0], "offset": [0.0]},
)
circuit = compile_graph(graph)
circuit.encrypt(ones)
read, write = os.pipe()
if os.fork() == 0:
    assert circuit.encrypt_run_decrypt(ones).tolist() == [10]
    os.write(write, circuit.encrypt(ones).serialize()[55:87])
    os._exit(0)
child = os.read(read, 32)
assert os.wait()[1] == 0
assert len(child) == 32 and child != circuit.encrypt(ones).serialize()[55:87]
import sys
assert not {"torch", "concrete", "skorch", "sklearn", "tqdm"} & set(sys.modules)
"""


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="this system doesn't fork")
def test_a_forked_process_draws_other_numbers_and_nothing_heavy_is_imported():
    subprocess.run([sys.executable, "-c", FORKED], check=True, timeout=600)
