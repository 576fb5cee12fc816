"""Concrete's clients, made from specs that someone else may have written."""

from __future__ import annotations

import json
from functools import cached_property
from typing import Any

import numpy as np

from cipherfit.exceptions import SerializationError
from cipherfit.fhe.runtime import fhe
from cipherfit.fhe.security import check_security


class Client(fhe.Client):  # type: ignore[misc]
    """A client of Concrete's that decrypts sums as `cipherfit.fhe.outputs` leaves them.

    Concrete reads integers of `b` bits modulo ``2**(b + 1)``, and what noise took below zero as
    next to that. Exact sums lie below ``2**b``, or at least ``-2**(b - 1)``; of the ring around
    them a quarter of their width, or more, goes to each side.
    """

    def decrypt(self, *results: Any, **options: Any) -> Any:
        """Decrypt sums; see Concrete."""
        sums = np.asarray(super().decrypt(*results, **options))
        return np.where(sums >= 5 * (self._ring // 8), sums - self._ring, sums)

    @cached_property
    def _ring(self) -> int:
        (output,) = json.loads(self.specs.serialize())["circuits"][0]["outputs"]
        bits: int = output["typeInfo"]["lweCiphertext"]["encoding"]["integer"]["width"]
        return 1 << (bits + 1)


def client_of(specs: bytes) -> Client:
    """Return the client of specs, once they are known to be secure.

    Parameters
    ----------
    specs : bytes
        As ``client.specs.serialize()`` returns them.

    Returns
    -------
    Client
        Without keys.

    Raises
    ------
    SecurityError
        If `check_security` refuses them.
    SerializationError
        If Concrete does.
    """
    check_security(specs)
    try:
        return Client(fhe.ClientSpecs.deserialize(specs))
    except (RuntimeError, ValueError) as error:
        raise SerializationError("Concrete can't read these client specs") from error
