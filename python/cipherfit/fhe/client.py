"""Concrete's clients, made from specs that someone else may have written."""

from __future__ import annotations

from cipherfit.exceptions import SerializationError
from cipherfit.fhe.runtime import fhe
from cipherfit.fhe.security import check_security


def client_of(specs: bytes) -> fhe.Client:
    """Return the client of specs, once they are known to be secure.

    Parameters
    ----------
    specs : bytes
        As ``client.specs.serialize()`` returns them.

    Returns
    -------
    fhe.Client
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
        return fhe.Client(fhe.ClientSpecs.deserialize(specs))
    except (RuntimeError, ValueError) as error:
        raise SerializationError("Concrete can't read these client specs") from error
