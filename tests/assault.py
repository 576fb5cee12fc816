"""Hostile requests by the thousand, at a service that others use meanwhile.

Run as a program it sends a million (`make fuzz`), and prints what came of each kind.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import itertools
import random
import re
import socket
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hostile import lies, mutant
from processes import LONG
from service_parties import Party
from service_process import Running, digest_of, framed, predictor, token_of

from cipherfit.exceptions import SerializationError

TENANTS = ("mallory", "mallet", "bob")
#: What hostile bytes may be answered with: they are refused, or were as good as any.
_REFUSED = frozenset({400, 404, 408, 409, 411, 413, 422})
#: Keys that are laid out as they must be are kept, and a tenant uploads two at a time.
_UPLOADED = _REFUSED | {200, 201, 429}
_LANES = 4
#: Seconds that an answer to a damaged head is waited for: the service may wait for the rest of it.
_PATIENCE = 0.5


def request(method: str, path: str, body: bytes, tenant: str) -> bytes:
    """Return a request as it is sent."""
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token_of(tenant)}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Connection:
    """A connection that is kept while it can be."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None

    def status(self, data: bytes) -> int:
        """Return the status of the answer to a request; 0 if there is none."""
        try:
            for _ in range(3):
                if found := self._asked(data):
                    return found
        except OSError:
            pass
        self.close()
        return 0

    def _asked(self, data: bytes) -> int:
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=LONG)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        answer = b""
        # It may have answered before it had all.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._socket.sendall(data)
        while True:
            try:
                piece = self._socket.recv(1 << 18)
            except ConnectionResetError:
                piece = b""
            answer += piece
            head, end, body = answer.partition(b"\r\n\r\n")
            if end:
                lengths = [
                    int(line[15:])
                    for line in head.lower().split(b"\r\n")
                    if line.startswith(b"content-length:")
                ]
                if not lengths or len(body) >= lengths[0] or not piece:
                    if b"connection: close" in head.lower() or not piece:
                        self.close()
                    return int(head[9:12])
            if not piece:
                self.close()
                return 0

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def damaged(port: int, data: bytes) -> int:
    """Return the status of the answer to what may be no request; 0 if there is none."""
    with socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE) as connection:
        try:
            connection.sendall(data)
            answer = connection.recv(1 << 16)
        except (TimeoutError, BrokenPipeError, ConnectionResetError):
            return 0
    assert not answer or answer.startswith(b"HTTP/1.1 "), answer[:100]
    return int(answer[9:12] or 0)


@dataclass(frozen=True)
class Kind:
    """A kind of hostile request.

    Parameters
    ----------
    name : str
        For people.
    share : float
        Of all requests.
    send : callable
        Sends one over a connection, made from random numbers; returns the answer's status.
    fine : frozenset of int
        Statuses that are in order.
    """

    name: str
    share: float
    send: Callable[[Connection, random.Random], int]
    fine: frozenset[int]


@dataclass
class Outcome:
    """What came of an assault."""

    statuses: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    #: Requests with another answer than is in order: kind, number, status.
    wrong: list[tuple[str, int, int]] = field(default_factory=list)
    #: Answers that others got meanwhile, and those of them that were wrong.
    others: int = 0
    wronged: int = 0
    slowest: float = 0.0

    def table(self) -> str:
        """Return the statuses of each kind."""
        lines = ["| kind | requests | answers |", "|---|---|---|"]
        for kind, counts in self.statuses.items():
            said = ", ".join(f"{status}: {count:,}" for status, count in sorted(counts.items()))
            lines.append(f"| {kind} | {counts.total():,} | {said} |")
        return "\n".join(lines)


