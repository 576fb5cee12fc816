"""Networks with encrypted lookups: workers run them, and may end over it."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from processes import LONG, lives, wait_until
from service_parties import Party
from service_process import Running, digest_of, framed, key_id, network, predictor, token_of

import cipherfit
from cipherfit.serve.remote import HttpTransport

pytestmark = pytest.mark.fhe

DIGEST = digest_of("lookups")
CODES = np.array([[0, 0], [3, 3], [1, 2], [2, 0]])


@pytest.fixture(scope="module")
def circuit():
    return predictor("lookups").circuit


@pytest.fixture(scope="module")
def parties(circuit):
    return [Party("lookups", circuit) for _ in range(2)]


@pytest.fixture(scope="module")
def service(tmp_path_factory, parties):
    folder = tmp_path_factory.mktemp("service")
    started = Running(folder, ["lookups", "small"], deadline=LONG, max_rows=200)
    for party, token in zip(parties, ("alice", "bob"), strict=True):
        assert started.ask("PUT", party.upload_path, party.key, token=token)[0] == 201
    yield started
    started.kill()


def workers_of(service) -> list[int]:
    """Return the worker processes that run Concrete, by what Linux knows of them."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            stat = (entry / "stat").read_text().rpartition(")")[2].split()
            line = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if int(stat[1]) == service.process.pid and b"spawn_main" in line:
            found.append(int(entry.name))
    return found


def test_rows_are_answered_in_workers_for_each_tenant(service, parties):
    assert parties[0].is_answered(service, codes=CODES)
    assert parties[1].is_answered(service, token="bob", codes=CODES)
    assert len(workers_of(service)) == 1


def test_what_differs_from_the_template_never_gets_to_a_worker(service, parties):
    party = parties[0]
    row = party.frames(CODES[:1])[0]
    altered = bytes([row[0] ^ 1]) + row[1:]
    for frame in (row[:-1], row + b"\0", altered, b"\0" * len(row)):
        assert service.refusal("POST", party.predict_path, framed(frame)) == (422, "rows")
    keys = bytes([party.key[0] ^ 1]) + party.key[1:]
    path = f"/v1/keys/{key_id(keys)}?model={DIGEST}"
    assert service.refusal("PUT", path, keys) == (422, "keys")
    assert party.is_answered(service, codes=CODES[:1])


def test_a_worker_that_dies_costs_one_request_and_keys_that_kill_two_are_quarantined(
    running, circuit, parties
):
    service = running("lookups", "small", deadline=LONG)
    party, other = parties
    for one, token in ((party, "alice"), (other, "bob")):
        assert service.ask("PUT", one.upload_path, one.key, token=token)[0] == 201
    assert party.is_answered(service, codes=CODES[:1])
    # One that ends while it waits costs none.
    os.kill(workers_of(service)[0], signal.SIGKILL)
    assert party.is_answered(service, codes=CODES[:1])
    for _ in range(2):
        # A worker may end between two batches, or too late: that costs nobody anything.
        assert any(costs_one_request(service, party, other) for _ in range(10))
    long = party.question(CODES[:1])
    assert service.refusal("POST", party.predict_path, long) == (409, "quarantined")
    assert service.refusal("PUT", party.upload_path, party.key) == (409, "quarantined")
    assert b'cipherfit_worker_deaths_total{why="died"} 2.0' in service.ask("GET", "/metrics")[2]
    assert other.is_answered(service, token="bob", codes=CODES[:1])


def test_after_the_deadline_the_worker_ends_and_the_next_request_is_answered(running, parties):
    party = parties[0]
    # A busy machine takes longer to start a worker than the deadline of a quick one.
    for deadline in (10, 40, 160):
        service = running("lookups", deadline=deadline, max_rows=4000)
        assert service.ask("PUT", party.upload_path, party.key)[0] == 201
        if ends_late_worker(service, party):
            break
        service.kill()
    else:
        pytest.fail("no deadline ended the worker, or no request was answered thereafter")


def ends_late_worker(service, party) -> bool:
    """Whether a request that took too long ended the worker, and the next one was answered."""
    (frame,) = party.frames(CODES[:1])

    def is_answered():
        asked = (service.ask("POST", party.predict_path, framed(frame)) for _ in range(3))
        return any(status == 200 for status, *_ in asked)

    if not is_answered():
        return False
    before = workers_of(service)
    # A deadline that comes between two batches has no worker to end.
    for _ in range(3):
        late = service.refusal("POST", party.predict_path, framed(*[frame] * 4000))
        assert late == (504, "deadline")
        if not is_answered():
            return False
        if workers_of(service) != before:
            return party.is_answered(service, codes=CODES[:1])
    return False


