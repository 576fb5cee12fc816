"""A service over HTTP, as a client asks it: with retries that do no harm."""

from __future__ import annotations

import ipaddress
import json
import random
import re
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timezone
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from cipherfit.exceptions import InvalidParameterError, MissingDependencyError, ServiceError
from cipherfit.parameters import integer, real
from cipherfit.serve.transport import UnknownKeyError

#: Bytes of an upload that are sent, and if need be sent again, at once.
_PIECE_BYTES = 8 << 20
#: Of what a service says about itself.
_MOST_JSON_BYTES = 1 << 20
_MOST_CLIENT_BYTES = 64 << 20
#: No answer, or "not now": what to do about it is to ask again.
_BUSY = 429
_NOT_NOW = (_BUSY, 502, 503)
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 60.0
_BYTES = {"Content-Type": "application/octet-stream"}


@dataclass(frozen=True)
class _Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def kind(self) -> str:
        """What a refusal is called."""
        return self._said("error")

    @property
    def message(self) -> str:
        """What a refusal says, without what could move a terminal's cursor."""
        return self._said("message")

    def _said(self, name: str) -> str:
        try:
            said = json.loads(self.body)[name]
        except (ValueError, KeyError, TypeError, RecursionError):
            return ""
        return "".join(filter(str.isprintable, str(said)))[:300]


class _NoAnswerError(Exception):
    """A request that may be sent again, after so many seconds if the service says how many.

    Parameters
    ----------
    why : str
        What came in place of an answer.
    wait : float, optional
        Seconds that the service asks for.
    is_busy : bool, default=False
        Whether the service is well, and has no room now.
    """

    def __init__(self, why: str, wait: float | None = None, *, is_busy: bool = False) -> None:
        super().__init__(why)
        self.wait = wait
        self.is_busy = is_busy


class _Patience:
    """How long to ask again where no answer comes.

    Parameters
    ----------
    url : str
        Who is asked.
    attempts : int
        Requests without an answer, at most.
    seconds : float
        For how long to come back to a service that is busy, however often.
    """

    def __init__(self, url: str, attempts: int, seconds: float) -> None:
        self._url = url
        self._attempts = attempts
        self._until = time.monotonic() + seconds
        self._asked = self._failures = 0

    def wait(self, error: _NoAnswerError) -> None:
        """Wait before a request is sent again, or give up."""
        self._asked += 1
        if not error.is_busy or time.monotonic() >= self._until:
            self._failures += 1
        if self._failures >= self._attempts:
            raise ServiceError(f"{self._url} doesn't answer, asked {self._asked} times: {error}")
        wait = min(_FIRST_WAIT * 2 ** min(self._asked - 1, 16), _LONGEST_WAIT)
        # Clients that failed together shall not come back together.
        wait *= random.uniform(0.5, 1.0)
        time.sleep(wait if error.wait is None else error.wait)


