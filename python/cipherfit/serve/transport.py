"""How a client reaches what computes: over HTTP, or in its own process."""

from __future__ import annotations

from typing import Protocol

from cipherfit.exceptions import InvalidParameterError, ServiceError
from cipherfit.predictor.backend import backend_of
from cipherfit.predictor.predictor import Predictor
from cipherfit.serve import frames
from cipherfit.stages import encrypted_part


class UnknownKeyError(ServiceError):
    """A service doesn't have the evaluation keys, or no longer."""


class Transport(Protocol):
    """What a client asks of a server."""

    def has_keys(self, key: str) -> bool:
        """Tell whether evaluation keys with a SHA-256 are there as a whole."""

    def put_keys(self, key: str, data: bytes, digest: str) -> None:
        """Hand over evaluation keys for a model, what is missing of them; may be repeated."""

    def predict(self, digest: str, key: str, body: bytes, most: int) -> bytes:
        """Return a model's answer of at most so many bytes to frames encrypted under keys.

        Raises
        ------
        UnknownKeyError
            If the keys are not there.
        """

    def close(self) -> None:
        """Give up connections."""


class LocalTransport:
    """A server in this process: for tests, and to see what a client does.

    Parameters
    ----------
    predictor : Predictor
        Compiled.
    """

    def __init__(self, predictor: Predictor) -> None:
        circuit = predictor.circuit
        if circuit is None:
            raise InvalidParameterError("server=Predictor must be compiled: call compile() first")
        self._circuit = circuit
        self._digest = encrypted_part(predictor.graph).digest
        self._keys: dict[str, bytes] = {}

    def __repr__(self) -> str:
        return "LocalTransport()"

    def has_keys(self, key: str) -> bool:
        """Tell whether evaluation keys are here."""
        return key in self._keys

    def put_keys(self, key: str, data: bytes, digest: str) -> None:
        """Keep evaluation keys."""
        self._check(digest)
        if frames.key_id(data) != key:
            raise ServiceError("evaluation keys must have the SHA-256 that they are called by")
        self._keys[key] = data

    def predict(self, digest: str, key: str, body: bytes, most: int) -> bytes:
        """Return the answer to frames."""
        self._check(digest)
        if key not in self._keys:
            raise UnknownKeyError(f"there are no keys {key}")
        rows = frames.unpack(body, max_frames=len(body))
        return frames.pack(self._run(rows, self._keys[key]))

    def close(self) -> None:
        """Nothing is open."""

    def _check(self, digest: str) -> None:
        if digest != self._digest:
            raise ServiceError(f"the server's model is {self._digest}, and not {digest}")

    def _run(self, rows: list[bytes], keys: bytes) -> list[bytes]:
        server = self._circuit.server
        if backend_of(self._circuit) == "bfv":
            return [server.run(row, keys).serialize() for row in rows]
        from cipherfit.fhe.runtime import fhe

        answers: list[bytes] = self._circuit.rows.run(rows, fhe.EvaluationKeys.deserialize(keys))
        return answers