def test_workers_end_with_the_service_however_it_ends(running, parties):
    service = running("lookups", max_rows=2000, deadline=LONG)
    party = parties[0]
    assert service.ask("PUT", party.upload_path, party.key)[0] == 201
    long = framed(*party.frames(CODES[:1]) * 2000)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(service.ask, "POST", party.predict_path, long)
        wait_until(lambda: service.runs(1))
        time.sleep(1)
        pids = workers_of(service)
        assert pids
        service.kill()
        assert isinstance(asked.exception(), OSError | http.client.HTTPException)
    wait_until(lambda: not any(map(lives, pids)))
    service.start()
    # Its keys were acknowledged, so they are there.
    assert service.ask("HEAD", party.path)[0] == 200
    assert party.is_answered(service)
    pids = workers_of(service)
    assert service.stop() == 0
    assert not any(map(lives, pids))


def test_a_client_gets_its_answers_though_the_service_is_killed_and_started_while_it_runs(
    running, tmp_path
):
    service = running("lookups", deadline=LONG)
    rows = np.random.default_rng(0).integers(0, 4, (60, 2)).astype(np.float32)
    # A busy machine may take long to start it again.
    server = HttpTransport(f"http://127.0.0.1:{service.port}", token_of("alice"), attempts=12)
    model = predictor("lookups").client_model()
    with cipherfit.Client(model, tmp_path / "keys", passphrase="phrase", server=server) as client:
        client.upload()

        def is_killed_while_it_runs():
            with ThreadPoolExecutor(1) as pool:
                predicted = pool.submit(client.predict, rows)
                wait_until(lambda: service.runs(1) or predicted.done())
                service.kill()
                was_under_way = not predicted.done()
                service.start()
                sums = predicted.result()
            assert np.array_equal(sums, network("lookups").simulate(rows.astype(int)))
            return was_under_way

        assert any(is_killed_while_it_runs() for _ in range(10))
    assert service.log.read_text().count('"status": 201') == 1


def test_tenants_with_more_keys_than_disk_and_memory_hold_are_all_answered_right(running, tmp_path):
    tenants = [f"tenant{index}" for index in range(3)]
    # Of 12 MB each two have room on disk, and one in the worker.
    service = running("lookups", tenants=tenants, keys_mb=30, worker_mb=1, deadline=LONG)
    (worker,) = workers_of(service)
    before = resident(worker)
    model = predictor("lookups").client_model()
    largest = [0]

    def ask(tenant: str) -> bool:
        url = f"http://127.0.0.1:{service.port}"
        server = HttpTransport(url, token_of(tenant), attempts=20)
        folder = tmp_path / tenant
        with cipherfit.Client(model, folder, passphrase="phrase", server=server) as client:
            right = True
            for seed in range(2):
                codes = np.random.default_rng(seed).integers(0, 4, (4, 2))
                sums = client.sums(codes.astype(np.float32))
                right &= np.array_equal(sums, network("lookups").simulate(codes))
                largest[0] = max(largest[0], resident(worker))
        return right

    with ThreadPoolExecutor(len(tenants)) as pool:
        assert all(pool.map(ask, tenants))
    page = service.ask("GET", "/metrics", token=None)[2].decode()
    assert float(re.search(r"^cipherfit_key_bytes (\S+)", page, re.MULTILINE)[1]) <= 30e6
    assert re.search(r"^cipherfit_keys 2.0$", page, re.MULTILINE)
    assert "worker_deaths_total{" not in page
    # One set takes 110 MB, and 180 at its first run; three would take 340.
    assert 0 < largest[0] < before + 270e6


def costs_one_request(service, party, other) -> bool:
    """Whether a worker that is killed costs a request of one, while that of another waits."""
    long = party.question(np.zeros((60, 2), int))
    start = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        dying = pool.submit(service.ask, "POST", party.predict_path, long)
        wait_until(lambda: service.runs(1) or dying.done())
        time.sleep(0.3)
        waiting = pool.submit(other.is_answered, service, "bob", CODES[:1])
        wait_until(lambda: service.runs(2) or waiting.done())
        pids = workers_of(service)
        # After five seconds it is the other's turn.
        if not dying.done() and time.monotonic() < start + 4:
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
        status, _, body = dying.result()
        assert service.ask("GET", "/health/ready", token=None)[0] == 200
        assert waiting.result()
    assert status in (200, 503), body
    assert status == 200 or json.loads(body)["error"] == "worker_died"
    return status == 503


def resident(pid: int) -> int:
    """Return the bytes of memory that a process has."""
    pages = Path(f"/proc/{pid}/statm").read_text().split()
    return int(pages[1]) * os.sysconf("SC_PAGESIZE")
