"""Commands of either side: of the client, who has the rows, and of the server, who runs them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

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
from cipherfit.files.client import decrypt_answers, encrypt_rows, make_keys
from cipherfit.files.messages import Kind, Message
from cipherfit.files.paths import called, read_bytes, write_bytes
from cipherfit.files.server import run_message
from cipherfit.files.templates import templates_file
from cipherfit.serve.keystore import KeyStore

_KEYGEN = """\
Make keys for a model, unless the key store has some: the secret key stays in the key store,
encrypted and readable by you alone; the evaluation keys are written to a file for the server. They
let it compute on what you encrypt, and read none of it."""

_ENCRYPT = f"""\
Turn rows into codes, compute the client's layers, and encrypt the result for the server. Nothing
else of the rows leaves this machine.

{DATA}"""

_TEMPLATES = """\
Write down what messages of a model look like: the server compares keys and rows with that before
anything computes on them. With lookups this takes seconds, as throwaway keys are made; given this
file, run doesn't do it anew. Keep it as you keep the model: it says what run lets through."""

_RUN = """\
Compute encrypted rows: the server's side, which needs the model and the client's evaluation keys,
and no secret. Everything about the files is checked first."""

_DECRYPT = """\
Decrypt the server's answers, and write them as CSV. Don't tell a server that you don't trust what
came out: errors of the encryption say something about the key."""


def add_sides(add: AddCommand) -> None:
    """Add the commands."""
    _add_keygen(add)
    _add_encrypt(add)
    _add_templates(add)
    _add_run(add)
    _add_decrypt(add)


def _add_keygen(add: AddCommand) -> None:
    parser = command(
        add,
        "keygen",
        "client: make keys, and write the evaluation keys for the server",
        _KEYGEN,
        "  cipherfit keygen model.client --keys ~/.cipherfit/keys -o keys.public",
    )
    _add_client_file(parser)
    _add_keys(parser)
    add_output(parser, "evaluation keys, for the server")
    parser.set_defaults(action=_keygen)


def _add_encrypt(add: AddCommand) -> None:
    parser = command(
        add,
        "encrypt",
        "client: encrypt rows",
        _ENCRYPT,
        "  cipherfit encrypt model.client rows.csv --keys ~/.cipherfit/keys -o rows.enc",
    )
    _add_client_file(parser)
    add_data(parser)
    _add_keys(parser)
    add_output(parser, "encrypted rows")
    parser.set_defaults(action=_encrypt)


def _add_templates(add: AddCommand) -> None:
    parser = command(
        add,
        "templates",
        "server: prepare a model, so that run starts faster",
        _TEMPLATES,
        "  cipherfit templates model.cipherfit -o model.templates",
    )
    add_model(parser)
    add_output(parser, "templates, for run")
    parser.set_defaults(action=_templates)


def _add_run(add: AddCommand) -> None:
    parser = command(
        add,
        "run",
        "server: compute encrypted rows, without a secret",
        _RUN,
        "  cipherfit run model.cipherfit rows.enc --evaluation-keys keys.public -o answers.enc",
    )
    add_model(parser)
    _add_message(parser, "encrypted rows")
    parser.add_argument(
        "--evaluation-keys", metavar="FILE", required=True, help="of the client that encrypted them"
    )
    parser.add_argument(
        "--templates", metavar="FILE", help="of `cipherfit templates` (default: found out anew)"
    )
    add_output(parser, "encrypted answers")
    parser.set_defaults(action=_run)


def _add_decrypt(add: AddCommand) -> None:
    parser = command(
        add,
        "decrypt",
        "client: decrypt answers, into CSV",
        _DECRYPT,
        "  cipherfit decrypt model.client answers.enc --keys ~/.cipherfit/keys -o answers.csv",
    )
    _add_client_file(parser)
    _add_message(parser, "encrypted answers")
    _add_keys(parser)
    add_proba(parser)
    add_output(parser, "answers, CSV", default="-")
    parser.set_defaults(action=_decrypt)


def _add_client_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("client", metavar="CLIENTFILE", help="file of `cipherfit client`")


def _add_message(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("message", metavar="FILE", help=f"{what}, or - for standard input")


def _add_keys(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--keys",
        metavar="DIR",
        type=Path,
        default=Path("~/.cipherfit/keys"),
        help="key store, for you alone (default: %(default)s)",
    )
    parser.add_argument(
        "--key-file",
        metavar="FILE",
        type=Path,
        help="file with the key store's passphrase, for you alone (default: the environment's "
        "CIPHERFIT_PASSPHRASE, else the system's keyring)",
    )


def _keygen(options: argparse.Namespace) -> None:
    model = cipherfit.load_client(options.client)
    write_bytes(options.output, make_keys(model, _store(options)).to_bytes())


def _encrypt(options: argparse.Namespace) -> None:
    model = cipherfit.load_client(options.client)
    around = model.surroundings
    rows = rows_of(options.data, around.feature_names, around.preparation)
    write_bytes(options.output, encrypt_rows(model, _store(options), rows).to_bytes())


def _templates(options: argparse.Namespace) -> None:
    predictor = cipherfit.load(options.model)
    write_bytes(options.output, templates_file(predictor.circuit or predictor.compile()))


def _run(options: argparse.Namespace) -> None:
    predictor = cipherfit.load(options.model)
    keys = _message(options.evaluation_keys, Kind.EVALUATION_KEYS)
    rows = _message(options.message, Kind.ROWS)
    templates = None if options.templates is None else read_bytes(options.templates)
    answers = run_message(predictor, rows, keys, templates=templates, progress=_show_progress)
    write_bytes(options.output, answers.to_bytes())


def _decrypt(options: argparse.Namespace) -> None:
    model = cipherfit.load_client(options.client)
    answers = _message(options.message, Kind.ANSWERS)
    sums = decrypt_answers(model, _store(options), answers)
    if options.proba:
        write_csv(options.output, model.answer_proba(sums), model.surroundings.targets)
    else:
        write_csv(options.output, model.answer(sums))


def _store(options: argparse.Namespace) -> KeyStore:
    return KeyStore(options.keys, options.key_file)


def _message(source: str, kind: Kind) -> Message:
    return Message.from_bytes(read_bytes(source), kind=kind, name=called(source))


def _show_progress(done: int, total: int) -> None:
    """Say how far it is, on a terminal, in place of what was said before."""
    if sys.stderr.isatty():
        end = "\n" if done == total else ""
        print(f"\r{done} of {total} rows", end=end, file=sys.stderr, flush=True)
