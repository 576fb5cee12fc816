"""Where the passphrase of a key store comes from."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cipherfit.exceptions import InvalidParameterError, KeyStoreError

#: What is read where no passphrase is given.
VARIABLE = "CIPHERFIT_PASSPHRASE"
Passphrase = str | bytes | os.PathLike[str] | Callable[[], str | bytes]
_KEYRING_SERVICE = "cipherfit"
_OPEN = 0o077
_MOST_BYTES = 1 << 20


def passphrase_bytes(given: Passphrase | None, folder: Path) -> bytes:
    """Return the passphrase of a key store.

    Parameters
    ----------
    given : str, bytes, callable or path, optional
        A passphrase; what is called for it; or, as a `pathlib.Path`, the file that holds it, which
        its owner alone may read. Default: that of the environment's CIPHERFIT_PASSPHRASE, else one
        that the operating system's keyring holds, where `keyring` is installed: the first time one
        is drawn and put there.
    folder : Path
        Of the store: the keyring has a passphrase for each.

    Raises
    ------
    KeyStoreError
        If there is none, or it is empty, or its file is open to others.
    InvalidParameterError
        If it is of another type.
    """
    if given is None:
        given = os.environ.get(VARIABLE) or _from_keyring(folder)
    elif isinstance(given, os.PathLike):
        given = _from_file(Path(given))
    elif callable(given):
        given = given()
    found = given.encode() if isinstance(given, str) else given
    if not isinstance(found, bytes):
        raise InvalidParameterError(
            f"passphrase is of type {type(found).__name__}, and must be str, bytes, a pathlib.Path "
            "of a file, or a callable that returns str or bytes"
        )
    if not found:
        raise KeyStoreError("passphrase is empty: give one of at least one character")
    return found


def _from_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            if os.name == "posix" and os.fstat(file.fileno()).st_mode & _OPEN:
                raise KeyStoreError(f"key file {path} is open to others: chmod 600 it")
            return file.read(_MOST_BYTES).rstrip(b"\r\n")
    except OSError as error:
        raise KeyStoreError(f"key file {path} can't be read: {error.strerror}") from error


def _from_keyring(folder: Path) -> str:
    keyring = _keyring()
    if keyring is None:
        raise KeyStoreError(
            f"secret keys are stored under a passphrase: give passphrase=, set {VARIABLE}, or "
            "install keyring, whose store is the operating system's"
        )
    try:
        found = keyring.get_password(_KEYRING_SERVICE, str(folder))
        if not found:
            found = secrets.token_urlsafe(32)
            keyring.set_password(_KEYRING_SERVICE, str(folder), found)
    except Exception as error:  # each system's keyring has errors of its own
        raise KeyStoreError(
            f"the operating system's keyring can't be used ({type(error).__name__}): give "
            f"passphrase=, or set {VARIABLE}"
        ) from None
    return str(found)


def _keyring() -> Any:
    try:
        import keyring
    except ImportError:
        return None
    return keyring
