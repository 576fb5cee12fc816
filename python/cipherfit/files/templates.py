"""What messages of a model look like, as a file that its server makes once.

Concrete takes bytes on trust, so that the server compares them with templates first
(`cipherfit.fhe.messages`). To find those it makes throwaway keys, which takes seconds. The file is
JSON: `format`, now 1; `specs`, the SHA-256 of the public parameters; `templates`, null for BFV,
which checks messages by itself.

It says what the server lets through to Concrete, and so has to come from the server.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from cipherfit.exceptions import InvalidInputError, SerializationError
from cipherfit.predictor.backend import backend_of, specs_digest

if TYPE_CHECKING:
    from cipherfit.fhe.messages import Templates

_FORMAT = 1


def templates_file(circuit: Any) -> bytes:
    """Return the file of a circuit's templates.

    Parameters
    ----------
    circuit : fhe.Circuit or BfvCircuit
        Compiled.

    Raises
    ------
    NotCompiledError
        If it was compiled for simulation only.
    """
    found = None
    if backend_of(circuit) == "concrete":
        from cipherfit.fhe.messages import Templates

        found = Templates.of(circuit).to_dict()
    record = {"format": _FORMAT, "specs": specs_digest(circuit), "templates": found}
    return json.dumps(record, sort_keys=True, separators=(",", ":")).encode()


def read_templates(data: bytes, circuit: Any) -> Templates | None:
    """Return the templates of a file, once they are known to be a circuit's.

    Parameters
    ----------
    data : bytes
        As `templates_file` returned it.
    circuit : fhe.Circuit or BfvCircuit
        Compiled.

    Returns
    -------
    Templates or None
        None where BFV encrypts.

    Raises
    ------
    SerializationError
        If it is no such file.
    InvalidInputError
        If it is another circuit's.
    """
    try:
        record = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise SerializationError("the file of templates is no JSON") from error
    if not isinstance(record, dict) or set(record) != {"format", "specs", "templates"}:
        raise SerializationError("the file of templates must have format, specs and templates")
    version = record["format"]
    if version != _FORMAT:
        raise SerializationError(
            f"the templates have format {version!r:.60}, and this cipherfit reads {_FORMAT}"
        )
    if record["specs"] != specs_digest(circuit):
        raise InvalidInputError(
            "the templates are of another model, or of one that was compiled otherwise: make them "
            "again with `cipherfit templates`"
        )
    if backend_of(circuit) == "bfv":
        return None
    from cipherfit.fhe.messages import Templates

    return Templates.from_dict(record["templates"])
