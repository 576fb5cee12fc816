"""What the page says of a model and of the processes around it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import cipherfit
from cipherfit.costs import readable_bytes
from cipherfit.predictor.backend import backend_of
from cipherfit.predictor.predictor import Predictor
from cipherfit.serve.page.drawing import Drawing
from cipherfit.serve.page.local import LocalClient
from cipherfit.stages import Stage, encrypted_part, stages_of


def page_values(
    local: LocalClient,
    *,
    name: str,
    service: str,
    service_process: int,
    drawing: Drawing | None,
    samples: Sequence[dict[str, Any]],
    token: str,
) -> dict[str, Any]:
    """Return what the template ``demo.html`` shows.

    Parameters
    ----------
    local : LocalClient
        What the page asks.
    name : str
        What the model is called.
    service : str
        URL of the service.
    service_process : int
        Its process.
    drawing : Drawing or None
        The picture that the model reads, if it reads one.
    samples : sequence of dict
        Pictures to take with a click: ``name``, and ``row`` or ``strokes``.
    token : str
        What the page must send with what it asks.

    Returns
    -------
    dict
    """
    predictor = local.predictor
    return {
        "facts": {
            "name": name,
            "version": cipherfit.__version__,
            "digest": encrypted_part(predictor.graph).digest,
            "client_process": os.getpid(),
            "service": service,
            "service_process": service_process,
            "key_bytes": readable_bytes(len(local.client.evaluation_keys)),
            "before": _before(predictor),
            "computes": _computes(predictor),
            "server_has": _server_has(local),
            "honest": _honest(predictor),
        },
        "fields": local.fields,
        "drawing": drawing,
        "held_out": any("row" in sample for sample in samples),
        "script": {
            "token": token,
            "names": [field.name for field in local.fields],
            "choices": [field.choices and [*field.choices] for field in local.fields],
            "drawing": drawing and asdict(drawing),
            "samples": [*samples],
            "quick": backend_of(predictor.circuit) == "bfv",
        },
    }


def _sides(predictor: Predictor) -> tuple[list[Stage], list[Stage]]:
    """Return the layers of the client and of the server."""
    stages, n_client = list(stages_of(predictor.graph)), predictor.graph.n_client_layers
    return stages[:n_client], stages[n_client:]


def _neurons(stages: Sequence[Stage]) -> str:
    return " and ".join(f"{stage.n_neurons:,}" for stage in stages)


def _before(predictor: Predictor) -> str:
    codes = f"after the row became codes of {predictor.graph.n_bits} bits"
    layers, _ = _sides(predictor)
    if not layers:
        return codes
    return f"{codes}, and these went through {_neurons(layers)} neurons in clear"


def _computes(predictor: Predictor) -> str:
    _, layers = _sides(predictor)
    n_codes = encrypted_part(predictor.graph).n_features
    if not predictor.graph.n_lookups:
        return (
            f"One linear layer, of {n_codes:,} codes to {layers[-1].n_neurons:,} sums, as a "
            "product of polynomials (BFV, 128 bits of security). There are no lookups, so no "
            "errors."
        )
    return (
        f"{len(layers)} layers, of {n_codes:,} codes to {layers[-1].n_neurons:,} sums, with "
        f"{predictor.graph.n_lookups:,} encrypted lookups between (TFHE, 128 bits of security). "
        f"Each errs with probability {predictor.circuit.p_error:.2g} (p_error)."
    )


def _server_has(local: LocalClient) -> list[tuple[str, str]]:
    _, layers = _sides(local.predictor)
    weights = sum(int(layer.weights.size) for layer in layers)
    kind = "evaluation keys" if local.predictor.graph.n_lookups else "public key"
    keys = f"{readable_bytes(len(local.client.evaluation_keys))}, which decrypt nothing"
    return [
        ("weights", f"{weights:,}, which are in no client's file"),
        (kind, keys),
        ("rows", "none that it can read"),
        ("answers", "none that it can read"),
    ]


def _honest(predictor: Predictor) -> list[str]:
    told = [
        f"The secret key was made at this start, and is in process {os.getpid()} alone. Its file "
        "is encrypted under a passphrase that only this process has, and is removed with it.",
        "From the browser to that process your row goes in clear, over this machine's loopback. In "
        "use there is no page between: the program that has the rows encrypts them.",
        "Both processes run here under one account, so either could be made to read the other's "
        "memory. In use the service runs elsewhere, and gets the same bytes.",
        "To compare answers with those in clear, this process also holds the whole model. A client "
        "needs its own file only, which has no weights of the server's.",
        "The server knows when somebody asks, for how many rows, and of which model. A client "
        "knows which model it asks for, and can't tell whether the server computes another.",
    ]
    layers, _ = _sides(predictor)
    if layers:
        told.append(_disclosed(layers, predictor.client_layers))
    if not predictor.graph.n_lookups:
        n_rows = encrypted_part(predictor.graph).n_features + 1
        told.append(
            "A linear layer can be solved for by whoever gets its sums: "
            f"here {n_rows:,} well-chosen rows suffice. Limit how much a client may ask, or count "
            "its weights as public."
        )
    return told


def _disclosed(layers: Sequence[Stage], kind: str | None) -> str:
    which = "layer is" if len(layers) == 1 else f"{len(layers)} layers are"
    sentence = f"The first {which} computed in clear by the client ({_neurons(layers)} neurons)."
    if kind == "random":
        return f"{sentence} Its weights are random: they say nothing of what was trained."
    if kind == "learned":
        return f"{sentence} Its weights are learned, and every client holds them: they are public."
    return f"{sentence} Its weights are not known to be random: count them as public."
