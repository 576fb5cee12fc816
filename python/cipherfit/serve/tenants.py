"""Who asks: bearer tokens, of which only hashes are kept."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from cipherfit.exceptions import InvalidParameterError

#: From a token, or None where none was sent, to the name of a tenant, or None where it is unknown.
Authenticate = Callable[[str | None], str | None]

#: What a tenant's name may be: it also names a folder.
TENANT = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}")
#: Whoever asks, of a service without tokens.
EVERYONE = "everyone"


class Tokens:
    """Tenants by the SHA-256 of their tokens.

    Parameters
    ----------
    hashes : mapping of str to str
        From a token's SHA-256, as hexadecimal digits, to the tenant's name. A tenant may have
        several tokens, so that one can be replaced by another without a pause.

    Raises
    ------
    InvalidParameterError
        If a hash is none, or a name is not letters, digits, '.', '_' and '-'.
    """

    def __init__(self, hashes: Mapping[str, str]) -> None:
        for digest, tenant in hashes.items():
            if not re.fullmatch(r"[0-9a-f]{64}", digest):
                raise InvalidParameterError(
                    f"the token of tenant {tenant!r} must be given by its SHA-256, 64 hexadecimal "
                    f"digits in lower case; what is there has {len(digest)} characters"
                )
            if not TENANT.fullmatch(tenant):
                raise InvalidParameterError(
                    f"tenant {tenant!r} must be 1 to 64 letters, digits, '.', '_' and '-', not "
                    "starting with '.'"
                )
        self._hashes = {bytes.fromhex(digest): tenant for digest, tenant in hashes.items()}

    @classmethod
    def read(cls, path: str | Path) -> Tokens:
        """Read a file with a tenant and the SHA-256 of its token on each line.

        Parameters
        ----------
        path : str or Path
            Empty lines, and those that start with '#', are skipped.

        Raises
        ------
        InvalidParameterError
            If the file can't be read, has no tokens, or a line is not of that form.
        """
        try:
            lines = Path(path).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidParameterError(f"tokens={str(path)!r} can't be read: {error}") from error
        hashes: dict[str, str] = {}
        for number, line in enumerate(lines, 1):
            words = line.split()
            if not words or words[0].startswith("#"):
                continue
            if len(words) != 2:
                # The line itself is not shown: it may hold a token by mistake.
                raise InvalidParameterError(
                    f"tokens={str(path)!r}: line {number} must be a tenant and a SHA-256, and it "
                    f"has {len(words)} words"
                )
            hashes[words[1].lower()] = words[0]
        if not hashes:
            raise InvalidParameterError(f"tokens={str(path)!r} has no tokens")
        return cls(hashes)

    def __call__(self, token: str | None) -> str | None:
        """Return the tenant of a token; it takes as long whichever token it is."""
        given = hashlib.sha256((token or "").encode("utf-8", "surrogateescape")).digest()
        found = None
        for digest, tenant in self._hashes.items():
            if hmac.compare_digest(digest, given):
                found = tenant
        return found

    def __repr__(self) -> str:
        return f"Tokens({len(set(self._hashes.values()))} tenants)"


def everyone(token: str | None) -> str:
    """Take whoever asks for one and the same tenant."""
    del token
    return EVERYONE
