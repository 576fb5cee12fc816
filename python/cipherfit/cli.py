"""The `cipherfit` command."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import cipherfit
from cipherfit.exceptions import CipherfitError
from cipherfit.serve.command import add_serve


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
    demo.set_defaults(action=_demo)
    add_serve(commands, argparse.ArgumentParser(add_help=False))
    options = parser.parse_args(arguments)
    try:
        options.action(options)
        sys.stdout.flush()
    except CipherfitError as error:
        print(f"cipherfit: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Whoever read our output has had enough, such as `head`; the interpreter flushes once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    return 0


def _demo(options: argparse.Namespace) -> None:
    # What a command needs is imported with it: torch and Concrete take seconds.
    from cipherfit.report.demo import run_demo

    run_demo(options.output, options.rows)


def _rows(text: str) -> int:
    rows = int(text) if text.isdigit() else 0
    if rows < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number of rows")
    return rows
