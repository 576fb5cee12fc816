"""Arguments that several commands share, and what they name: tables in, answers out."""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable, Sequence
from typing import Any

from numpy.typing import NDArray

from cipherfit.commands.statuses import note
from cipherfit.files.paths import called, read_bytes, write_bytes
from cipherfit.files.tables import Table, read_table, write_answers
from cipherfit.predictor.preparation import Preparation
from cipherfit.predictor.targets import ClassTargets, Targets

#: Adds a command, with what all commands take: `add_parser` of argparse.
AddCommand = Callable[..., argparse.ArgumentParser]

DATA = """\
DATA is a table of features, one row each: CSV in UTF-8, npy, or Parquet (which needs polars or
pyarrow), or - for standard input; its first bytes tell which. CSV may have a header. Where table
and model both have names, columns are matched by name, and others are left out."""


def command(
    add: AddCommand, name: str, summary: str, text: str, example: str
) -> argparse.ArgumentParser:
    """Add a command whose ``--help`` explains it and ends in an example."""
    return add(
        name,
        help=summary,
        description=text,
        epilog=f"example:\n{example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_model(parser: argparse.ArgumentParser) -> None:
    """Take a model's file."""
    parser.add_argument("model", metavar="MODEL", help="file that model.save() wrote")


def add_data(parser: argparse.ArgumentParser) -> None:
    """Take a table."""
    parser.add_argument("data", metavar="DATA", help="table of features, or - for standard input")


def add_output(parser: argparse.ArgumentParser, what: str, *, default: str | None = None) -> None:
    """Say where to write."""
    where = "required" if default is None else "default: standard output"
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        default=default,
        required=default is None,
        help=f"{what}, - for standard output ({where})",
    )


def add_proba(parser: argparse.ArgumentParser) -> None:
    """Ask for probabilities."""
    parser.add_argument(
        "--proba", action="store_true", help="probabilities, a column per class, not labels"
    )


def rows_of(
    source: str, names: Sequence[str] | None, preparation: Preparation | None = None
) -> Table:
    """Return the rows of a table, with the columns that a model asks for.

    Parameters
    ----------
    source : str
        A path, or ``-``.
    names : sequence of str, optional
        Names of the network's features.
    preparation : Preparation, optional
        What makes these features of raw ones, which may be texts.
    """
    if preparation is not None:
        names = preparation.names
    texts = preparation is not None
    table = read_table(read_bytes(source), names=names, texts=texts, name=called(source))
    chosen, left_out = table.select(names), table.left_out(names)
    if left_out:
        note(f"columns that the model doesn't take are left out: {', '.join(left_out)}")
    return chosen.numbered() if texts else chosen


def write_csv(target: str, answers: NDArray[Any], classes: Targets | None = None) -> None:
    """Write answers as CSV: labels or targets, or a column of probabilities for each class."""
    if isinstance(classes, ClassTargets):
        header = [str(label) for label in classes.classes]
    elif answers.ndim == 1:
        header = ["prediction"]
    else:
        header = [f"prediction_{column}" for column in range(answers.shape[1])]
    stream = io.StringIO()
    write_answers(stream, header, answers)
    write_bytes(target, stream.getvalue().encode())
