"""The client's file has what a client needs, and nothing of the server's."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from model_files import client_bytes, parts_of
from samples import fitted, load

import cipherfit
from cipherfit import ClientModel
from cipherfit.exceptions import (
    InvalidInputError,
    InvalidParameterError,
    NotCompiledError,
    SerializationError,
)
from cipherfit.predictor import container
from cipherfit.stages import encrypted_part


def zigzag(weights: np.ndarray) -> bytes:
    """Return weights as a stored graph has them."""
    data = bytearray()
    for weight in weights[weights != 0].tolist():
        value = 2 * weight if weight > 0 else -2 * weight - 1
        while value >= 128:
            data.append(value % 128 + 128)
            value //= 128
        data.append(value)
    return bytes(data)


@pytest.mark.parametrize(
    ("table", "options"),
    [
        ("digits", {"n_layers": 1}),
        ("digits", {"n_client_layers": 1}),
        pytest.param("wine", {"n_hidden": 12}, marks=pytest.mark.fhe),
    ],
)
def test_the_clients_file_holds_no_weights_of_the_server(table, options, tmp_path):
    model = copy.deepcopy(fitted(table, **options))
    model.compile()
    model.save(tmp_path / "m.cipherfit")
    model.save_client(tmp_path / "client.cipherfit")
    served, client = (
        (tmp_path / name).read_bytes() for name in ("m.cipherfit", "client.cipherfit")
    )
    server = encrypted_part(model.graph_)
    for linear in server.to_dict()["layers"][::2]:
        stored = zigzag(linear["weights"])
        windows = {stored[at : at + 8] for at in range(len(stored) - 7)}
        assert len(windows) > 5
        assert all(window in served for window in windows)
        assert not any(window in client for window in windows)
    assert server.to_bytes()[18:] not in client
    X = load(table)[0]
    read = cipherfit.load_client(tmp_path / "client.cipherfit")
    assert read.digest == server.digest
    assert (read.n_features, read.n_codes) == (X.shape[1], server.n_features)
    codes = read.encode(X)
    assert codes.dtype == np.uint16
    sums = server.simulate(codes)
    np.testing.assert_array_equal(read.answer(sums), model.predict(X))
    np.testing.assert_array_equal(read.answer_proba(sums), model.predict_proba(X))


def test_a_clients_file_is_checked_as_a_models_is():
    data = client_bytes()
    other = client_bytes(1)
    assert ClientModel.from_bytes(data).to_bytes() == data == other
    kind, document, tensors = parts_of(data)
    wine = copy.deepcopy(fitted("wine", n_layers=1))
    specs = wine.compile().client.specs
    for changed, parts, message in [
        ({"backend": "tfhe"}, {}, "the back end 'tfhe' is unknown"),
        ({"digest": "0" * 63}, {}, "is no SHA-256"),
        ({"digest": None}, {}, "is no SHA-256"),
        ({"output": {}}, {}, "the output is not scales and offsets"),
        ({"output": {"offset": [0.0], "scale": [-1.0]}}, {}, "as many positive scales"),
        ({"output": {"offset": [0], "scale": [1.0]}}, {}, "not finite floats"),
        ({}, {"specs": specs}, "for 13 codes and 3 sums, the model has 4 and 3"),
        ({}, {"specs": b""}, "cipherfit-bfv|specs|bytes|magic|start"),
        ({"graph": "0" * 64}, {}, "whose digest is stored"),
    ]:
        forged = container.encode(kind, {**document, **changed}, {**tensors, **parts})
        with pytest.raises(SerializationError, match=message):
            ClientModel.from_bytes(forged)


def test_a_clients_file_needs_a_compiled_model(tmp_path):
    for model in (fitted("iris"), fitted("iris").predictor_):
        with pytest.raises(NotCompiledError, match="not yet compiled"):
            model.save_client(tmp_path / "client.cipherfit")
    assert not list(tmp_path.iterdir())


def test_sums_that_can_not_be_the_models_are_refused():
    client = ClientModel.from_bytes(client_bytes())
    for sums in (np.zeros((2, 4), int), np.zeros(3, int), np.zeros((2, 3))):
        with pytest.raises(InvalidInputError, match=r"must be integers of shape \(n_samples, 3\)"):
            client.answer(sums)
    with pytest.raises(InvalidInputError, match="X has 3 features"):
        client.encode(np.zeros((2, 3)))


def test_a_client_of_real_values_has_no_probabilities():
    model = copy.deepcopy(fitted("diabetes", n_layers=1))
    model.compile()
    client, X = model.predictor_.client_model(), load("diabetes")[0]
    sums = model.graph_.simulate(client.encode(X))
    np.testing.assert_array_equal(client.answer(sums), model.predict(X))
    with pytest.raises(InvalidParameterError, match="real values"):
        client.answer_proba(sums)
    assert client.digest[:12] in repr(client)
