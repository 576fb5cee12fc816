"""The last linear layer of a network whose other layers are fixed, solved instead of trained.

What arrives at it are codes that don't change, so its loss is convex: `cipherfit.training.convex`
finds the optimum, `cipherfit.training.integer_weights` rounds it, and what results is written to
the layer. A network without hidden layers is all head.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import logsumexp
from torch import Tensor, nn

from cipherfit.training.convex import LinearModel, covariance_of, multinomial, ridge
from cipherfit.training.integer_weights import integer_weights
from cipherfit.training.lowering import lower
from cipherfit.training.network import QuantNetwork, double_state

Float64 = NDArray[np.float64]

#: Rows that pass through the fixed layers at once, and numbers from which codes are of float32.
_ROWS_AT_ONCE, _LARGE = 4096, 10_000_000


@dataclass(frozen=True)
class HeadSolution:
    """How good a solved layer is, in mean losses of the rows that it was solved on.

    Parameters
    ----------
    real : float
        With real weights, the optimum (but for its penalty).
    rounded : float
        With the integer weights that the layer has now.
    constant : float
        Without weights.
    """

    real: float
    rounded: float
    constant: float

    @property
    def lost(self) -> float:
        """Fraction of what real weights explain that rounding them lost."""
        explained = max(self.constant - self.real, 1e-6 * abs(self.constant), 1e-12)
        return (self.rounded - self.real) / explained


def is_all_that_is_trained(network: QuantNetwork) -> bool:
    """Tell whether the last linear layer, and nothing before it, has parameters to train."""
    *fixed, head = network.features
    return not any(part.requires_grad for layer in fixed for part in layer.parameters()) and all(
        part.requires_grad for part in head.parameters()
    )


@torch.no_grad()
def head_codes(network: QuantNetwork, x: Tensor) -> NDArray[Any]:
    """Return the codes that arrive at the last linear layer, as in the integer graph.

    Parameters
    ----------
    network : QuantNetwork
        Calibrated.
    x : torch.Tensor of shape (n_samples, n_features)
        Inputs.

    Returns
    -------
    ndarray of shape (n_samples, n_codes), float64, or float32 where there are very many
    """
    fixed: nn.Module = network.features[:-1].eval()
    if len(network.linear_layers) > 1:
        lower(network)  # which tells the layers on which grid they round
    state = double_state(fixed)
    n_codes = network.linear_layers[-1].in_features
    dtype = torch.float32 if len(x) * n_codes > _LARGE else torch.float64
    codes = torch.empty(len(x), n_codes, dtype=dtype)
    for first in range(0, len(x), _ROWS_AT_ONCE):
        rows = x[first : first + _ROWS_AT_ONCE].double()
        codes[first : first + len(rows)] = torch.func.functional_call(fixed, state, rows).cpu()
    return codes.numpy()


def solve_cross_entropy(
    network: QuantNetwork,
    x: Tensor,
    classes: NDArray[Any],
    *,
    sample_weight: Any = None,
    class_weight: Any = None,
    label_smoothing: float = 0.0,
    seed: int = 0,
) -> HeadSolution:
    """Set the last layer to the minimum of torch's cross entropy, with an L2 penalty.

    Parameters
    ----------
    network : QuantNetwork
        Calibrated; only its last linear layer changes.
    x : torch.Tensor of shape (n_samples, n_features)
        Inputs, on the network's device.
    classes : ndarray of shape (n_samples,)
        Indices of the classes.
    sample_weight : array-like of shape (n_samples,), optional
        Weights of rows.
    class_weight : array-like of shape (n_classes,), optional
        Weights of classes, as of `torch.nn.CrossEntropyLoss`.
    label_smoothing : float in [0, 1], default=0.0
        As of `torch.nn.CrossEntropyLoss`.
    seed : int, default=0
        Draws the rows by which the penalty is validated.
    """
    codes = head_codes(network, x)
    n_classes = network.linear_layers[-1].out_features
    indices = np.asarray(classes).astype(np.int64).ravel()
    targets = np.full((len(codes), n_classes), label_smoothing / n_classes)
    targets[np.arange(len(codes)), indices] += 1 - label_smoothing
    if class_weight is not None:
        targets *= np.asarray(class_weight, dtype=np.float64)
    if sample_weight is not None:
        targets *= np.asarray(sample_weight, dtype=np.float64)[:, None]
    rows = targets.sum(axis=1)

    def loss(outputs: Float64) -> float:
        entropies = rows * logsumexp(outputs, axis=1) - (targets * outputs).sum(axis=1)
        return float(entropies.sum() / rows.sum())

    kept = rows > 0
    model = multinomial(codes[kept], targets[kept], indices[kept], seed=seed)
    frequencies = np.log(targets.sum(axis=0).clip(min=1e-12 * rows.sum()) / rows.sum())
    constant = loss(np.broadcast_to(frequencies, targets.shape))
    rounded = _write(network, model, codes, rows)
    return HeadSolution(loss(model(codes)), loss(rounded(codes)), constant)


def solve_squared_error(
    network: QuantNetwork, x: Tensor, targets: NDArray[Any], *, sample_weight: Any = None
) -> HeadSolution:
    """Set the last layer to the ridge regression of targets.

    Parameters
    ----------
    network : QuantNetwork
        Calibrated, with the targets; only its last linear layer changes.
    x : torch.Tensor of shape (n_samples, n_features)
        Inputs, on the network's device.
    targets : ndarray of shape (n_samples, n_targets)
        Real targets.
    sample_weight : array-like of shape (n_samples,), optional
        Weights of rows.
    """
    codes = head_codes(network, x)
    unit = network.output_scale.cpu().numpy()
    origin = network.output_mean.cpu().numpy()
    scaled = (np.asarray(targets, dtype=np.float64).reshape(len(codes), -1) - origin) / unit
    rows = np.ones(len(codes))
    if sample_weight is not None:
        rows = np.asarray(sample_weight, dtype=np.float64)

    def loss(outputs: Float64) -> float:
        return float(rows @ ((outputs - scaled) ** 2).mean(axis=1) / rows.sum())

    kept = rows > 0
    model = ridge(codes[kept], scaled[kept], rows[kept])
    rounded = _write(network, model, codes, rows)
    constant = loss(np.broadcast_to(model.centre, scaled.shape))
    return HeadSolution(loss(model(codes)), loss(rounded(codes)), constant)


@torch.no_grad()
def _write(
    network: QuantNetwork, model: LinearModel, codes: NDArray[Any], rows: Float64
) -> LinearModel:
    """Round a model's weights, write it to the last layer, and return what it is now."""
    head = network.linear_layers[-1]
    rounded = integer_weights(
        model.weights,
        covariance_of(codes, rows),
        max_code=head.max_weight_code,
        most_weight=head.most_weight,
    )
    head.hold(rounded)
    weights = rounded.codes * rounded.scale[:, None]
    written = LinearModel(weights, model.mean, model.centre, model.penalty)
    assert head.bias is not None
    head.bias.copy_(torch.from_numpy(_bias(written, head.max_in_code)))
    return written


def _bias(model: LinearModel, max_in_code: int) -> Float64:
    """Return the outputs where each input has half of its largest code."""
    return model.centre + model.weights @ (max_in_code / 2 - model.mean)
