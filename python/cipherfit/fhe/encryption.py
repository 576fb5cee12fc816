"""Rows encrypted as they travel, and answers decrypted: the client's part of a circuit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherfit.fhe.messages import Template
from cipherfit.fhe.runtime import fhe


def encrypted_rows(client: fhe.Client, codes: NDArray[Any]) -> list[bytes]:
    """Encrypt rows, each by itself.

    Parameters
    ----------
    client : fhe.Client
        With keys.
    codes : ndarray of int, shape (n_samples, n_features)
        Quantized inputs.
    """
    return [bytes(client.encrypt(row).serialize()) for row in codes]


def decrypted_rows(
    client: fhe.Client, answers: Sequence[bytes], template: Template | None
) -> NDArray[np.int64]:
    """Decrypt the answers to rows.

    Parameters
    ----------
    client : fhe.Client
        That encrypted them.
    answers : sequence of bytes
        One for each.
    template : Template or None
        What they must look like, since Concrete trusts what it is given; None where this process
        computed them.

    Returns
    -------
    ndarray of shape (n_samples, n_outputs), int64

    Raises
    ------
    SerializationError
        If an answer doesn't look like that.
    """
    if template is not None:
        for answer in answers:
            template.check(answer)
    sums = [client.decrypt(fhe.Value.deserialize(answer)) for answer in answers]
    return np.array(sums, dtype=np.int64)
