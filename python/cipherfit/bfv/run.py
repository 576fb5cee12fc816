"""Encrypted runs of many rows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cipherfit.bfv.circuit import BfvCircuit
from cipherfit.bfv.parties import Int64


def run_encrypted(
    circuit: BfvCircuit, codes: npt.NDArray[np.uint16], *, progress: bool | None = None
) -> Int64:
    """Encrypt, run and decrypt codes, many rows at a time.

    Parameters
    ----------
    circuit : BfvCircuit
        Of `compile_graph`; keys are made at the first run.
    codes : ndarray of shape (n_samples, n_features)
        Quantized inputs.
    progress : bool, optional
        As other back ends have it; nothing is shown, since thousands of rows take a second.

    Returns
    -------
    ndarray of shape (n_samples, n_outputs), int64
        The decrypted sums.
    """
    del progress
    codes = np.asarray(codes)
    # As many rows as one set of ciphertexts holds, so that memory doesn't grow with their number.
    step = max(rows for _, _, rows in circuit.parameters.layouts)
    if len(codes) <= step:
        return circuit.encrypt_run_decrypt(codes)
    parts = [codes[start : start + step] for start in range(0, len(codes), step)]
    return np.concatenate([circuit.encrypt_run_decrypt(part) for part in parts])
