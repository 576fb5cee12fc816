"""Encrypted runs of many rows."""

from __future__ import annotations

import os

import numpy as np
import numpy.typing as npt

from cipherfit.bfv.circuit import BfvCircuit
from cipherfit.bfv.parties import Int64
from cipherfit.exceptions import InvalidParameterError


def run_encrypted(
    circuit: BfvCircuit,
    codes: npt.NDArray[np.uint16],
    *,
    progress: bool | None = None,
    n_jobs: int | None = None,
    storage: str | os.PathLike[str] | None = None,
) -> Int64:
    """Encrypt, run and decrypt codes, many rows at a time.

    Parameters
    ----------
    circuit : BfvCircuit
        Of `compile_graph`; keys are made at the first run.
    codes : ndarray of shape (n_samples, n_features)
        Quantized inputs.
    progress, n_jobs, storage : optional
        As other back ends have them. Thousands of rows take a second: nothing is shown, all is done
        here, and nothing is stored.

    Returns
    -------
    ndarray of shape (n_samples, n_outputs), int64
        The decrypted sums.

    Raises
    ------
    InvalidParameterError
        If a file is named to store rows in.
    """
    del progress, n_jobs
    if storage is not None:
        raise InvalidParameterError(
            f"storage={os.fspath(storage)!r} is for rows with lookups, which take long; this "
            "network has none, and thousands of its rows take a second: leave it out"
        )
    codes = np.asarray(codes)
    # As many rows as one set of ciphertexts holds, so that memory doesn't grow with their number.
    step = max(rows for _, _, rows in circuit.parameters.layouts)
    if len(codes) <= step:
        return circuit.encrypt_run_decrypt(codes)
    parts = [codes[start : start + step] for start in range(0, len(codes), step)]
    return np.concatenate([circuit.encrypt_run_decrypt(part) for part in parts])
