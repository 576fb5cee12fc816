"""The `cipherfit` command."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cipherfit
from cipherfit.exceptions import CipherfitError

#: Bounds of a service: type, default, and what they bound.
_BOUNDS: dict[str, tuple[type, Any, str]] = {
    "keys-mb": (int, 8192, "megabytes of all keys"),
    "tenant-mb": (int, 1024, "megabytes of one tenant's keys"),
    "keep-days": (float, 30.0, "days that an unused key stays"),
    "max-rows": (int, None, "rows of a request; 4096, and 64 with lookups"),
    "queue": (int, 64, "predictions that wait or run"),
    "tenant-queue": (int, 16, "those of one tenant"),
    "deadline": (float, 60.0, "seconds for a prediction"),
    "body-deadline": (float, 30.0, "seconds for a body to come in"),
    "drain": (int, 30, "seconds for what is under way at SIGTERM"),
    "workers": (int, 1, "processes of each model with encrypted lookups"),
    "worker-mb": (int, 8192, "megabytes of address space of such a process"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="cipherfit",
        description="Quantized neural networks that are proven to fit, and run on encrypted data.",
    )
    parser.add_argument("--version", action="version", version=cipherfit.__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser(
        "demo", help="train on real data, prove, compile, and predict on encrypted rows"
    )
    demo.add_argument(
        "--output",
        type=Path,
        default=Path("demo-output"),
        help="folder for the picture (default: %(default)s)",
    )
    demo.add_argument(
        "--rows", type=_rows, default=40, help="encrypted rows per data set (default: %(default)s)"
    )
    _add_serve(commands)
    options = parser.parse_args(arguments)
    try:
        if options.command == "serve":
            _serve(options)
        else:
            # What a command needs is imported with it: torch and Concrete take seconds.
            from cipherfit.report.demo import run_demo

            run_demo(options.output, options.rows)
        sys.stdout.flush()
    except CipherfitError as error:
        print(f"cipherfit: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Whoever read our output has had enough, such as `head`; the interpreter flushes once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    return 0


def _add_serve(commands: Any) -> None:
    command = commands.add_parser(
        "serve",
        help="answer encrypted rows over HTTP",
        description="Answer encrypted rows over HTTP, until SIGTERM. It speaks plain HTTP: put a "
        "reverse proxy with TLS before it.",
    )
    add = command.add_argument
    add("models", nargs="+", type=Path, help="files that a compiled model's save() wrote")
    add("--keys", type=Path, required=True, help="folder for clients' evaluation keys")
    add("--tokens", type=Path, help="file: a tenant and the SHA-256 of its token on each line")
    add("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    add("--port", type=int, default=8000, help="its port (default: %(default)s)")
    for name, (kind, default, text) in _BOUNDS.items():
        add(f"--{name}", type=kind, default=default, help=f"{text} (default: %(default)s)")


def _serve(options: argparse.Namespace) -> None:
    from cipherfit.serve import serve

    names = [name.replace("-", "_") for name in _BOUNDS]
    serve(
        options.models,
        keys=options.keys,
        tokens=options.tokens,
        host=options.host,
        port=options.port,
        **{name: getattr(options, name) for name in names},
    )


def _rows(text: str) -> int:
    rows = int(text) if text.isdigit() else 0
    if rows < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number of rows")
    return rows
