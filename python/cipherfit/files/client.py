"""The client's steps on files: keys, rows to encrypted rows, encrypted answers to sums."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherfit.exceptions import KeyStoreError
from cipherfit.files.messages import Kind, Message
from cipherfit.predictor.artifact import ClientModel
from cipherfit.serve.encryption import Encryption, encryption_of
from cipherfit.serve.frames import pack
from cipherfit.serve.keystore import KeyStore


def make_keys(model: ClientModel, store: KeyStore) -> Message:
    """Make keys for a model, unless a store has some, and return the evaluation keys.

    Parameters
    ----------
    model : ClientModel
        What the client holds of the model.
    store : KeyStore
        Where the secret key stays, encrypted.

    Returns
    -------
    Message
        For the server.

    Raises
    ------
    KeyStoreError
        If the store can't be opened.
    SecurityError
        If the model's parameters are too weak.
    """
    return Message.of_keys(model.digest, encryption_of(model, store).evaluation_keys)


def encrypt_rows(model: ClientModel, store: KeyStore, X: Any) -> Message:
    """Encrypt rows under the keys that a store has.

    Parameters
    ----------
    model : ClientModel
        What the client holds of the model.
    store : KeyStore
        Of `make_keys`.
    X : array-like of shape (n_samples, n_features)
        Features.

    Returns
    -------
    Message
        Encrypted rows, for the server.

    Raises
    ------
    InvalidInputError, InputTypeError
        If the features can't be those of the model.
    KeyStoreError
        If the store has no keys for it.
    """
    codes = model.encode(X)
    encryption = _existing(model, store)
    frames = pack(encryption.encrypt(codes))
    return Message(Kind.ROWS, model.digest, encryption.key, frames, len(codes))


def decrypt_answers(model: ClientModel, store: KeyStore, answers: Message) -> NDArray[np.int64]:
    """Decrypt a server's answers.

    Parameters
    ----------
    model : ClientModel
        What the client holds of the model.
    store : KeyStore
        Of `make_keys`.
    answers : Message
        Encrypted answers.

    Returns
    -------
    ndarray of shape (n_samples, n_outputs)
        Sums, for `ClientModel.answer` or `ClientModel.answer_proba`.

    Raises
    ------
    InvalidInputError
        If they are for another model, or were made under other keys.
    SerializationError
        If they are damaged.
    KeyStoreError
        If the store has no keys for the model.
    """
    answers.check_belongs(model=model.digest, name="the encrypted answers")
    encryption = _existing(model, store)
    answers.check_belongs(model=model.digest, key=encryption.key, name="the encrypted answers")
    return encryption.decrypt(answers.frames(), answers.n_rows)


def _existing(model: ClientModel, store: KeyStore) -> Encryption:
    """Return the encryption with keys that are there: others would decrypt nothing."""
    if model.digest not in store:
        raise KeyStoreError(
            f"{store.folder} has no keys for the model {model.digest}: make some with keygen"
        )
    return encryption_of(model, store)
