"""The service as clients meet it: a process of its own, over real sockets."""

from __future__ import annotations

import contextlib
import json
import secrets
import signal
import socket

import pytest
from processes import LONG, wait_until
from service_parties import Party
from service_process import digest_of, framed, key_id, predictor

DIGEST = digest_of("small")
PREDICT = f"/v1/models/{DIGEST}/predict"


@pytest.fixture(scope="module")
def party():
    return Party()


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One service for tests that leave it as it is."""
    from service_process import Running

    service = Running(tmp_path_factory.mktemp("service"), ["small", "wide"], max_rows=100)
    yield service
    service.kill()


def test_encrypted_rows_are_answered_exactly(shared, party):
    assert party.upload(shared) == 201
    assert shared.ask("HEAD", party.path)[0] == 200
    assert party.is_answered(shared)
    other = Party("wide")
    assert other.upload(shared) == 201
    assert other.is_answered(shared)


def test_models_are_listed_and_give_their_clients_file(shared):
    status, headers, body = shared.ask("GET", "/v1/models")
    listed = {model["name"]: model for model in json.loads(body)}
    assert status == 200
    assert set(listed) == {"small", "wide"}
    assert listed["small"]["digest"] == DIGEST
    assert listed["small"]["backend"] == "bfv"
    assert listed["small"]["n_features"] == 6
    status, headers, body = shared.ask("GET", f"/v1/models/{DIGEST}")
    assert status == 200
    assert headers["Content-Type"] == "application/octet-stream"
    assert body
    # No weights: what is compiled from them is not in it.
    assert predictor("small").circuit.server.serialize() not in body


@pytest.mark.parametrize("token", [None, "wrong", ""])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/models"),
        ("GET", f"/v1/models/{DIGEST}"),
        ("POST", f"{PREDICT}?key={'0' * 64}"),
        ("PUT", f"/v1/keys/{'0' * 64}?model={DIGEST}"),
        ("PATCH", f"/v1/keys/{'0' * 64}?model={DIGEST}"),
        ("DELETE", f"/v1/keys/{'0' * 64}"),
        ("POST", "/v1/models/none/predict"),
    ],
)
def test_without_a_known_token_nothing_else_is_looked_at(shared, method, path, token):
    body = b"x" if method in ("POST", "PUT", "PATCH") else None
    assert shared.refusal(method, path, body, token=token) == (401, "unauthorized")


def test_keys_of_one_tenant_are_not_there_for_another(shared, party):
    party.upload(shared)
    assert shared.ask("HEAD", party.path, token="bob")[0] == 404
    question = party.question()
    refused = shared.refusal("POST", party.predict_path, question, token="bob")
    assert refused == (404, "unknown_key")
    assert shared.ask("DELETE", party.path, token="bob")[0] == 204
    assert party.is_answered(shared)


@pytest.mark.parametrize(
    ("method", "path", "body", "refused"),
    [
        ("GET", "/v1/nothing", None, (404, "unknown_path")),
        ("PUT", "/v1/models", b"", (405, "method")),
        ("GET", f"/v1/models/{'0' * 64}", None, (404, "unknown_model")),
        ("GET", "/v1/models/short", None, (422, "parameters")),
        ("POST", PREDICT, b"x", (422, "parameters")),
        ("POST", f"{PREDICT}?key={'0' * 64}", b"x", (404, "unknown_key")),
        ("POST", f"{PREDICT}?key={'0' * 64}", b"x" * 10_000_000, (413, "too_large")),
        ("PUT", f"/v1/keys/{'0' * 64}", b"x", (422, "parameters")),
        ("PUT", f"/v1/keys/{'0' * 64}?model={'0' * 64}", b"x", (404, "unknown_model")),
        ("PUT", f"/v1/keys/{'0' * 64}?model={DIGEST}", b"x", (422, "key_length")),
        ("PUT", f"/v1/keys/{'0' * 64}?model={DIGEST}", b"x" * 900_000, (413, "too_large")),
    ],
)
def test_what_cannot_be_is_refused_with_its_reason(shared, method, path, body, refused):
    try:
        assert shared.refusal(method, path, body) == refused
    except (BrokenPipeError, ConnectionResetError):
        # It need not read ten megabytes that it refuses.
        assert refused == (413, "too_large")


def test_a_method_that_a_path_has_not_is_told_which_it_has(shared):
    status, headers, _ = shared.ask("POST", f"/v1/keys/{'0' * 64}", b"")
    assert (status, headers["Allow"]) == (405, "DELETE, HEAD, PATCH, PUT")


def test_a_body_without_a_length_is_refused(shared):
    def chunks():
        yield b"x"

    status, kind = shared.refusal("POST", f"{PREDICT}?key={'0' * 64}", chunks())
    assert (status, kind) == (411, "length_required")


def test_a_key_is_refused_whose_bytes_are_not_what_its_name_says(shared, party):
    altered = secrets.token_bytes(len(party.key))
    refused = shared.refusal("PUT", party.upload_path.replace(party.id, "1" * 64), party.key)
    assert refused == (422, "digest")
    path = f"/v1/keys/{key_id(altered)}?model={DIGEST}"
    assert shared.refusal("PUT", path, altered) == (422, "keys")
    assert shared.ask("HEAD", f"/v1/keys/{key_id(altered)}")[1]["Upload-Offset"] == "0"


def test_a_key_of_another_model_is_refused(shared):
    other = Party("wide")
    path = f"{other.path}?model={DIGEST}"
    assert shared.refusal("PUT", path, other.key)[0] in (413, 422)
    other.upload(shared)
    path = f"{PREDICT}?key={other.id}"
    assert shared.refusal("POST", path, Party().question()) == (409, "other_model")


def test_rows_under_other_keys_are_refused_and_say_so(shared, party):
    party.upload(shared)
    assert shared.refusal("POST", party.predict_path, Party().question()) == (422, "rows")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\1",
        framed(),
        framed(b""),
        framed(b"", b""),
        framed(b"x" * 100),
        b"\xff" * 4,
        b"\1\0\0\0" + b"\xff" * 4 + b"x",
        framed(b"x") + b"y",
    ],
)
def test_bodies_that_are_no_frames_of_rows_are_refused(shared, party, body):
    party.upload(shared)
    status, kind = shared.refusal("POST", party.predict_path, body)
    assert status == 422
    assert kind in ("frames", "frame_length")


def test_uploads_are_idempotent_and_keys_go_when_told(running, party):
    service = running()
    assert [party.upload(service) for _ in range(3)] == [201, 200, 200]
    assert [service.ask("DELETE", party.path)[0] for _ in range(2)] == [204, 204]
    assert service.ask("HEAD", party.path)[0] == 404
    refused = service.refusal("POST", party.predict_path, party.question())
    assert refused == (404, "unknown_key")
    assert party.upload(service) == 201
    assert party.is_answered(service)


def test_an_upload_goes_on_where_it_stopped_also_after_kill_9(running, party):
    service = running(body_deadline=LONG)
    half = 1000  # so little that it would wait in a buffer
    total = {"Upload-Length": str(len(party.key))}
    head = (
        f"PUT {party.upload_path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer token-of-alice\r\n"
        f"Content-Length: {len(party.key)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", service.port)) as connection:
        connection.sendall(head.encode() + party.key[:half])
        wait_until(lambda: service.ask("HEAD", party.path)[1]["Upload-Offset"] == str(half))
        refused = service.refusal("PUT", party.upload_path, party.key)
        assert refused == (409, "uploading")
        service.kill()
    service.start()
    assert service.ask("HEAD", party.path)[1]["Upload-Offset"] == str(half)
    wrong = {"Upload-Offset": "3", **total}
    path = party.upload_path
    status, headers, _ = service.ask("PATCH", path, party.key[3:], headers=wrong)
    assert (status, headers["Upload-Offset"]) == (409, str(half))
    more = {"Upload-Offset": str(half), **total}
    status, headers, _ = service.ask("PATCH", path, party.key[half : half + 100], headers=more)
    assert (status, headers["Upload-Offset"]) == (204, str(half + 100))
    more = {"Upload-Offset": str(half + 100), **total}
    assert service.ask("PATCH", path, party.key[half + 100 :], headers=more)[0] == 201
    assert party.is_answered(service)


def test_acknowledged_keys_survive_kill_9_and_restarts(running, party):
    service = running()
    assert party.upload(service) == 201
    service.kill()
    service.start()
    assert party.is_answered(service)
    assert service.stop() == 0
    service.start()
    assert party.is_answered(service)


def test_sigterm_lets_what_is_under_way_end(running, party):
    service = running()
    party.upload(service)
    question = party.question()
    head = (
        f"POST {party.predict_path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        f"Authorization: Bearer token-of-alice\r\nContent-Length: {len(question)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", service.port)) as connection:
        connection.sendall(head.encode() + question[:100])
        wait_until(lambda: service.runs(1))
        service.process.send_signal(signal.SIGTERM)
        connection.sendall(question[100:])
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 200")
    assert service.process.wait(LONG) == 0


def test_a_tenant_with_too_much_under_way_is_told_to_come_back_and_others_are_answered(running):
    service = running(tenant_queue=2, body_deadline=LONG)
    party = Party()
    party.upload(service)
    party.upload(service, token="bob")
    question = party.question()
    with contextlib.ExitStack() as under_way:
        for _ in range(2):
            connection = socket.create_connection(("127.0.0.1", service.port))
            under_way.enter_context(connection).sendall(beginning(party, question))
        wait_until(lambda: service.runs(2))
        status, headers, _ = service.ask("POST", party.predict_path, question)
        assert status == 429
        assert int(headers["Retry-After"]) >= 1
        assert party.is_answered(service, token="bob")
    wait_until(lambda: service.runs(0))
    assert party.is_answered(service)


def test_a_body_that_takes_too_long_to_come_in_is_given_up(running, party):
    service = running(body_deadline=1)
    wait_until(lambda: party.upload(service) in (200, 201))
    answer = service.raw(beginning(party, party.question()))
    assert answer.startswith(b"HTTP/1.1 408")
    assert service.runs(0)


def beginning(party, question):
    """Return the beginning of a request for answers."""
    head = (
        f"POST {party.predict_path} HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: Bearer token-of-alice\r\nContent-Length: {len(question)}\r\n\r\n"
    )
    return head.encode() + question[:10]


def test_keys_beyond_the_quota_push_out_those_that_were_not_used_for_longest(running):
    service = running("wide", tenant_mb=1, keys_mb=100)
    parties = [Party("wide") for _ in range(1_000_000 // len(Party("wide").key) + 1)]
    for party in parties:
        assert party.upload(service) == 201
    assert service.ask("HEAD", parties[0].path)[0] == 404
    assert service.ask("HEAD", parties[1].path)[0] == 200
    assert parties[-1].is_answered(service)


@pytest.mark.parametrize(
    "data",
    [
        b"\0\xff\r\n\r\n",
        b"GET /health/live HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/models HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 20_000 + b"\r\n",
    ],
)
def test_what_is_no_http_ends_its_connection_alone(shared, data):
    answer = shared.raw(data)
    assert not answer or answer.startswith(b"HTTP/1.1 4")
    assert shared.ask("GET", "/health/ready", token=None)[0] == 200


def test_logs_are_json_and_hold_no_tokens_keys_or_rows(shared, party):
    party.upload(shared)
    party.is_answered(shared)
    shared.refusal("GET", "/v1/models", token="a-wrong-token")

    def logged(**expected):
        events = map(json.loads, shared.log.read_text().splitlines())
        return any(expected.items() <= event.items() for event in events)

    # What is answered is logged thereafter.
    wait_until(lambda: logged(route="/v1/models/{digest}/predict", status=200, tenant="alice"), 60)
    wait_until(lambda: logged(route="/v1/models", status=401, tenant=None), 60)
    text = shared.log.read_text()
    assert "token-of" not in text
    assert "a-wrong-token" not in text


def test_keys_and_index_are_for_this_user_alone(shared, party):
    party.upload(shared)
    keys = shared.folder / "keys"
    assert keys.stat().st_mode & 0o777 == 0o700
    files = list((keys / "files").glob("*/*"))
    assert files
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in files)


def test_the_documentation_needs_no_network(shared):
    page = shared.ask("GET", "/docs", token=None)[2].decode()
    assert "https://" not in page
    script = page.split('<script src="')[1].split('"')[0]
    assert len(shared.ask("GET", script, token=None)[2]) > 100_000
    document = json.loads(shared.ask("GET", "/openapi.json", token=None)[2])
    assert {"/v1/keys/{key}", "/v1/models/{digest}/predict", "/metrics"} <= set(document["paths"])


def test_it_counts_what_it_answers(shared, party):
    party.upload(shared)
    party.is_answered(shared)
    counted = 'cipherfit_requests_total{method="POST",route="/v1/models/{digest}/predict"'

    def metrics():
        return shared.ask("GET", "/metrics", token=None)[2].decode()

    wait_until(lambda: counted in metrics(), 60)
    page = metrics()
    assert "cipherfit_key_bytes " in page
    assert party.id not in page
    assert "alice" not in page
