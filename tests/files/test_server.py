"""The server's step: what it computes, and whose messages it refuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from core_graphs import random_parts

from cipherfit import IntegerGraph, Predictor
from cipherfit.bfv import BfvClient
from cipherfit.exceptions import InvalidInputError, SerializationError
from cipherfit.files.messages import Kind, Message
from cipherfit.files.server import run_message
from cipherfit.predictor.targets import RealTargets
from cipherfit.serve.frames import pack

CODES = np.arange(12).reshape(2, 6)


@pytest.fixture(scope="module")
def predictor():
    graph = IntegerGraph.from_layers(**random_parts(3, (6, 3), 4, 15))
    return Predictor(graph, RealTargets(3, flat=False))


@pytest.fixture(scope="module")
def client(predictor):
    client = BfvClient(predictor.compile().server.specs)
    client.keygen()
    return client


@pytest.fixture
def keys(predictor, client):
    return Message.of_keys(predictor.graph.digest, client.evaluation_keys.serialize())


@pytest.fixture
def rows(client, keys):
    return Message(Kind.ROWS, keys.model, keys.key, pack([client.encrypt(CODES).serialize()]), 2)


def test_the_answers_are_what_the_graph_computes(predictor, client, rows, keys):
    answers = run_message(predictor, rows, keys)
    assert (answers.kind, answers.model) == (Kind.ANSWERS, keys.model)
    assert (answers.key, answers.n_rows) == (keys.key, 2)
    (frame,) = answers.frames()
    assert np.array_equal(client.decrypt(frame), predictor.graph.simulate(CODES))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda rows, keys: (replace(rows, model="0" * 64), keys), InvalidInputError,
         "the encrypted rows belong to the model 00"),
        (lambda rows, keys: (rows, replace(keys, model="0" * 64)), InvalidInputError,
         "the evaluation keys belong to the model 00"),
        (lambda rows, keys: (replace(rows, key="0" * 64), keys), InvalidInputError,
         "the encrypted rows were made under the keys 00"),
        (lambda rows, keys: (replace(rows, body=pack([b"a", b"b"])), keys),
         InvalidInputError, "are 2 frames, and BFV puts all rows in one"),
        (lambda rows, keys: (replace(rows, body=pack([b"a"])), keys), SerializationError,
         "the first bytes are not"),
        (lambda rows, keys: (replace(rows, body=b"\1\0\0\0"), keys), SerializationError,
         "the body ends at 4 bytes, within a length"),
        (lambda rows, keys: (rows, replace(keys, body=keys.body[:-1])), SerializationError,
         "public key"),
    ],
)  # fmt: skip
def test_messages_of_others_and_damaged_ones_are_refused(
    predictor, rows, keys, change, error, message
):
    with pytest.raises(error, match=message):
        run_message(predictor, *change(rows, keys))
