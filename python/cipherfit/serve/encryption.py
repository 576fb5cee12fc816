"""A client's keys, and what they encrypt and decrypt, whichever back end it is."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cipherfit.bfv.parties import BfvClient
from cipherfit.exceptions import SerializationError
from cipherfit.predictor.artifact import ClientModel
from cipherfit.serve.frames import key_id
from cipherfit.serve.keystore import KeyStore

Codes = NDArray[np.uint16]
Sums = NDArray[np.int64]


#: Rows that a service takes at once where its owner says nothing else.
_MOST_ROWS = 4096
#: How Concrete's keys lie in a store. Those of another layout must not reach Concrete.
_LAYOUT = b"parameters, identifier, keys\n"
_DIGEST_BYTES = 32


class Encryption(Protocol):
    """A back end with keys."""

    #: What servers call them: `cipherfit.serve.frames.key_id` of the evaluation keys.
    key: str
    #: Rows of a request where none are said.
    batch_rows: int

    @property
    def evaluation_keys(self) -> bytes:
        """What a server needs of them: evaluation keys, or a public key."""

    def encrypt(self, codes: Codes) -> list[bytes]:
        """Return the frames of a request for rows of codes."""

    def decrypt(self, frames: Sequence[bytes], n_rows: int | None = None) -> Sums:
        """Return the sums of an answer, once its frames are what they must be."""

    def answer_bytes(self, n_rows: int) -> int:
        """Return how many bytes the frames of an answer have."""


class BfvEncryption:
    """Rows of a network without lookups: as many in one frame as are packed densely.

    Parameters
    ----------
    client : BfvClient
        With keys.
    """

    def __init__(self, client: BfvClient) -> None:
        self._client = client
        self.batch_rows = min(_MOST_ROWS, max(rows for *_, rows in client.parameters.layouts))
        self.evaluation_keys = client.evaluation_keys.serialize()
        self.key = key_id(self.evaluation_keys)

    @classmethod
    def restored(cls, model: ClientModel, store: KeyStore) -> BfvEncryption:
        """Return it with the keys of a store, made where there are none."""
        client = BfvClient(model.specs)

        def make() -> bytes:
            client.keygen()
            return client.serialize_secret_key()

        client.restore_secret_key(store.get_or_make(model.digest, make))
        return cls(client)

    def encrypt(self, codes: Codes) -> list[bytes]:
        """Return one frame."""
        return [self._client.encrypt(codes).serialize()]

    def decrypt(self, frames: Sequence[bytes], n_rows: int | None = None) -> Sums:
        """Return the sums of rows."""
        if len(frames) != 1:
            raise SerializationError(f"an answer must be one frame, and has {len(frames)}")
        sums = np.atleast_2d(self._client.decrypt(frames[0]))
        if n_rows is not None and len(sums) != n_rows:
            raise SerializationError(f"an answer to {n_rows} rows holds {len(sums)}")
        return sums

    def answer_bytes(self, n_rows: int) -> int:
        """Return how many bytes an answer's frame has."""
        return self._client.parameters.answer_bytes(n_rows)


class ConcreteEncryption:
    """Rows of a network with lookups: one in each frame.

    Parameters
    ----------
    client : fhe.Client
        With keys.
    key : str
        What servers call them.
    """

    batch_rows = 8

    def __init__(self, client: Any, key: str) -> None:
        from cipherfit.fhe.messages import output_template

        self._client = client
        self._answer = output_template(client)
        self.key = key

    @cached_property
    def evaluation_keys(self) -> bytes:
        """A hundred megabytes and more, so that they are serialized when they are asked for."""
        return bytes(self._client.evaluation_keys.serialize())

    @classmethod
    def restored(cls, model: ClientModel, store: KeyStore) -> ConcreteEncryption:
        """Return it with the keys of a store, made where there are none.

        The digest of the parameters is stored with the keys: keys for others, which this file of
        the model didn't come with, would end the process. So is what servers call them, which it
        takes as long to find out as to open them.
        """
        from cipherfit.fhe.client import client_of

        client = client_of(model.specs)
        specs = hashlib.sha256(_LAYOUT + model.specs).digest()

        def make() -> bytes:
            client.keygen()
            key = bytes.fromhex(key_id(client.evaluation_keys.serialize()))
            return specs + key + bytes(client.keys.serialize())

        stored = store.get_or_make(model.digest, make)
        if stored[:_DIGEST_BYTES] != specs:
            raise SerializationError(
                f"the stored keys of model {model.digest} are for other parameters than its "
                "client's file has: remove them, or give another folder as keys"
            )
        if not client.keys.are_generated:
            client.keys.load_from_bytes(stored[2 * _DIGEST_BYTES :])
        return cls(client, stored[_DIGEST_BYTES : 2 * _DIGEST_BYTES].hex())

    def encrypt(self, codes: Codes) -> list[bytes]:
        """Return a frame for each row."""
        from cipherfit.fhe.encryption import encrypted_rows

        return encrypted_rows(self._client, codes)

    def decrypt(self, frames: Sequence[bytes], n_rows: int | None = None) -> Sums:
        """Return the sums of rows."""
        from cipherfit.fhe.encryption import decrypted_rows

        if n_rows is not None and len(frames) != n_rows:
            raise SerializationError(f"an answer to {n_rows} rows has {len(frames)} frames")
        return decrypted_rows(self._client, frames, self._answer)

    def answer_bytes(self, n_rows: int) -> int:
        """Return how many bytes an answer's frames have."""
        return n_rows * self._answer.length


def encryption_of(model: ClientModel, store: KeyStore) -> Encryption:
    """Return the encryption of a model, with the keys of a store.

    Parameters
    ----------
    model : ClientModel
        Whose parameters are checked first.
    store : KeyStore
        Holds the keys, or will.

    Raises
    ------
    SecurityError
        If the parameters are too weak.
    KeyStoreError
        If the keys can't be opened.
    """
    if model.backend == "bfv":
        return BfvEncryption.restored(model, store)
    return ConcreteEncryption.restored(model, store)
