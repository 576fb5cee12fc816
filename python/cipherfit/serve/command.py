"""`cipherfit serve`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

#: Bounds of a service: type, default, and what they bound.
_BOUNDS: dict[str, tuple[type, Any, str]] = {
    "keys-mb": (int, 8192, "megabytes of all keys"),
    "tenant-mb": (int, 1024, "megabytes of one tenant's keys"),
    "keep-days": (float, 30.0, "days that an unused key stays"),
    "max-rows": (int, None, "rows of a request, where not 4096, or 64 with lookups"),
    "queue": (int, 64, "predictions that wait or run"),
    "tenant-queue": (int, 16, "those of one tenant"),
    "deadline": (float, 60.0, "seconds for a prediction to wait and run"),
    "body-deadline": (float, 30.0, "seconds for a body to come in"),
    "drain": (int, 30, "seconds for what is under way at SIGTERM"),
    "workers": (int, 1, "processes of each model with encrypted lookups"),
    "worker-mb": (int, 4096, "megabytes of memory of such a process"),
}


def add_serve(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command."""
    command = commands.add_parser(
        "serve",
        parents=[common],
        help="answer encrypted rows over HTTP",
        description="Answer encrypted rows over HTTP, until SIGTERM or Ctrl-C. It speaks plain "
        "HTTP: put a reverse proxy with TLS before it, as docs/service.md shows.",
    )
    add = command.add_argument
    add("models", nargs="+", type=Path, help="files that save() of a compiled model wrote")
    add("--keys", type=Path, required=True, help="folder for clients' evaluation keys")
    add("--tokens", type=Path, help="file: a tenant and the SHA-256 of its token on each line")
    add("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    add("--port", type=int, default=8000, help="its port (default: %(default)s)")
    for name, (kind, default, text) in _BOUNDS.items():
        shown = text if default is None else f"{text} (default: %(default)s)"
        add(f"--{name}", type=kind, default=default, help=shown)
    command.set_defaults(action=_run)


def _run(options: argparse.Namespace) -> None:
    # What a command needs is imported with it: other commands need none of the web.
    from cipherfit.serve import serve

    bounds = [name.replace("-", "_") for name in _BOUNDS]
    serve(
        options.models,
        keys=options.keys,
        tokens=options.tokens,
        host=options.host,
        port=options.port,
        **{name: getattr(options, name) for name in bounds},
    )
