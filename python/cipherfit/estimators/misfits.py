"""What is told of modules of one's own whose weights had to be pruned to fit."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cipherfit.exceptions import CipherfitWarning
from cipherfit.interchange.losses import lost_variance
from cipherfit.predictor.postprocessing import post_process
from cipherfit.predictor.predictor import Predictor
from cipherfit.training.post_training import Misfit


def tell_of_misfits(
    misfits: Sequence[Misfit],
    predictor: Predictor,
    rows: NDArray[np.float32],
    real: NDArray[np.float64],
) -> None:
    """Warn that quantization pruned weights, and of what it changes on the rows of training.

    An error would cost a training that has succeeded.

    Parameters
    ----------
    misfits : sequence of Misfit
        The layers that were pruned.
    predictor : Predictor
        What became of the module.
    rows : ndarray of shape (n_samples, n_features)
        What it was quantized by.
    real : ndarray of shape (n_samples, n_outputs)
        What the float module makes of them: probabilities, or real targets.
    """
    values = post_process(predictor.graph.run(rows), predictor.post_processing)
    if predictor.is_classifier:
        lost = float((values.argmax(axis=1) != real.argmax(axis=1)).mean())
        what = "rows get another label"
    else:
        lost, what = lost_variance(values, real), "outputs' variance is lost"
    layers = ", ".join(
        f"sums of layer {each.layer} need {each.bits_needed} bits and have {each.bits_allowed}, so "
        f"{each.n_pruned} of its {each.n_weights} weights are pruned"
        for each in misfits
    )
    warnings.warn(
        f"{layers}; compared with the float module, {lost:.2%} of the {what}. Fewer bits "
        "(n_w_bits, n_in_bits) may cost less, and qat=True trains with what fits",
        CipherfitWarning,
        stacklevel=2,
    )
