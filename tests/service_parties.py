"""Clients of a service, as tests have them: with keys, and without the client under test."""

from __future__ import annotations

from typing import Any

import numpy as np
from service_process import Running, digest_of, framed, key_id, network, predictor, unframed

from cipherfit.bfv import BfvClient


class Party:
    """A client with keys of its own.

    Parameters
    ----------
    name : str
        Of the network: see `service_process.network`.
    circuit : fhe.Circuit, optional
        Of a network with lookups.
    """

    def __init__(self, name: str = "small", circuit: Any = None) -> None:
        self.name = name
        self.graph = network(name)
        self.has_lookups = circuit is not None
        self.client = _client(name, circuit)
        self.client.keygen()
        self.key = self.client.evaluation_keys.serialize()
        self.id = key_id(self.key)
        shape = (1 if self.has_lookups else 5, self.graph.n_features)
        self.codes = np.random.default_rng(1).integers(0, 2**self.graph.n_bits, shape)

    @property
    def path(self) -> str:
        return f"/v1/keys/{self.id}"

    @property
    def upload_path(self) -> str:
        return f"{self.path}?model={digest_of(self.name)}"

    @property
    def predict_path(self) -> str:
        return f"/v1/models/{digest_of(self.name)}/predict?key={self.id}"

    def upload(self, service: Running, token: str = "alice") -> int:
        return service.ask("PUT", self.upload_path, self.key, token=token)[0]

    def frames(self, codes: Any = None) -> list[bytes]:
        """Encrypt rows: one frame for all, or one for each where there are lookups."""
        codes = self.codes if codes is None else codes
        if self.has_lookups:
            return [self.client.encrypt(row).serialize() for row in codes]
        return [self.client.encrypt(codes).serialize()]

    def question(self, codes: Any = None) -> bytes:
        return framed(*self.frames(codes))

    def is_right(self, answer: bytes, codes: Any = None) -> bool:
        """Whether a body holds the sums of rows."""
        codes = self.codes if codes is None else codes
        answers: list[Any] = unframed(answer)
        if self.has_lookups:
            from cipherfit.fhe.runtime import fhe

            answers = [fhe.Value.deserialize(one) for one in answers]
        sums = np.reshape([self.client.decrypt(one) for one in answers], (len(codes), -1))
        return np.array_equal(sums, self.graph.simulate(codes))

    def is_answered(self, service: Running, token: str = "alice", codes: Any = None) -> bool:
        body = self.question(codes)
        status, _, answer = service.ask("POST", self.predict_path, body, token=token)
        assert status == 200, answer
        return self.is_right(answer, codes)


def _client(name: str, circuit: Any) -> Any:
    if circuit is None:
        return BfvClient(predictor(name).circuit.server.specs)
    from cipherfit.fhe.client import client_of

    return client_of(circuit.client.specs.serialize())
