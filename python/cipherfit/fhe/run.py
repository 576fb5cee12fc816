"""Encrypted runs of a circuit: encrypt, run, decrypt."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from cipherfit.exceptions import UnansweredRowsError
from cipherfit.fhe.encryption import decrypted_rows, encrypted_rows
from cipherfit.fhe.jobs import run_by_workers, shared_out
from cipherfit.fhe.runtime import fhe
from cipherfit.fhe.storage import SumStore

Int64 = NDArray[np.int64]
#: Integers of any type.
Codes = NDArray[Any]

#: Rows whose bytes are put together.
_ROWS_AT_ONCE = 4096


def run_encrypted(
    circuit: fhe.Circuit,
    codes: NDArray[np.uint16],
    *,
    progress: bool | None = None,
    n_jobs: int | None = None,
    storage: str | os.PathLike[str] | None = None,
) -> Int64:
    """Encrypt, run and decrypt codes, several rows at a time.

    Parameters
    ----------
    circuit : fhe.Circuit
        A circuit of `compile_graph`; keys are made at the first run.
    codes : ndarray of shape (n_samples, n_features)
        Quantized inputs.
    progress : bool, optional
        Whether to show a progress bar on standard error. Default: on a terminal only.
    n_jobs : int, optional
        Workers of joblib's that run rows, each on one core; -1 is one for each core. Default: those
        of the context (`joblib.parallel_config`), else this process, on all cores.
    storage : str or path, optional
        A file that keeps each decrypted row, and from which an interrupted run goes on.

    Returns
    -------
    ndarray of shape (n_samples, n_outputs), int64
        The decrypted accumulators.

    Raises
    ------
    UnansweredRowsError
        If workers keep failing, or are gone; it names the rows that have no answer, and keeps all
        others.
    InvalidParameterError
        If the file is of another model, key or data.
    """
    codes = np.asarray(codes)
    if codes.dtype.kind not in "iu":
        codes = codes.astype(np.int64)
    if len(codes) or storage is not None:
        circuit.keygen(force=False)
    sums = np.zeros((len(codes), circuit.graph.output_nodes[0].output.shape[0]), dtype=np.int64)
    with ExitStack() as stack:
        store, left = None, np.arange(len(codes))
        if storage is not None:
            store = stack.enter_context(closing(SumStore(storage, _run_of(circuit, codes))))
            left = left[~store.load(sums)]
        bar = stack.enter_context(
            tqdm(
                total=len(codes),
                initial=len(codes) - len(left),
                desc="encrypted rows",
                unit="row",
                disable=None if progress is None else not progress,
            )
        )
        try:
            answered = stack.enter_context(closing(_run(circuit, codes, left, n_jobs)))
            for rows, answers in answered:
                sums[rows] = answers
                if store is not None:
                    store.put(rows, sums[rows])
                bar.update(len(rows))
        except UnansweredRowsError as error:
            raise UnansweredRowsError(str(error), error.rows, sums) from error.__cause__
    return sums


def _run(
    circuit: fhe.Circuit, codes: Codes, rows: Int64, n_jobs: int | None
) -> Generator[tuple[Int64, Int64], None, None]:
    """Yield rows, some at a time, with their sums."""
    pieces = shared_out(circuit, rows, n_jobs)
    if pieces:
        yield from run_by_workers(circuit, codes, pieces, n_jobs)
        return
    start = 0
    for size in circuit.rows.sizes(len(rows)):
        piece = rows[start : start + size]
        yield piece, _run_here(circuit, codes[piece])
        start += size


def _run_here(circuit: fhe.Circuit, codes: Codes) -> Int64:
    rows = encrypted_rows(circuit.client, codes)
    answers = circuit.rows.run(rows, circuit.keys.evaluation)
    return decrypted_rows(circuit.client, answers, None)


def _run_of(circuit: fhe.Circuit, codes: Codes) -> dict[str, str]:
    """Return what tells a run from others: digests of its model, key and data."""
    specs = circuit.client.specs.serialize()
    return {
        "model": _digest([circuit.integer_graph.to_bytes()], [specs]),
        "key": _digest([circuit.keys.evaluation.serialize()]),
        "data": _digest([repr(codes.shape).encode()], _bytes_of(codes)),
    }


def _bytes_of(codes: Codes) -> Iterator[bytes]:
    """Yield the bytes of codes as integers of 64 bits, some rows after the other."""
    for start in range(0, len(codes), _ROWS_AT_ONCE):
        yield codes[start : start + _ROWS_AT_ONCE].astype(np.int64).tobytes()


def _digest(*parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for pieces in parts:
        part = hashlib.sha256()
        for piece in pieces:
            part.update(piece)
        digest.update(part.digest())
    return digest.hexdigest()
