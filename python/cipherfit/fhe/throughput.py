"""What a worker and its caller take for encrypted rows, measured on one core of this machine.

Keys are made for it, and a worker's own task is run with them. CPU time counts: it is what a core
that nothing else runs on takes.
"""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from cipherfit.costs import TaskCosts
from cipherfit.fhe.client import client_of
from cipherfit.fhe.messages import output_template
from cipherfit.fhe.part import ServerPart, kept, run_task
from cipherfit.fhe.runtime import fhe

Result = TypeVar("Result")

#: Full tasks that are timed; the fastest counts.
_TASKS = 2
#: Costs by circuit: measuring takes seconds, and asking again none.
_measured: dict[str, TaskCosts] = {}


def measure_costs(circuit: fhe.Circuit) -> TaskCosts:
    """Return what rows of a circuit take, once per process and circuit.

    Takes as long as making keys, which are thrown away, and some seconds.

    Parameters
    ----------
    circuit : fhe.Circuit
        Of `compile_graph`, for encrypted execution.
    """
    part = ServerPart.of(circuit)
    if part.name not in _measured:
        _measured[part.name] = _costs(circuit, part)
    return _measured[part.name]


def _costs(circuit: fhe.Circuit, part: ServerPart) -> TaskCosts:
    client = client_of(circuit.client.specs.serialize())
    client.keygen()
    keys = client.evaluation_keys
    prepare_seconds, data = _timed(lambda: _travelling(keys))
    ready_seconds, _ = _timed(lambda: (fhe.EvaluationKeys.deserialize(data), part.row_server()))
    n_rows = circuit.rows.most_rows
    zeros = np.zeros(circuit.graph.input_nodes[0].output.shape, dtype=np.int64)
    encryption_seconds, rows = _timed(
        lambda: [bytes(client.encrypt(zeros).serialize()) for _ in range(n_rows)]
    )
    row_seconds, answers = _task_seconds(circuit, part, keys, rows)
    template = output_template(client)

    def decrypt() -> None:
        for answer in answers:
            template.check(answer)
            client.decrypt(fhe.Value.deserialize(answer))

    decryption_seconds, _ = _timed(decrypt)
    return TaskCosts(
        most_rows=n_rows,
        row_seconds=row_seconds / n_rows,
        encryption_seconds=encryption_seconds / n_rows,
        decryption_seconds=decryption_seconds / n_rows,
        prepare_seconds=prepare_seconds,
        ready_seconds=ready_seconds,
        key_bytes=len(data),
        input_bytes=len(rows[0]),
        output_bytes=len(answers[0]),
    )


def _travelling(keys: fhe.EvaluationKeys) -> bytes:
    data = bytes(keys.serialize())
    hashlib.sha256(data)
    return data


def _task_seconds(
    circuit: fhe.Circuit, part: ServerPart, keys: fhe.EvaluationKeys, rows: list[bytes]
) -> tuple[float, list[bytes]]:
    """Return the seconds of a worker's task, and its answers."""
    name = uuid.uuid4().hex
    kept.put(part, name, circuit.rows, keys)
    try:
        runs = [_timed(lambda: run_task(0, part, name, None, rows)[1]) for _ in range(_TASKS)]
    finally:
        kept.drop(part, name)
    seconds, answers = min(runs, key=lambda run: run[0])
    if isinstance(answers, Exception):
        raise answers
    assert isinstance(answers, list)
    return seconds, answers


def _timed(call: Callable[[], Result]) -> tuple[float, Result]:
    """Return the CPU seconds of a call, and what it returns."""
    start = time.process_time()
    result = call()
    return time.process_time() - start, result
