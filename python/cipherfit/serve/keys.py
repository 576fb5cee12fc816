"""Evaluation keys on disk: files named by their digest, and an index of whose they are.

A key is not secret, but it is large, and its client counts on it: what was acknowledged survives
the process, however it ends. Uploads grow in place under another name, so an interrupted one goes
on where it stopped.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from cipherfit.exceptions import InvalidParameterError
from cipherfit.predictor.container import sync_folder
from cipherfit.serve.refusals import RefusedError, busy, unknown_key, unprocessable

_SCHEMA = """
CREATE TABLE IF NOT EXISTS keys (
    tenant TEXT NOT NULL, id TEXT NOT NULL, fits TEXT NOT NULL, bytes INTEGER NOT NULL,
    complete INTEGER NOT NULL, used REAL NOT NULL, PRIMARY KEY (tenant, id)
);
CREATE TABLE IF NOT EXISTS deaths (
    tenant TEXT NOT NULL, id TEXT NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (tenant, id)
);
"""
#: Seconds for which the time of a key's last use may be off: each note of it is written to disk.
_USE_RESOLUTION = 60.0
#: Seconds for which a key is kept for its first request, and an upload for its next piece.
_FRESH_SECONDS = 30.0
_CHUNK = 1 << 20
#: A key is refused once it has ended so many workers.
MAX_DEATHS = 2


@dataclass(frozen=True)
class Limits:
    """How much room keys may take.

    Parameters
    ----------
    total_bytes, tenant_bytes : int
        Of all keys, and of one tenant's; beyond it those go that were not used for longest.
    seconds : float
        How long a key stays that is not used.
    """

    total_bytes: int
    tenant_bytes: int
    seconds: float


@dataclass(frozen=True)
class Key:
    """A key that is complete.

    Parameters
    ----------
    tenant, id : str
        Whose, and the SHA-256 of its bytes.
    fits : str
        What it was made for: a model's `fits`.
    path : Path
        Its bytes.
    """

    tenant: str
    id: str
    fits: str
    path: Path


class KeyStore:
    """Evaluation keys of tenants, and uploads that are under way.

    Parameters
    ----------
    folder : Path
        Where they are; made if missing, for this user alone.
    limits : Limits
        How much room they may take.

    Raises
    ------
    InvalidParameterError
        If another service uses the folder.
    OSError, sqlite3.Error
        If it can't be used.
    """

    def __init__(self, folder: Path, limits: Limits) -> None:
        self._folder = folder
        self._limits = limits
        self._lock = threading.RLock()
        #: Keys that requests use, and uploads that grow: they are not removed to make room.
        self._held: Counter[tuple[str, str]] = Counter()
        #: When keys and uploads came, of those that no request has used yet.
        self._fresh: dict[tuple[str, str], float] = {}
        #: When keys were used since the index was told.
        self._used: dict[tuple[str, str], float] = {}
        self._files = folder / "files"
        self._files.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)
        self._own = _locked(folder)
        self._index = sqlite3.connect(
            folder / "index.sqlite3", check_same_thread=False, isolation_level=None
        )
        self._index.execute("PRAGMA journal_mode=WAL")
        self._index.execute("PRAGMA synchronous=FULL")
        self._index.executescript(_SCHEMA)
        self._reconcile()
        self.sweep()

    def close(self) -> None:
        """Close the index."""
        self._index.close()
        self._own.close()

    @property
    def total_bytes(self) -> int:
        """Bytes of all keys, and those that uploads under way will have."""
        return self._sum("SELECT sum(bytes) FROM keys")

    @property
    def n_keys(self) -> int:
        """Number of complete keys."""
        return self._sum("SELECT count(*) FROM keys WHERE complete")

    def find(self, tenant: str, key: str) -> Key:
        """Return a complete key, and note that it is used.

        Raises
        ------
        RefusedError
            404 if this tenant has none such, 409 if it is quarantined.
        """
        with self._lock:
            row = self._row(tenant, key)
            if row is None or not row[2]:
                raise unknown_key(key)
            if self.deaths(tenant, key) >= MAX_DEATHS:
                raise RefusedError(
                    409, "quarantined", f"key {key[:12]}... ended {MAX_DEATHS} runs: make new keys"
                )
            self._note_use(tenant, key, row[3])
            return Key(tenant, key, row[0], self._path(tenant, key))

    @contextmanager
    def held(self, tenant: str, key: str) -> Iterator[None]:
        """Keep a key, or an upload, from being removed to make room for others."""
        name = (tenant, key)
        with self._lock:
            self._held[name] += 1
        try:
            yield
        finally:
            with self._lock:
                self._held[name] -= 1
                if not self._held[name]:
                    del self._held[name]

    def uploaded(self, tenant: str, key: str) -> int | None:
        """Return how many bytes of an upload are here; None where it is complete."""
        with self._lock:
            row = self._row(tenant, key)
            if row is not None and row[2]:
                return None
            part = self._part(tenant, key)
            return part.stat().st_size if row is not None and part.exists() else 0

    def begin(self, tenant: str, key: str, fits: str, length: int, *, offset: int) -> Upload:
        """Make room for an upload, and return where its bytes go.

        Parameters
        ----------
        tenant, key, fits : str
            As of `Key`.
        length : int
            Bytes of the whole key.
        offset : int
            Bytes that are here already: 0 starts anew.

        Raises
        ------
        RefusedError
            409 if other bytes are here than said, or the key is quarantined; 413 if it is larger
            than the tenant's quota; 429 if there is no room while others are in use.
        """
        quota = min(self._limits.tenant_bytes, self._limits.total_bytes)
        if length > quota:
            raise RefusedError(
                413, "quota", f"the key has {length} bytes, and the quota is {quota}"
            )
        with self._lock:
            if self.deaths(tenant, key) >= MAX_DEATHS:
                raise RefusedError(409, "quarantined", f"key {key[:12]}... ended {MAX_DEATHS} runs")
            here = self.uploaded(tenant, key)
            if offset and here != offset:
                raise RefusedError(
                    409,
                    "upload_offset",
                    f"Upload-Offset is {offset}, and {here or 0} bytes are here",
                    {"Upload-Offset": str(here or 0)},
                )
            self._make_room(tenant, key, length)
            self._index.execute(
                "INSERT OR REPLACE INTO keys VALUES (?, ?, ?, ?, 0, ?)",
                (tenant, key, fits, length, time.time()),
            )
            self._fresh[tenant, key] = time.time()
            part = self._part(tenant, key)
            part.parent.mkdir(mode=0o700, exist_ok=True)
            return Upload(part, key, length, offset)

    def finish(self, tenant: str, upload: Upload) -> None:
        """Keep an upload that is complete and was checked: from now on it is a key."""
        path = self._path(tenant, upload.key)
        with self._lock:
            if self._row(tenant, upload.key) is None:
                raise unknown_key(upload.key)
            self._fresh[tenant, upload.key] = time.time()
            upload.part.replace(path)
            sync_folder(path.parent)
            self._index.execute(
                "UPDATE keys SET complete=1, used=? WHERE tenant=? AND id=?",
                (time.time(), tenant, upload.key),
            )

    def delete(self, tenant: str, key: str) -> None:
        """Remove a key, or an upload, if it is there."""
        with self._lock:
            self._index.execute("DELETE FROM keys WHERE tenant=? AND id=?", (tenant, key))
            self._path(tenant, key).unlink(missing_ok=True)
            self._part(tenant, key).unlink(missing_ok=True)
            self._used.pop((tenant, key), None)
            self._fresh.pop((tenant, key), None)

    def deaths(self, tenant: str, key: str) -> int:
        """Return how many workers a key has ended."""
        return self._sum("SELECT count FROM deaths WHERE tenant=? AND id=?", tenant, key)

    def note_death(self, tenant: str, key: str) -> None:
        """Note that a worker ended while it ran with a key."""
        with self._lock:
            self._index.execute(
                "INSERT INTO deaths VALUES (?, ?, 1) "
                "ON CONFLICT (tenant, id) DO UPDATE SET count = count + 1",
                (tenant, key),
            )

    def sweep(self) -> None:
        """Remove what was not used for too long."""
        with self._lock:
            oldest = time.time() - self._limits.seconds
            for tenant, key in self._index.execute(
                "SELECT tenant, id FROM keys WHERE used < ?", (oldest,)
            ).fetchall():
                if (tenant, key) not in self._held:
                    self.delete(tenant, key)

    def _note_use(self, tenant: str, key: str, known: float) -> None:
        """Note that a key is used now; the index is told now and then."""
        self._fresh.pop((tenant, key), None)
        now = self._used[tenant, key] = time.time()
        if now - known > _USE_RESOLUTION:
            self._index.execute(
                "UPDATE keys SET used=? WHERE tenant=? AND id=?", (now, tenant, key)
            )

    def _make_room(self, tenant: str, key: str, length: int) -> None:
        """Remove the keys that were not used for longest, until another fits."""
        self.sweep()
        rows = self._index.execute(
            "SELECT tenant, id, bytes, used FROM keys WHERE NOT (tenant=? AND id=?)", (tenant, key)
        ).fetchall()
        rows.sort(key=lambda row: self._used.get(row[:2], row[3]))
        total = sum(row[2] for row in rows) + length
        own = sum(row[2] for row in rows if row[0] == tenant) + length
        leaving = []
        for owner, other, size, _ in rows:
            over_quota = own > self._limits.tenant_bytes and owner == tenant
            over = over_quota or total > self._limits.total_bytes
            if over and not self._is_kept(owner, other, for_another=owner != tenant):
                leaving.append((owner, other))
                total -= size
                own -= size if owner == tenant else 0
        if own > self._limits.tenant_bytes or total > self._limits.total_bytes:
            raise busy("there is no room for another key while those here are in use", 2)
        for name in leaving:
            self.delete(*name)

    def _is_kept(self, tenant: str, key: str, *, for_another: bool) -> bool:
        """Whether a key stays though room is needed: in use, or about to be by who brought it."""
        age = time.time() - self._fresh.get((tenant, key), 0.0)
        return (tenant, key) in self._held or (for_another and age < _FRESH_SECONDS)

    def _reconcile(self) -> None:
        """Make index and files agree, whenever the last process ended."""
        known = set()
        rows = self._index.execute("SELECT tenant, id, complete, bytes FROM keys").fetchall()
        for tenant, key, complete, size in rows:
            path, part = self._path(tenant, key), self._part(tenant, key)
            if not complete and path.exists() and path.stat().st_size == size:
                # It ended between the two steps of `finish`.
                self._index.execute(
                    "UPDATE keys SET complete=1 WHERE tenant=? AND id=?", (tenant, key)
                )
                known.add(path)
            elif (path if complete else part).exists():
                known.add(path if complete else part)
            else:
                self.delete(tenant, key)
        for file in self._files.glob("*/*"):
            if file not in known:
                file.unlink()

    def _row(self, tenant: str, key: str) -> tuple[str, int, int, float] | None:
        row: tuple[str, int, int, float] | None = self._index.execute(
            "SELECT fits, bytes, complete, used FROM keys WHERE tenant=? AND id=?", (tenant, key)
        ).fetchone()
        return row

    def _sum(self, query: str, *parameters: str) -> int:
        with self._lock:
            row = self._index.execute(query, parameters).fetchone()
        return int(row[0] or 0) if row else 0

    def _path(self, tenant: str, key: str) -> Path:
        return self._files / tenant / key

    def _part(self, tenant: str, key: str) -> Path:
        return self._files / tenant / f"{key}.part"


class Upload:
    """The bytes of a key, as they come in.

    Parameters
    ----------
    part : Path
        Where they go until they are complete.
    key : str
        The SHA-256 that they must have.
    length, offset : int
        Bytes of the whole, and those that are there.
    """

    def __init__(self, part: Path, key: str, length: int, offset: int) -> None:
        self.part = part
        self.key = key
        self.length = length
        flags = os.O_WRONLY | os.O_CREAT | (0 if offset else os.O_TRUNC)
        self._file = os.fdopen(os.open(part, flags, 0o600), "wb")
        self._file.seek(offset)
        self._received = offset

    def write(self, chunk: bytes) -> None:
        """Append bytes; more than were announced are refused."""
        self._received += len(chunk)
        if self._received > self.length:
            raise unprocessable("length", f"more than the {self.length} bytes that were announced")
        self._file.write(chunk)
        self._file.flush()

    def close(self) -> None:
        """Write what has come in to disk."""
        if not self._file.closed:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()

    @property
    def is_complete(self) -> bool:
        """Whether all bytes have come in."""
        return self._received == self.length

    def has_its_digest(self) -> bool:
        """Whether the bytes on disk are those that the key's name says."""
        digest = hashlib.sha256()
        with self.part.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
        return digest.hexdigest() == self.key


def _locked(folder: Path) -> TextIO:
    """Take a folder for this process until the file that is returned is closed."""
    file = (folder / "lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise InvalidParameterError(f"keys={str(folder)!r} is used by another service") from error
    return file
