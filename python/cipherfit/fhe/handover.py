"""What workers of this machine answer, handed over in files.

Processes of joblib's answer through one pipe. A worker that is killed while it writes more than the
pipe takes at once leaves part of its answer there, and who reads it waits for the rest without
end, as does who waits for the reader. What has no more than `select.PIPE_BUF` bytes is written as
a whole or not at all (POSIX), so answers stay in files, and only their names go through the pipe.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass

from cipherfit.exceptions import CipherfitError

#: Characters of an error's text: with all that is sent around it, less than `select.PIPE_BUF`.
_MOST_TEXT = 600


@dataclass(frozen=True)
class LeftAnswers:
    """Encrypted answers that a worker left in a file, under a name of its own.

    Parameters
    ----------
    path : str
        The file.
    sizes : tuple of int
        Bytes of each answer.
    """

    path: str
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, answers: list[bytes], folder: str) -> LeftAnswers:
        """Leave answers in a folder of the process that waits for them.

        Raises
        ------
        OSError
            If there is no room.
        """
        number, path = tempfile.mkstemp(dir=folder)
        with os.fdopen(number, "wb") as file:
            file.writelines(answers)
        return cls(path, tuple(map(len, answers)))

    def taken(self) -> list[bytes]:
        """Return the answers, and remove the file."""
        with open(self.path, "rb") as file:
            answers = [file.read(size) for size in self.sizes]
        os.unlink(self.path)
        return answers


def brief(error: Exception) -> Exception:
    """Return an error that goes through a pipe at once: the same, or one of the same beginning."""
    text = str(error)
    if len(text) <= _MOST_TEXT:
        return error
    kind = CipherfitError if isinstance(error, CipherfitError) else RuntimeError
    return kind(f"{type(error).__name__}: {text[:_MOST_TEXT]} ...")