class Assault:
    """Hostile requests at a service of two networks.

    Parameters
    ----------
    folder : Path
        For the service.
    circuit : fhe.Circuit
        Of the network with lookups.
    """

    def __init__(self, folder: Path, circuit: Any) -> None:
        circuits = {"small": None, "lookups": circuit}
        self.service = Running(
            folder, list(circuits), tenants=TENANTS, tenant_mb=160, keys_mb=4000, body_deadline=5
        )
        self.attackers = {
            name: self._uploaded(Party(name, of), "mallory") for name, of in circuits.items()
        }
        self.others = {
            name: self._uploaded(Party(name, of), "bob") for name, of in circuits.items()
        }
        from cipherfit.fhe.messages import Templates

        self.templates = Templates.of_client(self.attackers["lookups"].client)
        self.kinds = [*self._without_lookups(), *self._with_lookups()]

    def _uploaded(self, party: Party, tenant: str) -> Party:
        assert party.upload(self.service, tenant) == 201
        return party

    def run(self, number: int, seed: int = 0) -> Outcome:
        """Send so many requests, while others ask, too."""
        outcome, done = Outcome(), threading.Event()
        lanes = [
            (itertools.islice(self._schedule(number), lane, None, _LANES), outcome, seed)
            for lane in range(_LANES)
        ]
        with ThreadPoolExecutor(_LANES + 1) as pool:
            watcher = pool.submit(self._watch, outcome, done)
            sent = [pool.submit(self._lane, *lane) for lane in lanes]
            try:
                for one in sent:
                    one.result()
            finally:
                done.set()
            watcher.result()
        return outcome

    def _schedule(self, number: int) -> Iterator[tuple[Kind, int]]:
        """Yield kinds by their shares, evenly mixed, and each at least once."""
        owed = {kind.name: 1.0 for kind in self.kinds}
        for index in range(number):
            for kind in self.kinds:
                owed[kind.name] += kind.share
            most = max(self.kinds, key=lambda kind: owed[kind.name])
            owed[most.name] -= 1
            yield most, index

    def _lane(self, schedule: Iterator[tuple[Kind, int]], outcome: Outcome, seed: int) -> None:
        connection = Connection(self.service.port)
        for kind, index in schedule:
            status = kind.send(connection, random.Random(f"{seed} {index}"))
            outcome.statuses[kind.name][status] += 1
            if status not in kind.fine:
                outcome.wrong.append((kind.name, index, status))
        connection.close()

    def _watch(self, outcome: Outcome, done: threading.Event) -> None:
        """Ask as others do, until the assault is over, and once more."""
        last = False
        while not last:
            last = done.is_set()
            for party in self.others.values():
                start = time.perf_counter()
                right = party.is_answered(self.service, "bob")
                outcome.slowest = max(outcome.slowest, time.perf_counter() - start)
                right &= self.service.ask("GET", "/health/ready", token=None)[0] == 200
                outcome.others += 1
                outcome.wronged += not right
            done.wait(0.05)

    def _without_lookups(self) -> list[Kind]:
        party = self.attackers["small"]
        (frame,) = party.frames()
        predict = party.predict_path

        def rows(connection: Connection, rng: random.Random) -> int:
            body = framed(mutant(frame, rng))
            return connection.status(request("POST", predict, body, "mallory"))

        def bodies(connection: Connection, rng: random.Random) -> int:
            body = framed(frame)
            # Most of what is changed are the numbers of the frames.
            body = mutant(body[:8], rng) + body[8:] if rng.random() < 0.8 else mutant(body, rng)
            return connection.status(request("POST", predict, body, "mallory"))

        def keys(connection: Connection, rng: random.Random) -> int:
            return connection.status(_upload("small", mutant(party.key, rng)))

        def heads(connection: Connection, rng: random.Random) -> int:
            data = request("POST", predict, framed(frame), "mallory")
            end = data.index(b"\r\n\r\n") + 4
            return damaged(self.service.port, mutant(data[:end], rng) + data[end:])

        fine = _REFUSED | {200}
        return [
            Kind("rows, no lookups", 0.6, rows, fine),
            Kind("frames", 0.15, bodies, fine),
            Kind("keys, no lookups", 0.02, keys, _UPLOADED),
            # What is no request any more may be one of another kind, or wait for its rest.
            Kind("heads", 0.02, heads, _REFUSED | {0, 200, 201, 204, 401, 405, 431, 501}),
        ]

    def _with_lookups(self) -> list[Kind]:
        party = self.attackers["lookups"]
        (frame,) = party.frames()

        def passes(row: bytes) -> bool:
            try:
                self.templates.check_input(row)
            except SerializationError:
                return False
            return True

        def rows(connection: Connection, rng: random.Random) -> int:
            row = mutant(frame, rng)
            # Those that pass are ciphertexts of something, and take as long as any.
            while passes(row) and rng.random() < 0.9:
                row = mutant(frame, rng)
            return connection.status(request("POST", party.predict_path, framed(row), "mallory"))

        def keys(connection: Connection, rng: random.Random) -> int:
            return connection.status(_upload("lookups", mutant(party.key, rng)))

        own = threading.local()

        def at_the_template(connection: Connection, rng: random.Random) -> int:
            if not hasattr(own, "key"):
                own.key = bytearray(party.key)
            start = rng.randrange(len(own.key)) if rng.random() < 0.5 else 0
            before = bytes(own.key[start : start + 400])
            after = mutant(before, rng)
            own.key[start : start + 400] = after
            try:
                self.templates.check_keys(own.key)
            except SerializationError:
                return 422
            finally:
                own.key[start : start + len(after)] = before
            return 201

        fine = _REFUSED | {200}
        return [
            Kind("rows, lookups", 0.1, rows, fine),
            Kind("keys, lookups", 0.0005, keys, _UPLOADED),
            Kind("keys, lookups, at the template", 0.11, at_the_template, frozenset({201, 422})),
        ]

    def deaths(self) -> int:
        """Return how many workers ended over requests."""
        page = self.service.ask("GET", "/metrics", token=None)[2].decode()
        counts = re.findall(r"^cipherfit_worker_deaths_total\S* (\S+)$", page, re.MULTILINE)
        return int(sum(map(float, counts)))

    def lies(self) -> dict[str, int]:
        """Send what Concrete would end, hang or take all memory over; return statuses."""
        connection, party = Connection(self.service.port), self.attackers["lookups"]
        statuses = {}
        for name, lie in lies(party.frames()[0]).items():
            data = request("POST", party.predict_path, framed(lie), "mallory")
            statuses[f"row: {name}"] = connection.status(data)
        for name, lie in lies(party.key).items():
            statuses[f"keys: {name}"] = connection.status(_upload("lookups", lie))
        connection.close()
        return statuses


def _upload(name: str, key: bytes) -> bytes:
    path = f"/v1/keys/{hashlib.sha256(key).hexdigest()}?model={digest_of(name)}"
    return request("PUT", path, key, "mallet")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        assault = Assault(Path(folder), predictor("lookups").circuit)
        try:
            lied = assault.lies()
            start = time.monotonic()
            outcome = assault.run(options.requests, options.seed)
            seconds = time.monotonic() - start
            deaths = assault.deaths()
        finally:
            assault.service.kill()
    print(outcome.table())
    print(f"{options.requests:,} requests in {seconds:.0f} s, and {len(lied)} lies")
    print(f"workers that ended: {deaths}")
    print(
        f"others: {outcome.others:,} answers, {outcome.wronged} wrong, the slowest after "
        f"{outcome.slowest:.2f} s"
    )
    wrong = [name for name, status in lied.items() if status not in (413, 422)]
    for one in [*wrong, *outcome.wrong[:20]]:
        print("wrong:", one)
    return int(bool(wrong or outcome.wrong or outcome.wronged or deaths))


if __name__ == "__main__":
    sys.exit(main())
