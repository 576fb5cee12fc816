"""What a service refuses, as it says so: a status, a kind for programs, a message for people."""

from __future__ import annotations

from cipherfit.exceptions import CipherfitError


class RefusedError(CipherfitError):
    """A request that is not answered.

    Parameters
    ----------
    status : int
        HTTP status.
    kind : str
        What is wrong, for programs: it stays the same where messages get better.
    message : str
        What is wrong, for people; nothing secret.
    headers : dict of str to str, optional
        Headers that go with it.
    """

    def __init__(
        self, status: int, kind: str, message: str, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(status, kind, message, headers)
        self.status = status
        self.kind = kind
        self.message = message
        self.headers = headers or {}

    def __str__(self) -> str:
        """Return the message alone."""
        return self.message


def unauthorized() -> RefusedError:
    """Return what a request without a known token gets."""
    return RefusedError(
        401,
        "unauthorized",
        "send 'Authorization: Bearer TOKEN' with a token that this service knows",
        {"WWW-Authenticate": "Bearer"},
    )


def unknown_key(key: str) -> RefusedError:
    """Return what a request under a key that is not here gets."""
    return RefusedError(404, "unknown_key", f"there is no key {key[:12]}...: upload it (again)")


def busy(message: str, seconds: int = 1) -> RefusedError:
    """Return what a request gets that there is no room for now."""
    return RefusedError(429, "busy", message, {"Retry-After": str(seconds)})


def unprocessable(kind: str, message: str) -> RefusedError:
    """Return what bytes get that are not what they should be."""
    return RefusedError(422, kind, message)
