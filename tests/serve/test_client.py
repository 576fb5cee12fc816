from __future__ import annotations

import hashlib
import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
from circuits import linear, network
from service_process import predictor, token_of

import cipherfit
from cipherfit import Client, Predictor
from cipherfit.exceptions import (
    CipherfitError,
    InvalidInputError,
    InvalidParameterError,
    KeyStoreError,
    SecurityError,
    SerializationError,
    ServiceError,
)
from cipherfit.predictor.targets import ClassTargets, RealTargets
from cipherfit.serve import frames
from cipherfit.serve.transport import LocalTransport

PHRASE = "correct horse"
ROWS = np.random.default_rng(0).integers(0, 16, (7, 8)).astype(np.float32)


def classifier():
    """Return a compiled network without lookups that tells three classes."""
    made = Predictor(linear(), ClassTargets(np.array(["a", "b", "c"])))
    made.compile()
    return made


class Recorded(LocalTransport):
    """A server that notes what it is asked, and may answer otherwise."""

    def __init__(self, predictor, change=lambda answer: answer):
        super().__init__(predictor)
        self.asked = []
        self.change = change

    def has_keys(self, key):
        self.asked.append("has")
        return super().has_keys(key)

    def put_keys(self, key, data, digest):
        self.asked.append("put")
        super().put_keys(key, data, digest)

    def predict(self, *arguments):
        self.asked.append("predict")
        return self.change(super().predict(*arguments))


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "keys"


@pytest.fixture
def model():
    return classifier()


def test_predictions_are_those_of_the_model_in_clear(model, folder, tmp_path):
    model.save_client(tmp_path / "m.client")
    client = Client(tmp_path / "m.client", folder, passphrase=PHRASE, server=model)
    assert (client.predict(ROWS) == model.predict(ROWS)).all()
    assert (client.sums(ROWS) == model.graph.simulate(model.graph.quantize(ROWS))).all()
    assert client.sums(ROWS[:1]).shape == (1, 3)
    np.testing.assert_array_equal(
        client.model.answer_proba(client.sums(ROWS)), client.predict_proba(ROWS)
    )


def test_a_whole_model_is_its_own_server(model, folder, tmp_path):
    model.save(tmp_path / "m.cipherfit")
    for source in (model, tmp_path / "m.cipherfit", str(tmp_path / "m.cipherfit")):
        client = Client(source, folder, passphrase=PHRASE)
        assert (client.predict(ROWS) == model.predict(ROWS)).all()


def test_a_client_made_again_has_its_keys_and_uploads_none_that_are_there(model, folder):
    server = Recorded(model)
    first = Client(model, folder, passphrase=PHRASE, server=server)
    first.predict(ROWS)
    first.predict(ROWS)
    assert server.asked == ["has", "put", "predict", "predict"]
    again = Client(model, folder, passphrase=PHRASE, server=server)
    assert (again.predict(ROWS) == model.predict(ROWS)).all()
    assert server.asked[4:] == ["has", "predict"]
    assert again.evaluation_keys == first.evaluation_keys
    body = first.encrypt(ROWS)
    answer = server.predict(again.model.digest, again.key_id, body, 0)
    assert (again.decrypt(answer) == first.sums(ROWS)).all()


def test_keys_that_a_server_forgot_are_uploaded_again(model, folder):
    server = Recorded(model)
    client = Client(model, folder, passphrase=PHRASE, server=server)
    client.predict(ROWS)
    server._keys.clear()
    assert (client.predict(ROWS) == model.predict(ROWS)).all()
    assert server.asked[3:] == ["predict", "has", "put", "predict"]


def test_rows_go_in_batches_and_none_waits_for_what_came_out(model, folder):
    """Bad answers are noticed once all is sent: a server can't see which of them it was."""
    server = Recorded(model, change=lambda answer: answer[:-1])
    client = Client(model, folder, passphrase=PHRASE, server=server, batch_rows=2)
    with pytest.raises(SerializationError):
        client.predict(ROWS)
    assert server.asked.count("predict") == 4
    server.change = lambda answer: answer
    assert (client.predict(ROWS, progress=True) == model.predict(ROWS)).all()


