"""How the command ends: exit statuses, and errors as one line."""

from __future__ import annotations

import os
import signal
import sys
import traceback
import warnings
from argparse import Namespace
from enum import IntEnum
from typing import Any

from cipherfit.exceptions import (
    CipherfitError,
    InputTypeError,
    InvalidInputError,
    InvalidParameterError,
    KeyStoreError,
    MissingDependencyError,
    SecurityError,
    SerializationError,
)


class Status(IntEnum):
    """Exit statuses, which scripts can rely on."""

    DONE = 0
    NO = 1
    USAGE = 2
    DAMAGED = 3
    UNFIT = 4
    MISSING = 5
    KEYS = 6


#: What is said of them in ``--help``.
MEANINGS = """\
exit status:
  0  done; of verify: all is as it must be
  1  the answer is no, or it can't be done; the message says why
  2  the command line is wrong
  3  a file is damaged, cut off, or not of the kind that was asked for
  4  data, messages or keys are sound, but don't fit this model
  5  a file or a package is missing or can't be used
  6  secret keys are missing or can't be opened, or an encryption is too weak to be used
130  ended by Ctrl-C; 141 by whoever read the output"""

_STATUSES: list[tuple[type[Exception], Status]] = [
    (SerializationError, Status.DAMAGED),
    (InvalidParameterError, Status.USAGE),
    (InvalidInputError, Status.UNFIT),
    (InputTypeError, Status.UNFIT),
    (MissingDependencyError, Status.MISSING),
    (KeyStoreError, Status.KEYS),
    (SecurityError, Status.KEYS),
    (OSError, Status.MISSING),
    (CipherfitError, Status.NO),
]


def ended(options: Namespace) -> int:
    """Run what was asked for, and return the exit status."""
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            status = int(options.action(options) or Status.DONE)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # Whoever read our output has had enough, such as `head`; the interpreter flushes once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except (CipherfitError, OSError) as error:
        if options.debug:
            traceback.print_exc()
        print(f"cipherfit: {_line(error)}", file=sys.stderr)
        return status_of(error)
    return status


def status_of(error: Exception) -> Status:
    """Return the exit status of an error of ours, or of the operating system's."""
    return next(status for kind, status in _STATUSES if isinstance(error, kind))


def note(text: str) -> None:
    """Say something on standard error that is no error."""
    print(f"cipherfit: {text}", file=sys.stderr)


def _line(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split())


def _show_warning(message: Any, *_: Any, **__: Any) -> None:
    note(f"warning: {' '.join(str(message).split())}")
