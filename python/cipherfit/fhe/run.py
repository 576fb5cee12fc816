"""Encrypted runs of a circuit: encrypt, run, decrypt."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from cipherfit.fhe.runtime import fhe

Int64 = NDArray[np.int64]


def run_row(server: fhe.Server, row: bytes, keys: fhe.EvaluationKeys) -> bytes:
    """Return the encrypted answer to an encrypted row, both as they travel.

    Parameters
    ----------
    server : fhe.Server
        Of a circuit.
    row : bytes
        Checked: Concrete trusts what it is given.
    keys : fhe.EvaluationKeys
        Of who encrypted it.
    """
    answer = server.run(fhe.Value.deserialize(row), evaluation_keys=keys)
    return bytes(answer.serialize())


def run_encrypted(
    circuit: fhe.Circuit, codes: NDArray[np.uint16], *, progress: bool | None = None
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

    Returns
    -------
    ndarray of shape (n_samples, n_outputs), int64
        The decrypted accumulators.
    """
    n_outputs = circuit.graph.output_nodes[0].output.shape[0]
    sums = np.empty((len(codes), n_outputs), dtype=np.int64)
    # Concrete takes a one-dimensional row of signed or unsigned integers, and returns the same.
    integers, start = np.asarray(codes).astype(np.int64), 0
    with tqdm(
        total=len(codes),
        desc="encrypted rows",
        unit="row",
        disable=None if progress is None else not progress,
    ) as bar:
        for size in circuit.rows.sizes(len(integers)):
            sums[start : start + size] = _run(circuit, integers[start : start + size])
            start += size
            bar.update(size)
    return sums


def _run(circuit: fhe.Circuit, codes: Int64) -> Int64 | list[Int64]:
    if len(codes) == 1:
        return circuit.encrypt_run_decrypt(codes[0])  # type: ignore[no-any-return]
    rows = [bytes(circuit.encrypt(row).serialize()) for row in codes]
    answers = circuit.rows.run(rows, circuit.keys.evaluation)
    return [circuit.decrypt(fhe.Value.deserialize(answer)) for answer in answers]