class HttpTransport:
    """A cipherfit service.

    Whatever is asked twice has no other effect than what is asked once, so that it is asked again
    where no answer comes, or "not now" (429, 502, 503), after what Retry-After says. Nothing about
    answers is ever sent back.

    Parameters
    ----------
    url : str
        Of the service: ``https://`` and a host, with a path if it is behind one.
    token : str, optional
        Sent as ``Authorization: Bearer``, to hosts other than this only over https.
    timeout : float, default=300
        Seconds without a byte after which an answer is given up.
    attempts : int, default=6
        How often to ask before giving up; a service that says that it is busy (429) is asked for
        `timeout` seconds, however often.
    verify : ssl.SSLContext, optional
        Which certificates to trust. Default: the operating system's.

    Raises
    ------
    InvalidParameterError
        If the URL is none, or the token would travel in clear.
    MissingDependencyError
        If httpx2 is not installed.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        timeout: float = 300.0,
        attempts: int = 6,
        verify: ssl.SSLContext | None = None,
    ) -> None:
        self.url = _checked(url, token)
        self._attempts = integer("attempts", attempts, 1)
        self._httpx = _httpx()
        headers = {"Accept-Encoding": "identity"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        self._seconds = seconds = real("timeout", timeout, above_low=True)
        self._client = self._httpx.Client(
            headers=headers,
            timeout=self._httpx.Timeout(seconds, connect=min(seconds, 10.0)),
            verify=verify or True,
            follow_redirects=False,
        )

    def __repr__(self) -> str:
        return f"HttpTransport({self.url!r})"

    def models(self) -> list[dict[str, Any]]:
        """Return what the service says of its models.

        Raises
        ------
        ServiceError
            If it doesn't.
        """
        answer = self._send("GET", "/v1/models", most=_MOST_JSON_BYTES)
        try:
            models = json.loads(answer.body)
        except (ValueError, RecursionError):
            models = None
        if not isinstance(models, list) or not all(isinstance(model, dict) for model in models):
            raise ServiceError(f"{self.url} lists no models: is it a cipherfit service?")
        return models

    def client_file(self, digest: str) -> bytes:
        """Return a model's client file."""
        return self._send("GET", f"/v1/models/{digest}", most=_MOST_CLIENT_BYTES).body

    def has_keys(self, key: str) -> bool:
        """Tell whether evaluation keys are there as a whole."""
        return self._offset(key) is None

    def put_keys(self, key: str, data: bytes, digest: str) -> None:
        """Upload evaluation keys, from where an earlier upload stopped."""
        if len(data) <= _PIECE_BYTES:
            self._send("PUT", f"/v1/keys/{key}", data, params={"model": digest})
            return
        patience, offset = self._patience(), self._offset(key)
        while offset is not None:
            piece = data[offset : offset + _PIECE_BYTES]
            try:
                answer = self._once(
                    "PATCH",
                    f"/v1/keys/{key}",
                    piece,
                    params={"model": digest},
                    headers={"Upload-Offset": str(offset), "Upload-Length": str(len(data))},
                )
            except _NoAnswerError as error:
                patience.wait(error)
                answer = None
            if answer is not None and answer.status in (200, 201):
                return
            if answer is not None and answer.status not in (204, 409):
                raise self._refused("PATCH", "/v1/keys", answer)
            reached = self._offset(key)
            if reached is not None and reached <= offset and answer is not None:
                patience.wait(_NoAnswerError("the upload makes no progress"))
            elif answer is not None:
                patience = self._patience()
            offset = reached

    def predict(self, digest: str, key: str, body: bytes, most: int) -> bytes:
        """Return a model's answer of at most so many bytes to frames encrypted under keys."""
        path = f"/v1/models/{digest}/predict"
        return self._send("POST", path, body, params={"key": key}, most=most).body

    def close(self) -> None:
        """Close connections."""
        self._client.close()

    def _offset(self, key: str) -> int | None:
        """Return how many bytes of keys are there; None if all are."""
        answer = self._send("HEAD", f"/v1/keys/{key}", fine=(200, 404))
        if answer.status == 200:
            return None
        offset = answer.headers.get("upload-offset", "0")
        return int(offset) if re.fullmatch(r"\d{1,15}", offset) else 0

    def _send(
        self, method: str, path: str, *content: bytes, fine: tuple[int, ...] = (), **options: Any
    ) -> _Answer:
        """Return the answer to a request, sent until there is one."""
        patience = self._patience()
        while True:
            try:
                answer = self._once(method, path, *content, **options)
            except _NoAnswerError as error:
                patience.wait(error)
                continue
            if answer.status in fine or 200 <= answer.status < 300:
                return answer
            raise self._refused(method, path, answer)

    def _once(
        self,
        method: str,
        path: str,
        content: bytes | None = None,
        *,
        params: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
        most: int = _MOST_JSON_BYTES,
    ) -> _Answer:
        """Send a request once."""
        sent = {**(_BYTES if content is not None else {}), **(headers or {})}
        request = self._client.build_request(
            method, self.url + path, content=content, params=params, headers=sent
        )
        try:
            response = self._client.send(request, stream=True)
            try:
                body = self._body(response, most)
            finally:
                response.close()
        except self._httpx.ReadTimeout:
            raise ServiceError(
                f"{self.url} doesn't answer in time: give a larger timeout"
            ) from None
        except self._httpx.TransportError as error:
            raise _NoAnswerError(f"{type(error).__name__}: {error}") from None
        answer = _Answer(response.status_code, response.headers, body)
        if answer.status in _NOT_NOW:
            why = f"status {answer.status}: {answer.message}"
            wait = _seconds(response.headers.get("retry-after"))
            raise _NoAnswerError(why, wait, is_busy=answer.status == _BUSY)
        return answer

    def _body(self, response: Any, most: int) -> bytes:
        """Return a response's body; one that is too long is not read to its end."""
        most = max(most, _MOST_JSON_BYTES) if response.status_code >= 300 else most
        parts, size = [], 0
        for part in response.iter_raw():
            size += len(part)
            if size > most:
                raise ServiceError(f"{self.url} answers with more than {most} bytes")
            parts.append(part)
        return b"".join(parts)

    def _patience(self) -> _Patience:
        return _Patience(self.url, self._attempts, self._seconds)

    def _refused(self, method: str, path: str, answer: _Answer) -> ServiceError:
        said = f"{answer.kind}: {answer.message}" if answer.message else "no reason given"
        if answer.kind == "unknown_key":
            return UnknownKeyError(said)
        where = path.partition("?")[0]
        return ServiceError(f"{self.url} refuses {method} {where} ({answer.status}): {said}")


def _checked(url: str, token: str | None) -> str:
    """Return a URL without a slash at its end."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise InvalidParameterError(f"server={url!r} must be http:// or https:// and a host")
    if parts.username or parts.password:
        raise InvalidParameterError("server must not hold a password: give token=")
    if token is not None and parts.scheme == "http" and not _is_this_machine(parts.hostname):
        raise InvalidParameterError(
            f"server={url!r} would send the token in clear: use https (plain http is for this "
            "machine only)"
        )
    return url.rstrip("/")


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _seconds(retry_after: str | None) -> float | None:
    """Return the seconds that a Retry-After header asks for, as a number or as a date."""
    if retry_after is None:
        return None
    if re.fullmatch(r"[0-9]{1,9}", retry_after):
        seconds = float(retry_after)
    else:
        try:
            when = parsedate_to_datetime(retry_after)
        except ValueError:
            return None
        # Dates of HTTP are in GMT, which older forms of them don't say.
        seconds = when.replace(tzinfo=when.tzinfo or timezone.utc).timestamp() - time.time()
    return min(max(seconds, 0.0), _LONGEST_WAIT)


def _httpx() -> Any:
    try:
        import httpx2
    except ImportError as error:
        raise MissingDependencyError(
            f"services are asked with httpx2 ({error}): pip install 'cipherfit[client]'"
        ) from error
    return httpx2
