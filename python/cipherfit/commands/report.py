"""`cipherfit report`."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from numpy.typing import NDArray

import cipherfit
from cipherfit.commands.arguments import DATA, AddCommand, add_model, add_output, command
from cipherfit.commands.statuses import note
from cipherfit.exceptions import (
    CompilationError,
    InvalidInputError,
    InvalidParameterError,
    MissingDependencyError,
)
from cipherfit.files.paths import called, read_bytes, write_bytes
from cipherfit.files.tables import Table, read_table
from cipherfit.predictor.predictor import Predictor
from cipherfit.predictor.targets import ClassTargets

_REPORT = f"""\
Write one page of HTML about a model: how good it is on test rows, what is proven, who learns what,
what encrypted rows cost here, and what the encryption rests on. It needs nothing else, and asks
nothing of a network. A model that was not compiled is compiled for it, as compile() does.

{DATA}
Labels or targets are a column of DATA that --label names, or a table of their own."""


def add_report(add: AddCommand) -> None:
    """Add the command."""
    parser = command(
        add,
        "report",
        "write a page about a model, for those who decide",
        _REPORT,
        "  cipherfit report model.cipherfit rows.csv --label species -o report.html\n"
        "  cipherfit report model.cipherfit rows.npy --labels labels.csv --encrypted-rows 20 "
        "-o report.html",
    )
    add_model(parser)
    parser.add_argument(
        "data", metavar="DATA", nargs="?", help="table of test rows, or - for standard input"
    )
    labels = parser.add_mutually_exclusive_group()
    labels.add_argument(
        "--label",
        metavar="NAME",
        action="append",
        help="column of DATA with labels or targets; again for further targets",
    )
    labels.add_argument(
        "--labels", metavar="FILE", help="table of labels or targets, a row for each of DATA"
    )
    parser.add_argument(
        "--encrypted-rows",
        metavar="N",
        type=int,
        default=0,
        help="how many of the first rows to run encrypted, to measure (default: %(default)s)",
    )
    parser.add_argument("--title", default="Model report", help="heading (default: %(default)s)")
    add_output(parser, "the page")
    parser.set_defaults(action=_report)


def _report(options: argparse.Namespace) -> None:
    # What a page needs is imported with it.
    from cipherfit.report.html import gather, page_of

    if options.data is None and (options.label or options.labels or options.encrypted_rows):
        raise InvalidParameterError("labels and encrypted rows are of DATA, which is not given")
    predictor = cipherfit.load(options.model)
    rows, labels = None, None
    if options.data is not None:
        rows, labels = _rows(options, predictor)
    try:
        if predictor.circuit is None:
            predictor.compile()
    except (CompilationError, MissingDependencyError) as error:
        note(f"costs and security are left out: {error}")
    data = gather(
        predictor, rows, labels, encrypted_rows=options.encrypted_rows, title=options.title
    )
    write_bytes(options.output, page_of(data).encode())


def _rows(options: argparse.Namespace, predictor: Predictor) -> tuple[Table, Any]:
    """Return the rows that a model asks for, and their labels where there are some."""
    preparation = predictor.preparation
    names = predictor.features.names if preparation is None else preparation.names
    columns = options.label or []
    table = read_table(
        read_bytes(options.data),
        names=[*(names or ()), *columns] or None,
        texts=preparation is not None or bool(columns),
        name=called(options.data),
    )
    labels = table.select(columns).to_numpy() if columns else None
    if options.labels is not None:
        labels = read_table(
            read_bytes(options.labels), texts=True, name=called(options.labels)
        ).to_numpy()
    if names is None and columns:  # what is no label is a feature
        others = [column for column in table.columns or () if column not in set(columns)]
        table = Table(table.select(others).cells)
    chosen, left_out = table.select(names), table.left_out(names)
    if left_out := [column for column in left_out if column not in set(columns)]:
        note(f"columns that the model doesn't take are left out: {', '.join(left_out)}")
    if preparation is not None:
        chosen = chosen.numbered()
    return chosen, None if labels is None else _targets(predictor, labels, len(chosen))


def _targets(predictor: Predictor, cells: NDArray[Any], n_rows: int) -> NDArray[Any]:
    """Return labels or targets of a table's cells, as the model has them."""
    targets = predictor.targets
    if len(cells) != n_rows:
        raise InvalidInputError(
            f"there are {len(cells)} labels and {n_rows} rows. Of labels that are no numbers, a "
            "first line is their name"
        )
    if not isinstance(targets, ClassTargets):
        try:
            values = cells.astype(np.float64)
        except ValueError as error:
            raise InvalidInputError(f"targets must be numbers: {error}") from None
        return values[:, 0] if values.shape[1] == 1 else values
    if cells.shape[1] != 1:
        raise InvalidInputError(f"labels have {cells.shape[1]} columns, and must have one")
    known = {_name(label): label for label in targets.classes.tolist()}
    found = [known.get(_name(cell)) for cell in cells[:, 0].tolist()]
    for row, label in enumerate(found):
        if label is None:
            raise InvalidInputError(
                f"row {row} is labelled {cells[row, 0]!r:.60}, which is not among the classes "
                f"{', '.join(map(repr, targets.classes[:5].tolist()))}"
                f"{', ...' if len(targets.classes) > 5 else ''}"
            )
    return np.asarray(found, dtype=targets.classes.dtype)


def _name(label: Any) -> str:
    """Return a label as text: files have 3.0 for 3, and True as a word."""
    if isinstance(label, float) and label.is_integer():
        label = int(label)
    return str(label)