@pytest.mark.parametrize(
    "change",
    [
        lambda answer: b"",
        lambda answer: answer + b"x",
        lambda answer: frames.pack([]),
        lambda answer: frames.pack([*frames.unpack(answer, max_frames=9)] * 2),
        lambda answer: frames.pack([bytes(len(answer) - 8)]),
        lambda answer: frames.pack([answer[8:100]]),
    ],
)
def test_answers_that_are_none_are_errors(change, model, folder):
    client = Client(model, folder, passphrase=PHRASE, server=Recorded(model, change=change))
    with pytest.raises(CipherfitError):
        client.predict(ROWS)


def test_an_answer_to_fewer_rows_is_an_error(model, folder):
    few = Client(model, folder, passphrase=PHRASE, server=model)
    few.upload()
    answer = few._transport.predict(few.model.digest, few.key_id, few.encrypt(ROWS[:3]), 0)
    client = Client(
        model, folder, passphrase=PHRASE, server=Recorded(model, change=lambda _: answer)
    )
    with pytest.raises(CipherfitError, match="rows"):
        client.predict(ROWS)


def test_a_wrong_passphrase_is_an_error_and_makes_no_new_keys(model, folder):
    keys = Client(model, folder, passphrase=PHRASE).evaluation_keys
    with pytest.raises(KeyStoreError, match="passphrase is wrong"):
        Client(model, folder, passphrase="other").predict(ROWS)
    assert Client(model, folder, passphrase=PHRASE).evaluation_keys == keys


def test_arguments_that_are_wrong_are_named(model, folder, tmp_path):
    with pytest.raises(SecurityError, match="digest='00"):
        Client(model, folder, passphrase=PHRASE, digest="00" * 32)
    with pytest.raises(InvalidParameterError, match="batch_rows=0"):
        Client(model, folder, passphrase=PHRASE, batch_rows=0)
    with pytest.raises(InvalidParameterError, match="type int"):
        Client(7, folder, passphrase=PHRASE)
    (tmp_path / "junk").write_bytes(b"junk")
    with pytest.raises(SerializationError):
        Client(tmp_path / "junk", folder, passphrase=PHRASE)
    with pytest.raises(ServiceError, match="give server="):
        Client(model.client_model(), folder, passphrase=PHRASE).predict(ROWS)
    with pytest.raises(InvalidInputError):
        Client(model, folder, passphrase=PHRASE).predict(ROWS * np.nan)


def test_a_regressor_has_no_probabilities(folder):
    made = Predictor(linear(), RealTargets(3, flat=False))
    made.compile()
    client = Client(made, folder, passphrase=PHRASE)
    np.testing.assert_array_equal(client.predict(ROWS), made.predict(ROWS))
    with pytest.raises(InvalidParameterError, match="call predict"):
        client.predict_proba(ROWS)


def test_clients_show_and_pickle_no_secrets(model, folder):
    client = Client(model, folder, passphrase=PHRASE)
    assert PHRASE not in repr(client)
    with pytest.raises(KeyStoreError, match="not pickled"):
        pickle.dumps(client)


@pytest.fixture(scope="module")
def lookups():
    return predictor("lookups")


@pytest.mark.fhe
def test_networks_with_lookups_are_asked_the_same_way(lookups, folder, tmp_path):
    lookups.save_client(tmp_path / "m.client")
    rows = np.array([[1, 2], [3, 0], [2, 2]], dtype=np.float32)
    server = Recorded(lookups)
    client = Client(tmp_path / "m.client", folder, passphrase=PHRASE, server=server, batch_rows=2)
    assert (client.predict(rows) == lookups.predict(rows)).all()
    assert server.asked == ["has", "put", "predict", "predict"]
    again = Client(tmp_path / "m.client", folder, passphrase=PHRASE, server=server)
    assert (again.predict(rows[:1]) == lookups.predict(rows[:1])).all()
    assert server.asked[4:] == ["has", "predict"]
    assert again.key_id == client.key_id == frames.key_id(again.evaluation_keys)

    body = client.encrypt(rows[:1])
    whole = server.predict(client.model.digest, client.key_id, body, 0)
    (answer,) = frames.unpack(whole, max_frames=1)
    for bad in (b"", answer[:-8], bytes(len(answer)), b"\xff" * 8 + answer[8:]):
        with pytest.raises(SerializationError, match="encrypted outputs"):
            client.decrypt(frames.pack([bad]))
    with pytest.raises(SerializationError, match="frames"):
        client._encryption.decrypt([answer], 2)


