"""Decrypted sums of a long run in a file, from which it goes on after an interruption."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress

import numpy as np
from numpy.typing import NDArray

from cipherfit.exceptions import InvalidParameterError, SerializationError

Int64 = NDArray[np.int64]

#: What tells such a file from SQLite's others: "cphr".
_APPLICATION = 0x63706872
_TABLES = """
CREATE TABLE run (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE answers (row INTEGER PRIMARY KEY, sums BLOB NOT NULL);
"""


class SumStore:
    """A file of SQLite's with the sums of the rows of one run; each is there for good once put.

    It holds what was decrypted, so others than its owner can't read it.

    Parameters
    ----------
    path : str or path
        The file, which is made where there is none.
    run : dict of str to str
        What the run is of, by name: a file that says otherwise is refused.

    Raises
    ------
    InvalidParameterError
        If the file is of another model, key or data; the message says which.
    SerializationError
        If it is no such file.
    """

    def __init__(self, path: str | os.PathLike[str], run: dict[str, str]) -> None:
        self._path = os.fspath(path)
        with suppress(FileExistsError):
            os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        self._database = sqlite3.connect(self._path)
        try:
            self._open(run)
        except sqlite3.DatabaseError as error:
            self.close()
            raise self._refused(str(error)) from error
        except Exception:
            self.close()
            raise

    def _open(self, run: dict[str, str]) -> None:
        application = self._number("PRAGMA application_id")
        if not application and not self._number("SELECT count(*) FROM sqlite_master"):
            with self._database:
                self._database.executescript(
                    f"BEGIN; PRAGMA application_id = {_APPLICATION}; {_TABLES}"
                )
                self._database.executemany("INSERT INTO run VALUES (?, ?)", run.items())
        elif application != _APPLICATION:
            raise self._refused("it is of something else")
        known = dict(self._database.execute("SELECT name, value FROM run"))
        for name, value in run.items():
            if known.get(name) != value:
                raise InvalidParameterError(
                    f"storage={self._path!r} holds answers of another {name}: go on with the one "
                    "that it was begun with, or name another file"
                )

    def load(self, sums: Int64) -> NDArray[np.bool_]:
        """Write the sums that are known into an array (n_samples, n_outputs), and tell of which."""
        known = np.zeros(len(sums), dtype=bool)
        try:
            for row, data in self._database.execute("SELECT row, sums FROM answers"):
                if not 0 <= row < len(sums) or len(data) != sums[0].nbytes:
                    raise self._refused(f"its row {row} does not fit the run")
                sums[row] = np.frombuffer(data, dtype="<i8")
                known[row] = True
        except (sqlite3.DatabaseError, TypeError) as error:
            raise self._refused(str(error)) from error
        return known

    def put(self, rows: Int64, sums: Int64) -> None:
        """Keep the sums (n, n_outputs) of n rows."""
        data = [row.astype("<i8").tobytes() for row in sums]
        with self._database:
            self._database.executemany(
                "INSERT OR REPLACE INTO answers VALUES (?, ?)",
                zip(rows.tolist(), data, strict=True),
            )

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _number(self, question: str) -> int:
        with closing(self._database.execute(question)) as answer:
            return int(answer.fetchone()[0])

    def _refused(self, why: str) -> SerializationError:
        return SerializationError(
            f"storage={self._path!r} is no file with answers of encrypted rows ({why}): name "
            "another, or one that is not there yet"
        )
