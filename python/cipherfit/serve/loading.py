"""From predictors, or files of them, to models as a service has them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cipherfit
from cipherfit.exceptions import InvalidParameterError, NotCompiledError
from cipherfit.fhe.messages import Templates
from cipherfit.fhe.server_part import ServerPart
from cipherfit.predictor.predictor import Predictor
from cipherfit.serve.concrete import ConcreteModel
from cipherfit.serve.models import BfvModel, ServedModel
from cipherfit.serve.workers import NoteDeath

Source = Predictor | str | Path
#: Rows of a request where none are said: those of Concrete take half a second each.
_ROWS = {"bfv": 4096, "concrete": 64}


@dataclass(frozen=True)
class Workforce:
    """What encrypted lookups run in.

    Parameters
    ----------
    workers : int
        Processes of each model.
    worker_bytes : int
        Memory of each process.
    note_death : callable
        Called with a key, and why its worker ended.
    """

    workers: int
    worker_bytes: int
    note_death: NoteDeath


def served(
    sources: Source | Sequence[Source] | Mapping[str, Source],
    workforce: Workforce,
    max_rows: int | None = None,
) -> dict[str, ServedModel]:
    """Return models by digest.

    Parameters
    ----------
    sources : Predictor or path, or a sequence of them, or a mapping from names to them
        Files are called by their names, and predictors without a name by their digest.
    workforce : Workforce
        For encrypted lookups.
    max_rows : int, optional
        Rows of a request, at most. Default: 4096, and 64 where there are lookups.

    Returns
    -------
    dict of str to ServedModel

    Raises
    ------
    InvalidParameterError
        If there are none, or two are the same network.
    NotCompiledError
        If one is not compiled.
    """
    models: dict[str, ServedModel] = {}
    for name, predictor in _named(sources):
        model = _model(name, predictor, workforce, max_rows)
        if model.digest in models:
            raise InvalidParameterError(
                f"models={name!r} is the same network as {models[model.digest].name!r}"
            )
        models[model.digest] = model
    if not models:
        raise InvalidParameterError("models=[] must be at least one")
    return models


def _named(
    sources: Source | Sequence[Source] | Mapping[str, Source],
) -> Iterator[tuple[str | None, Predictor]]:
    if isinstance(sources, Predictor | str | Path):
        sources = [sources]
    if isinstance(sources, Mapping):
        pairs: list[tuple[str | None, Source]] = list(sources.items())
    else:
        pairs = [(None, source) for source in sources]
    for name, source in pairs:
        if isinstance(source, Predictor):
            yield name, source
        elif isinstance(source, str | Path):
            yield name or Path(source).stem, cipherfit.load(source)
        else:
            raise InvalidParameterError(
                f"models={source!r} must be predictors, such as model.predictor_, or paths"
            )


def _model(
    name: str | None, predictor: Predictor, workforce: Workforce, max_rows: int | None
) -> ServedModel:
    circuit = predictor.circuit
    if circuit is None or not circuit.configuration.fhe_execution:
        raise NotCompiledError(
            f"models={name or predictor!r} is not compiled for encrypted runs: call compile() "
            "before it is saved or served"
        )
    client = predictor.client_model()
    parts: dict[str, Any] = {
        "name": name or client.digest[:12],
        "digest": client.digest,
        "n_features": client.n_features,
        "client": client.to_bytes(),
        "max_rows": max_rows or _ROWS[client.backend],
    }
    if client.backend == "bfv":
        return BfvModel(server=circuit.server.serialize(), **parts)
    return ConcreteModel(
        part=ServerPart.of(circuit),
        templates=Templates.of(circuit),
        batch_rows=circuit.rows.most_rows,
        workers=workforce.workers,
        worker_bytes=workforce.worker_bytes,
        note_death=workforce.note_death,
        **parts,
    )