@pytest.mark.fhe
def test_keys_of_other_parameters_are_refused_before_concrete_sees_them(lookups, folder):
    made = Predictor(network(), RealTargets(2, flat=False))
    made.compile()
    model, other = made.client_model(), lookups.client_model()
    other.digest = model.digest
    assert Client(other, folder, passphrase=PHRASE).evaluation_keys
    with pytest.raises(SerializationError, match="for other parameters"):
        assert Client(model, folder, passphrase=PHRASE).evaluation_keys


@pytest.mark.fhe
def test_a_model_whose_encryption_is_switched_off_is_refused(lookups, folder):
    model = lookups.client_model()
    specs = json.loads(model.specs)
    specs["circuits"][0]["inputs"][0]["typeInfo"]["lweCiphertext"]["encryption"]["variance"] = 1e-60
    model.specs = json.dumps(specs).encode()
    with pytest.raises(SecurityError, match="variance"):
        Client(model, folder, passphrase=PHRASE)
    assert not list(folder.iterdir())


def test_a_service_is_asked_by_its_url_and_pinned(running, folder):
    service = running("small")
    url, token = f"http://127.0.0.1:{service.port}", token_of("alice")
    made = predictor("small")
    rows = np.arange(12, dtype=np.float32).reshape(2, 6)
    with Client(url, folder, passphrase=PHRASE, token=token) as client:
        assert (client.predict(rows) == made.predict(rows)).all()
        digest = client.model.digest
    by_digest = Client(f"{url}/v1/models/{digest}", folder, passphrase=PHRASE, token=token)
    assert (by_digest.predict(rows) == made.predict(rows)).all()

    pins = folder / "models.json"
    assert pins.stat().st_mode & 0o777 == 0o600
    pins.write_text(pins.read_text().replace(digest, hashlib.sha256(b"").hexdigest()))
    with pytest.raises(SecurityError, match="another model"):
        Client(url, folder, passphrase=PHRASE, token=token)
    Client(url, folder, passphrase=PHRASE, token=token, digest=digest)
    Client(url, folder, passphrase=PHRASE, token=token)
    with pytest.raises(ServiceError, match=r"401.*token"):
        Client(url, folder, passphrase=PHRASE)


def test_of_several_models_one_has_to_be_named(running, folder):
    service = running("small", "wide")
    url, token = f"http://127.0.0.1:{service.port}", token_of("alice")
    with pytest.raises(InvalidParameterError, match=r"2 models .*wide: .*give digest="):
        Client(url, folder, passphrase=PHRASE, token=token)
    digest = predictor("wide").client_model().digest
    assert Client(url, folder, passphrase=PHRASE, token=token, digest=digest).model.n_features == 40


LIGHT = """
import sys
for name in ("torch", "skorch", "sklearn", "scipy", "concrete", "pandas", "fastapi"):
    sys.modules[name] = None
import numpy as np
from cipherfit import Client
client = Client(sys.argv[1], sys.argv[2], passphrase="phrase")
print(len(client.encrypt(np.ones((1, 8)))), len(client.evaluation_keys))
"""


def test_without_lookups_a_client_needs_no_torch_no_scikit_learn_and_no_concrete(
    model, folder, tmp_path
):
    model.save_client(tmp_path / "m.client")
    done = subprocess.run(
        [sys.executable, "-c", LIGHT, str(tmp_path / "m.client"), str(folder)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[0]) > 1000


def test_it_is_a_name_of_the_package():
    assert cipherfit.Client is Client
