"""Commands of who holds the model: inspect, verify, client and predict."""

from __future__ import annotations

import argparse
import json

import cipherfit
from cipherfit.commands.arguments import (
    DATA,
    AddCommand,
    add_data,
    add_model,
    add_output,
    add_proba,
    command,
    rows_of,
    write_csv,
)
from cipherfit.commands.statuses import Status
from cipherfit.files.paths import write_bytes
from cipherfit.files.summary import as_text, client_model_of, differences, summary

_INSPECT = """\
Say what a model computes, what is proven of it, what stays secret, and what encrypted rows cost on
this machine (which takes some seconds where lookups are encrypted)."""

_VERIFY = """\
Load a model as the server would: check that the file is whole, that its digests are those of what
it holds, and prove anew that every accumulator fits. With --digest or --client, also check that it
is the model that somebody else speaks of. Prints what holds; exit status 1 if something doesn't."""

_CLIENT = """\
Write the client's file of a model: how rows become codes and sums become answers, and the
parameters of the encryption. None of the server's weights are in it. Everybody may have it, as long
as it comes to clients unchanged: they trust what it says."""

_PREDICT = f"""\
Answer rows with both sides in one process, which is right for tests and for measuring: in clear,
simulated with the encryption's errors, or encrypted.

{DATA}"""


def add_models(add: AddCommand) -> None:
    """Add the commands."""
    _add_inspect(add)
    _add_verify(add)
    _add_client(add)
    _add_predict(add)


def _add_inspect(add: AddCommand) -> None:
    parser = command(
        add,
        "inspect",
        "say what a model computes, proves, keeps secret and costs",
        _INSPECT,
        "  cipherfit inspect model.cipherfit\n"
        "  cipherfit inspect model.cipherfit --json | jq .costs.seconds_per_row",
    )
    add_model(parser)
    parser.add_argument("--json", action="store_true", help="as JSON, for programs")
    parser.set_defaults(action=_inspect)


def _add_verify(add: AddCommand) -> None:
    parser = command(
        add,
        "verify",
        "check that a model is whole and proven, and the one that is meant",
        _VERIFY,
        "  cipherfit verify model.cipherfit --client model.client && echo fine",
    )
    add_model(parser)
    parser.add_argument("--digest", metavar="HEX", help="the digest that it must have")
    parser.add_argument("--client", metavar="FILE", help="a client's file that must be made of it")
    parser.set_defaults(action=_verify)


def _add_client(add: AddCommand) -> None:
    parser = command(
        add,
        "client",
        "write the client's file of a model, without the server's weights",
        _CLIENT,
        "  cipherfit client model.cipherfit -o model.client",
    )
    add_model(parser)
    add_output(parser, "the client's file")
    parser.set_defaults(action=_client)


def _add_predict(add: AddCommand) -> None:
    parser = command(
        add,
        "predict",
        "answer rows with both sides in one process, in clear or encrypted",
        _PREDICT,
        "  cipherfit predict model.cipherfit rows.csv -o answers.csv\n"
        "  head -5 rows.csv | cipherfit predict model.cipherfit - --fhe execute",
    )
    add_model(parser)
    add_data(parser)
    parser.add_argument(
        "--fhe",
        choices=("disable", "simulate", "execute"),
        default="disable",
        help="in clear, simulated with random errors, or encrypted (default: %(default)s)",
    )
    add_proba(parser)
    add_output(parser, "answers, CSV", default="-")
    parser.set_defaults(action=_predict)


def _inspect(options: argparse.Namespace) -> None:
    told = summary(cipherfit.load(options.model))
    print(json.dumps(told, indent=2) if options.json else as_text(told))


def _verify(options: argparse.Namespace) -> Status:
    predictor = cipherfit.load(options.model)
    client = None if options.client is None else cipherfit.load_client(options.client)
    found = differences(predictor, digest=options.digest, client=client)
    bits = predictor.graph.prove().max_accumulator_bits
    holds = f"whole, and proven to fit accumulators of {bits} bits: {predictor.graph!r}"
    for line in found or [holds]:
        print(line)
    return Status.NO if found else Status.DONE


def _client(options: argparse.Namespace) -> None:
    predictor = cipherfit.load(options.model)
    write_bytes(options.output, client_model_of(predictor).to_bytes())


def _predict(options: argparse.Namespace) -> None:
    predictor = cipherfit.load(options.model)
    rows = rows_of(options.data, predictor.features.names, predictor.preparation)
    if options.fhe != "disable" and predictor.circuit is None:
        predictor.compile()
    if options.proba:
        probabilities = predictor.predict_proba(rows, fhe=options.fhe)
        write_csv(options.output, probabilities, predictor.targets)
    else:
        write_csv(options.output, predictor.predict(rows, fhe=options.fhe))
