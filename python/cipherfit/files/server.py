"""The server's step on files: encrypted rows in, encrypted answers out, no secret in between."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cipherfit.exceptions import InvalidInputError
from cipherfit.files.messages import Kind, Message
from cipherfit.files.templates import read_templates
from cipherfit.predictor.backend import backend_of
from cipherfit.predictor.predictor import Predictor
from cipherfit.serve.frames import pack
from cipherfit.stages import encrypted_part

if TYPE_CHECKING:
    from cipherfit.fhe.messages import Templates

Progress = Callable[[int, int], None]


def run_message(
    predictor: Predictor,
    rows: Message,
    keys: Message,
    *,
    templates: bytes | None = None,
    progress: Progress | None = None,
) -> Message:
    """Compute encrypted rows.

    Parameters
    ----------
    predictor : Predictor
        The model; compiled if it isn't.
    rows : Message
        Encrypted rows.
    keys : Message
        Evaluation keys of the client that encrypted them.
    templates : bytes, optional
        File of `cipherfit.files.templates.templates_file`. Default: made anew where lookups are
        encrypted, which takes seconds.
    progress : callable, optional
        Called with the number of rows that are done, and of all.

    Returns
    -------
    Message
        Encrypted answers.

    Raises
    ------
    InvalidInputError
        If rows, keys or templates are not for this model, or don't belong together.
    SerializationError
        If something in them is damaged.
    """
    digest = encrypted_part(predictor.graph).digest
    keys.check_belongs(model=digest, name="the evaluation keys")
    rows.check_belongs(model=digest, key=keys.key, name="the encrypted rows")
    frames = rows.frames()
    circuit = predictor.circuit or predictor.compile()
    known = None if templates is None else read_templates(templates, circuit)
    if backend_of(circuit) == "bfv":
        answers = _run_bfv(circuit, frames, keys.body)
    else:
        answers = _run_concrete(circuit, frames, keys.body, known, progress)
    return Message(Kind.ANSWERS, digest, keys.key, pack(answers), rows.n_rows)


def _run_bfv(circuit: Any, frames: list[bytes], keys: bytes) -> list[bytes]:
    if len(frames) != 1:
        raise InvalidInputError(
            f"the encrypted rows are {len(frames)} frames, and BFV puts all rows in one"
        )
    return [circuit.server.run(frames[0], keys).serialize()]


def _run_concrete(
    circuit: Any,
    frames: list[bytes],
    keys: bytes,
    templates: Templates | None,
    progress: Progress | None,
) -> list[bytes]:
    """Check every byte outside the numbers, for Concrete trusts what it is given, and run rows."""
    from cipherfit.fhe.messages import Templates
    from cipherfit.fhe.runtime import fhe

    templates = templates or Templates.of(circuit)
    templates.check_keys(keys)
    for frame in frames:
        templates.check_input(frame)
    evaluation_keys = fhe.EvaluationKeys.deserialize(keys)
    answers: list[bytes] = []
    for size in circuit.rows.sizes(len(frames)):
        answers += circuit.rows.run(frames[len(answers) : len(answers) + size], evaluation_keys)
        if progress is not None:
            progress(len(answers), len(frames))
    return answers
