"""The two parties, a client with keys and a server with weights, and what they send each other."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cipherfit import _core
from cipherfit.exceptions import CipherfitError

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Message:
    """Bytes as they travel; whoever uses them checks them."""

    data: bytes

    def serialize(self) -> bytes:
        """Return the bytes."""
        return self.data

    @classmethod
    def deserialize(cls, data: bytes) -> Any:
        """Take bytes that `serialize` gave; they are checked where they are used."""
        return cls(bytes(data))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self.data)} bytes)"


class BfvCiphertext(_Message):
    """Encrypted rows, or their encrypted sums."""


class BfvEvaluationKeys(_Message):
    """A client's public key: a server hides its weights with it. It is not secret."""


class _Party:
    """Who knows a circuit's public parameters."""

    def __init__(self, specs: _core.BfvSpecs) -> None:
        self._specs = specs

    @property
    def specs(self) -> bytes:
        """Public parameters, which clients are made from: sizes and widths, no weights."""
        return self._specs.to_bytes()

    @property
    def parameters(self) -> _core.BfvSpecs:
        """The same, to be read."""
        return self._specs


class BfvClient(_Party):
    """Encrypts rows of codes and decrypts their sums.

    Made from a server's public parameters, which tell nothing of its weights. Its secret key never
    leaves it, but by `serialize_secret_key`: neither pickles nor copies of a client hold keys.

    Parameters
    ----------
    specs : bytes
        Public parameters: `BfvServer.specs`.

    Raises
    ------
    SerializationError
        If the bytes are no parameters, or none that are in use.
    """

    def __init__(self, specs: bytes) -> None:
        super().__init__(_core.BfvSpecs.from_bytes(specs))
        self._keys: _core.BfvClient | None = None
        self._lock = threading.Lock()

    @classmethod
    def deserialize(cls, specs: bytes) -> BfvClient:
        """Return the client of a server's public parameters, without keys."""
        return cls(specs)

    def serialize(self) -> bytes:
        """Return the public parameters, without keys."""
        return self.specs

    def keygen(self, force: bool = False) -> None:
        """Make keys, unless there are some.

        Parameters
        ----------
        force : bool, default=False
            Make new ones in any case: what was encrypted under the old ones is lost.
        """
        with self._lock:
            if self._keys is None or force:
                self._take(_core.BfvClient.generate(self._specs))

    @property
    def has_keys(self) -> bool:
        """Whether keys have been made."""
        return self._keys is not None

    @property
    def evaluation_keys(self) -> BfvEvaluationKeys:
        """The public key, for servers; keys are made if there are none."""
        self._with_keys()
        return self._evaluation_keys

    def serialize_secret_key(self) -> bytes:
        """Return the secret key: who has it can decrypt all that this client ever encrypts.

        Raises
        ------
        CipherfitError
            If no keys have been made.
        """
        if self._keys is None:
            raise CipherfitError("this client has no keys yet; make them with keygen()")
        return self._keys.secret_key()

    def restore_secret_key(self, data: bytes) -> None:
        """Take a key that `serialize_secret_key` returned, in place of any other.

        Parameters
        ----------
        data : bytes
            Of a client with the same public parameters.

        Raises
        ------
        SerializationError
            If the bytes are no secret key, or one for other parameters.
        """
        with self._lock:
            self._take(_core.BfvClient.from_secret_key(self._specs, data))

    def encrypt(self, codes: npt.ArrayLike) -> BfvCiphertext:
        """Encrypt a row of codes, or several.

        Parameters
        ----------
        codes : array-like of shape (n_features,) or (n_samples, n_features), integers
            In [0, 2**n_bits - 1].

        Returns
        -------
        BfvCiphertext

        Raises
        ------
        InvalidInputError
            If the shape is wrong or a code is out of range.
        InputTypeError
            If the codes are not integers.
        """
        return BfvCiphertext(self._with_keys().encrypt(codes))

    def decrypt(self, result: BfvCiphertext | bytes) -> Int64:
        """Decrypt what a server's `run` returned.

        Parameters
        ----------
        result : BfvCiphertext or bytes

        Returns
        -------
        ndarray of shape (n_outputs,) or (n_samples, n_outputs), dtype int64
            The sums of one row or of several, as they were encrypted.

        Raises
        ------
        SerializationError
            If it is no encrypted sums for these parameters.
        InvalidInputError
            If rows were encrypted under other keys.
        """
        return self._with_keys().decrypt(_bytes_of(result))

    def _take(self, keys: _core.BfvClient) -> None:
        self._evaluation_keys = BfvEvaluationKeys(keys.public_key())
        self._keys = keys

    def _with_keys(self) -> _core.BfvClient:
        self.keygen()
        assert self._keys is not None
        return self._keys

    def __getstate__(self) -> dict[str, Any]:
        """Return the public parameters: keys stay here."""
        return {"specs": self.specs}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take public parameters; keys are made anew when they are needed."""
        self.__init__(state["specs"])  # type: ignore[misc]

    def __repr__(self) -> str:
        keys = "with keys" if self.has_keys else "without keys"
        return f"BfvClient({_sizes(self._specs)}, {keys})"


class BfvServer(_Party):
    """Computes the sums of encrypted rows: holds the weights, and no secret key.

    Made by `compile_graph`, or from bytes by `deserialize`.
    """

    def __init__(self, core: _core.BfvServer) -> None:
        super().__init__(core.specs)
        self._core = core
        self._last: tuple[bytes, _core.BfvPublicKey] | None = None

    @classmethod
    def deserialize(cls, data: bytes) -> BfvServer:
        """Read what `serialize` returned, and prove it anew.

        Raises
        ------
        SerializationError
            If the bytes are no server.
        """
        return cls(_core.BfvServer.from_bytes(data))

    def serialize(self) -> bytes:
        """Return the server as bytes, its weights included."""
        return self._core.to_bytes()

    def run(
        self, encrypted: BfvCiphertext | bytes, evaluation_keys: BfvEvaluationKeys | bytes
    ) -> BfvCiphertext:
        """Compute the sums of encrypted rows.

        Parameters
        ----------
        encrypted : BfvCiphertext or bytes
            Of `BfvClient.encrypt`.
        evaluation_keys : BfvEvaluationKeys or bytes
            The same client's public key.

        Returns
        -------
        BfvCiphertext
            Sums alone: neither weights nor what they do to noise can be read from it.

        Raises
        ------
        SerializationError
            If either is damaged, or for other parameters.
        InvalidInputError
            If rows were encrypted under other keys.
        """
        key = self._public_key(_bytes_of(evaluation_keys))
        return BfvCiphertext(self._core.run(_bytes_of(encrypted), key))

    def _public_key(self, data: bytes) -> _core.BfvPublicKey:
        """Return a public key, checked once while the same client asks."""
        last = self._last
        if last is None or last[0] != data:
            last = (data, _core.BfvPublicKey.from_bytes(self._specs, data))
            self._last = last
        return last[1]

    def __reduce__(self) -> tuple[Any, tuple[bytes]]:
        return BfvServer.deserialize, (self.serialize(),)

    def __repr__(self) -> str:
        return f"BfvServer({_sizes(self._specs)})"


def _bytes_of(message: _Message | bytes) -> bytes:
    return message.data if isinstance(message, _Message) else bytes(message)


def _sizes(specs: _core.BfvSpecs) -> str:
    return f"{specs.n_features} features, {specs.n_outputs} outputs, N={specs.degree}"
