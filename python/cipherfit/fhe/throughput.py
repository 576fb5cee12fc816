"""What a worker and its caller take for encrypted rows, measured on this machine.

Keys are made for it, and a worker's own task is run with them: on one core, and on all of them at
once, since cores share memory and caches, through which each row takes some megabytes of keys. CPU
time counts: it is what a core that nothing else runs on takes.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import joblib
import numpy as np

from cipherfit.costs import TaskCosts
from cipherfit.fhe.client import client_of
from cipherfit.fhe.encryption import decrypted_rows, encrypted_rows
from cipherfit.fhe.messages import output_template
from cipherfit.fhe.part import kept, run_task
from cipherfit.fhe.runtime import fhe
from cipherfit.fhe.server_part import ServerPart

Result = TypeVar("Result")

#: Full tasks that are timed; the median counts.
_TASKS = 3
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
    zeros = np.zeros((n_rows, *circuit.graph.input_nodes[0].output.shape), dtype=np.int64)
    encryption_seconds, rows = _timed(lambda: encrypted_rows(client, zeros))
    cores = joblib.cpu_count()
    row_seconds, answers = _task_seconds(circuit, part, keys, rows, 1)
    busy_seconds, _ = _task_seconds(circuit, part, keys, rows, cores)
    template = output_template(client)
    decryption_seconds, _ = _timed(lambda: decrypted_rows(client, answers, template))
    return TaskCosts(
        most_rows=n_rows,
        row_seconds=row_seconds / n_rows,
        busy_row_seconds=max(row_seconds, busy_seconds) / n_rows,
        cores=cores,
        encryption_seconds=encryption_seconds / n_rows,
        decryption_seconds=decryption_seconds / n_rows,
        prepare_seconds=prepare_seconds,
        share_seconds=_timed(lambda: _written(data))[0],
        ready_seconds=ready_seconds,
        key_bytes=len(data),
        input_bytes=len(rows[0]),
        output_bytes=len(answers[0]),
    )


def _travelling(keys: fhe.EvaluationKeys) -> bytes:
    data = bytes(keys.serialize())
    hashlib.sha256(data)
    return data


def _written(data: bytes) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(data)


def _task_seconds(
    circuit: fhe.Circuit, part: ServerPart, keys: fhe.EvaluationKeys, rows: list[bytes], cores: int
) -> tuple[float, list[bytes]]:
    """Return the seconds of a worker's task while so many are at work, and its answers."""
    name = uuid.uuid4().hex
    kept.put(part, name, circuit.rows, keys)

    def task(_: int) -> tuple[float, Any]:
        return _timed(lambda: run_task(0, part, name, None, rows)[1], time.thread_time)

    try:
        with ThreadPoolExecutor(cores) as pool:
            rounds = [list(pool.map(task, range(cores))) for _ in range(_TASKS)]
    finally:
        kept.drop(part, name)
    seconds = float(np.median([seconds for each in rounds for seconds, _ in each]))
    answers = rounds[0][0][1]
    if isinstance(answers, Exception):
        raise answers
    assert isinstance(answers, list)
    return seconds, answers


def _timed(
    call: Callable[[], Result], clock: Callable[[], float] = time.process_time
) -> tuple[float, Result]:
    """Return the CPU seconds of a call, and what it returns."""
    start = clock()
    result = call()
    return clock() - start, result
