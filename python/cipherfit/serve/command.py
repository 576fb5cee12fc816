"""`cipherfit serve`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cipherfit.exceptions import InvalidParameterError

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


#: What is for the page alone, and what for a service without it alone.
_OF_PAGE, _OF_SERVICE = ("page_port", "form", "open"), ("keys", "tokens")
_PORT = 8000


def add_serve(add_command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the command."""
    command = add_command(
        "serve",
        help="answer encrypted rows over HTTP, or show a page to try a model on",
        description="Answer encrypted rows over HTTP, until SIGTERM or Ctrl-C. It speaks plain "
        "HTTP: put a reverse proxy with TLS before it, as docs/service.md shows. With --demo, also "
        "show a page on this machine, to draw a digit or fill in a row, and see what is sent.",
    )
    add = command.add_argument
    add(
        "models",
        nargs="*",
        type=Path,
        help="files that save() of a compiled model wrote; with --demo one, or none: then a "
        "network that reads digits is trained first, in seconds",
    )
    add("--keys", type=Path, help="folder for clients' evaluation keys (not with --demo)")
    add("--tokens", type=Path, help="file: a tenant and the SHA-256 of its token on each line")
    add("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    add("--port", type=int, help=f"its port (default: {_PORT}; with --demo, or the next free one)")
    add("--demo", action="store_true", help="show a page to try a model on")
    add("--page-port", type=int, help="of the page (default: 8080, or the next free one)")
    add(
        "--form", action="store_true", help="of the page: numbers, also where a model sees pictures"
    )
    add("--open", action="store_true", help="open the page in a browser")
    for name, (kind, default, text) in _BOUNDS.items():
        shown = text if default is None else f"{text} (default: %(default)s)"
        add(f"--{name}", type=kind, default=default, help=shown)
    command.set_defaults(action=_run)


def _run(options: argparse.Namespace) -> None:
    _check_together(options)
    (_demo if options.demo else _serve)(options)


def _serve(options: argparse.Namespace) -> None:
    # What a command needs is imported with it: other commands need none of the web.
    from cipherfit.serve import serve

    serve(
        options.models,
        keys=options.keys,
        tokens=options.tokens,
        host=options.host,
        port=_PORT if options.port is None else options.port,
        **_bounds(options),
    )


def _demo(options: argparse.Namespace) -> None:
    from cipherfit.serve import demo

    given: dict[str, Any] = {
        "host": options.host,
        "port": options.port,
        "page_port": options.page_port,
        "form": options.form,
        "open_browser": options.open,
        **_bounds(options),
    }
    if options.models:
        demo(options.models[0], **given)
        return
    from cipherfit.report.digits import train_digit_reader

    print("training a network that reads digits ...", flush=True)
    reader = train_digit_reader()
    print(
        f"{reader.accuracy:.1%} of {reader.n_held_out} digits held out are read right", flush=True
    )
    demo(reader.predictor, name="digits", samples=reader.samples, **given)


def _bounds(options: argparse.Namespace) -> dict[str, Any]:
    names = [name.replace("-", "_") for name in _BOUNDS]
    return {name: getattr(options, name) for name in names}


def _check_together(options: argparse.Namespace) -> None:
    """Refuse what doesn't go together."""
    if not options.demo and not (options.models and options.keys):
        raise InvalidParameterError("serve needs models and --keys; or --demo, and no keys")
    if options.demo and len(options.models) > 1:
        raise InvalidParameterError(f"--demo takes one model, and {len(options.models)} are given")
    for name in _OF_SERVICE if options.demo else _OF_PAGE:
        if getattr(options, name) not in (None, False):
            how = "doesn't go with" if options.demo else "is for"
            raise InvalidParameterError(f"--{name.replace('_', '-')} {how} --demo")
