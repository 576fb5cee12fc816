"""`cipherfit demo`."""

from __future__ import annotations

import argparse
from pathlib import Path

from cipherfit.commands.arguments import AddCommand


def add_demo(add: AddCommand) -> None:
    """Add the command."""
    demo = add(
        "demo",
        help="train on real data, prove, compile, and predict on encrypted rows",
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
    demo.set_defaults(action=_run)


def _run(options: argparse.Namespace) -> None:
    # What a command needs is imported with it: torch and Concrete take seconds.
    from cipherfit.report.demo import run_demo

    run_demo(options.output, options.rows)


def _rows(text: str) -> int:
    rows = int(text) if text.isdigit() else 0
    if rows < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number of rows")
    return rows
