"""Secret keys at rest: one encrypted file for each model.

A file is a header, then what AES-256-GCM makes of the secret. The header is a magic number with the
format's version, scrypt's log2 N, r and p (a byte each), its salt (16 bytes) and the nonce (12); it
and the model's digest are authenticated, so that a file can't stand in for another's. Salt and
nonce are drawn anew for each file that is written, and so each has a key of its own.
"""

from __future__ import annotations

import os
import re
import secrets
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cipherfit.exceptions import InvalidParameterError, KeyStoreError, MissingDependencyError
from cipherfit.predictor.container import write_file
from cipherfit.serve.passphrase import Passphrase, passphrase_bytes

_MAGIC = b"cipherfit-key\x01\n"
_HEADER = struct.Struct(f"<{len(_MAGIC)}sBBB16s12s")
#: scrypt's N = 2**17, r = 8, p = 1: 128 MiB and some tenths of a second for each guess (OWASP's
#: recommendation of 2025).
_LOG2_N, _R, _P = 17, 8, 1
#: What a file may ask for: a forged one shall not take all memory.
_MOST_LOG2_N, _MOST_R, _MOST_P = 20, 16, 4
_TAG_BYTES = 16
#: Of one message of the library's AES-GCM.
_MOST_BYTES = (1 << 31) - 1
_OPEN = 0o077
#: For its owner alone.
PRIVATE = 0o600


class KeyStore:
    """A folder of secret keys, each encrypted under a passphrase.

    Processes may share it: each model's keys are behind a lock. A crash leaves the old file or the
    new one.

    Parameters
    ----------
    folder : str or path
        Made if it is missing, for its owner alone (0700); one that others may read is refused.
    passphrase : str, bytes, callable or path, optional
        As of `cipherfit.serve.passphrase.passphrase_bytes`; asked for when first needed.

    Raises
    ------
    KeyStoreError
        If the folder can't be made, or is open to others.
    """

    def __init__(
        self, folder: str | os.PathLike[str], passphrase: Passphrase | None = None
    ) -> None:
        self.folder = Path(folder).expanduser().absolute()
        self._passphrase = passphrase
        self._make_folder()

    def __repr__(self) -> str:
        return f"KeyStore({str(self.folder)!r})"

    def __getstate__(self) -> Any:
        """Refuse: a copy would hold the passphrase."""
        raise KeyStoreError("key stores are not pickled: make one where it is needed")

    def __contains__(self, digest: str) -> bool:
        return self._path(digest).exists()

    def get_or_make(self, digest: str, make: Callable[[], bytes]) -> bytes:
        """Return a model's secret; if there is none, make and store one.

        Of several processes that ask at once one makes it.

        Parameters
        ----------
        digest : str
            The model's: 64 hexadecimal digits.
        make : callable
            Called without arguments if there is none.

        Raises
        ------
        KeyStoreError
            If the passphrase is wrong or the file damaged.
        """
        path = self._path(digest)
        with self.locked(digest):
            if path.exists():
                return self._read(digest)
            secret = make()
            self._write(digest, secret)
            return secret

    def load(self, digest: str) -> bytes:
        """Return a model's secret.

        Raises
        ------
        KeyStoreError
            If there is none, the passphrase is wrong or the file damaged.
        """
        return self._read(digest)

    def save(self, digest: str, secret: bytes) -> None:
        """Store a model's secret, in place of any other.

        Raises
        ------
        KeyStoreError
            If it can't be written.
        """
        self._path(digest)
        with self.locked(digest):
            self._write(digest, secret)

    def remove(self, digest: str) -> None:
        """Forget a model's secret; what was encrypted under it is lost."""
        path = self._path(digest)
        with self.locked(digest):
            path.unlink(missing_ok=True)

    @contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Keep other processes, and threads, from a model's keys, or another of the folder's files.

        Parameters
        ----------
        name : str
            The model's digest, or what the file is called.
        """
        with _cryptography().FileLock(self.folder / f"{name}.lock", mode=PRIVATE):
            yield

    def _make_folder(self) -> None:
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            mode = self.folder.stat().st_mode
        except OSError as error:
            raise KeyStoreError(f"keys={str(self.folder)!r}: {error.strerror}") from error
        if os.name == "posix" and mode & _OPEN:
            raise KeyStoreError(
                f"keys={str(self.folder)!r} is open to others (mode {mode & 0o777:o}): chmod 700 it"
            )

    def _path(self, digest: str) -> Path:
        if not re.fullmatch("[0-9a-f]{64}", digest):
            raise InvalidParameterError(f"digest={digest!r} must be 64 hexadecimal digits")
        return self.folder / f"{digest}.key"

    def _read(self, digest: str) -> bytes:
        path = self._path(digest)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise KeyStoreError(f"{self.folder} has no keys of model {digest}") from None
        except OSError as error:
            raise KeyStoreError(f"{path} can't be read: {error.strerror}") from error
        if len(data) < _HEADER.size + _TAG_BYTES or not data.startswith(_MAGIC):
            raise KeyStoreError(f"{path} is no file of secret keys, or it was cut")
        header = data[: _HEADER.size]
        _, log2_n, r, p, salt, nonce = _HEADER.unpack(header)
        if not 1 <= log2_n <= _MOST_LOG2_N or not 1 <= r <= _MOST_R or not 1 <= p <= _MOST_P:
            raise KeyStoreError(f"{path} was altered: its scrypt parameters are out of range")
        key = self._derive(salt, log2_n, r, p)
        library = _cryptography()
        try:
            return bytes(
                library.AESGCM(key).decrypt(nonce, data[_HEADER.size :], header + digest.encode())
            )
        except library.InvalidTag:
            raise KeyStoreError(
                f"{path} can't be opened: the passphrase is wrong, or the file was altered"
            ) from None

    def _write(self, digest: str, secret: bytes) -> None:
        path = self._path(digest)
        if len(secret) > _MOST_BYTES:
            raise KeyStoreError(
                f"keys of {len(secret)} bytes are too large to store: at most {_MOST_BYTES}; "
                "narrower lookups make smaller ones"
            )
        salt, nonce = secrets.token_bytes(16), secrets.token_bytes(12)
        header = _HEADER.pack(_MAGIC, _LOG2_N, _R, _P, salt, nonce)
        key = self._derive(salt, _LOG2_N, _R, _P)
        sealed = _cryptography().AESGCM(key).encrypt(nonce, secret, header + digest.encode())
        try:
            write_file(path, header, sealed, mode=PRIVATE)
        except OSError as error:
            raise KeyStoreError(f"{path} can't be written: {error.strerror}") from error

    def _derive(self, salt: bytes, log2_n: int, r: int, p: int) -> bytes:
        phrase = passphrase_bytes(self._passphrase, self.folder)
        library = _cryptography()
        return bytes(library.Scrypt(salt=salt, length=32, n=1 << log2_n, r=r, p=p).derive(phrase))


def _cryptography() -> Any:
    """Return what is used of `cryptography`, imported when it is first needed."""
    try:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
        from filelock import FileLock
    except ImportError as error:
        raise MissingDependencyError(
            f"keys are stored with cryptography and filelock ({error}): pip install "
            "'cipherfit[client]'"
        ) from error
    return SimpleNamespace(InvalidTag=InvalidTag, AESGCM=AESGCM, Scrypt=Scrypt, FileLock=FileLock)
