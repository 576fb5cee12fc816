"""The `cipherfit` command: argparse, which the light client has without installing anything."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial

import cipherfit
from cipherfit.commands.demo import add_demo
from cipherfit.commands.models import add_models
from cipherfit.commands.report import add_report
from cipherfit.commands.sides import add_sides
from cipherfit.commands.statuses import MEANINGS, ended
from cipherfit.serve.command import add_serve

_DESCRIPTION = """\
Quantized neural networks that are proven to fit, and run on encrypted data.

A model is one file, written by model.save("model.cipherfit") in Python. Whoever trained it makes
the client's file of it, which holds none of the server's weights; from there on each side has its
own commands, and what goes between them are files."""

_EXAMPLES = """\
example:
  # who trained the model
  cipherfit inspect model.cipherfit
  cipherfit client model.cipherfit -o model.client

  # the client, who has the rows and keeps the secret key
  cipherfit keygen model.client --keys ~/.cipherfit/keys -o keys.public
  cipherfit encrypt model.client rows.csv --keys ~/.cipherfit/keys -o rows.enc

  # the server, who has the weights and no secret
  cipherfit run model.cipherfit rows.enc --evaluation-keys keys.public -o answers.enc

  # the client again
  cipherfit decrypt model.client answers.enc --keys ~/.cipherfit/keys -o answers.csv

"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    return ended(_parser().parse_args(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cipherfit",
        description=_DESCRIPTION,
        epilog=_EXAMPLES + MEANINGS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=cipherfit.__version__)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--debug", action="store_true", help="show where an error came from")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add = partial(commands.add_parser, parents=[common])
    add_models(add)
    add_report(add)
    add_sides(add)
    add_serve(add)
    add_demo(add)
    return parser
