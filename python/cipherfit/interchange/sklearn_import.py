"""From fitted models of scikit-learn's to predictors that run on encrypted rows."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cipherfit._core import IntegerGraph
from cipherfit.exceptions import (
    CipherfitWarning,
    InvalidInputError,
    SerializationError,
    UnsupportedModuleError,
)
from cipherfit.interchange.sklearn_models import FloatModel, float_model
from cipherfit.limits import MAX_ACCUM_BITS, MAX_CODE_BITS, MAX_LOOKUP_BITS
from cipherfit.parameters import integer
from cipherfit.predictor.features import Features
from cipherfit.predictor.pipelines import preparation_of
from cipherfit.predictor.predictor import Predictor
from cipherfit.predictor.preparation import Preparation, Transform
from cipherfit.predictor.targets import ClassTargets
from cipherfit.training.lowering import lower
from cipherfit.training.post_training import quantize_module
from cipherfit.training.surroundings import own_settings

Float64 = NDArray[np.float64]

_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "identity": nn.Identity,
    "logistic": nn.Sigmoid,
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
}


@dataclass(frozen=True)
class Widths:
    """Bits of an imported model's weights, activations, inputs and accumulators."""

    n_w_bits: int
    n_a_bits: int
    n_in_bits: int
    n_accum_bits: int

    def given(
        self,
        n_w_bits: int | None,
        n_a_bits: int | None,
        n_in_bits: int | None,
        n_accum_bits: int | None,
    ) -> Widths:
        """Return what is given, checked, and these where nothing is."""
        most = {"n_accum_bits": MAX_ACCUM_BITS}
        widths = {
            "n_w_bits": n_w_bits,
            "n_a_bits": n_a_bits,
            "n_in_bits": n_in_bits,
            "n_accum_bits": n_accum_bits,
        }
        checked = {
            name: integer(name, width, 1, most.get(name, MAX_CODE_BITS))
            for name, width in widths.items()
            if width is not None
        }
        return replace(self, **checked)


#: With hidden layers, whose lookups read few bits; and where accumulators are narrow.
_HIDDEN = [Widths(6, 5, 6, MAX_LOOKUP_BITS)]
_HIDDEN_NARROW = [
    Widths(n_w_bits, n_a_bits, n_in_bits, MAX_LOOKUP_BITS)
    for n_w_bits, n_a_bits, n_in_bits in (
        (5, 5, 5), (5, 4, 4), (4, 4, 4), (4, 3, 3), (3, 3, 3), (3, 2, 2), (2, 2, 2),
    )
]  # fmt: skip
#: Without, the fewest first; and where accumulators are narrow.
_LINEAR, _LINEAR_NARROW = (
    [Widths(n_w_bits, n_in_bits, n_in_bits, MAX_ACCUM_BITS) for n_w_bits, n_in_bits in widths]
    for widths in (
        ((8, 8), (9, 10), (11, 12), (13, 14)),
        ((7, 7), (6, 6), (5, 5), (4, 4), (4, 3), (3, 2), (2, 2)),
    )
)
#: Rows that may get another label, and part of the outputs' variance that may be another.
_MOST_MOVED, _MOST_DISTURBED = 1e-3, 2e-5


@own_settings()
def from_sklearn(
    fitted: Any,
    X: Any,
    *,
    n_w_bits: int | None = None,
    n_a_bits: int | None = None,
    n_in_bits: int | None = None,
    n_accum_bits: int | None = None,
) -> Predictor:
    """Make a predictor of a fitted model of scikit-learn's.

    Its weights are rounded to integers that keep the model's outputs on `X`. Scalers right before
    it (StandardScaler, MinMaxScaler, RobustScaler, MaxAbsScaler) fold into its input quantizer and
    its weights; other steps of a pipeline run at the client, in the clear.

    Parameters
    ----------
    fitted : estimator, Pipeline or fitted search over one
        Linear classifiers and regressors, LinearDiscriminantAnalysis, MLPClassifier or
        MLPRegressor, of one label or of real targets.
    X : array-like of shape (n_samples, n_features)
        Representative rows, as `fitted` takes them, such as those that it was fitted on. Every
        feature's codes span its values here.
    n_w_bits : int in [1, 16], optional
        Bits of a weight. Default: 6 where there are hidden layers, else from 8 to 13, the fewest
        that answer as `fitted` does on `X`; with `n_accum_bits`, what comes closest.
    n_a_bits : int in [1, 16], optional
        Bits of a hidden activation. Default: 5.
    n_in_bits : int in [1, 16], optional
        Bits of a feature's code. Default: 6 where there are hidden layers, else from 8 to 14, as
        for weights.
    n_accum_bits : int in [1, 48], optional
        Bits that every accumulator must fit: weights are pruned, or rounded more coarsely, until
        they do, and a warning tells what that changes on `X`. Default: what holds every sum, and
        in front of lookups at most 16.

    Returns
    -------
    Predictor
        Its labels, names of features and formulas of probabilities are those of `fitted`.

    Raises
    ------
    UnsupportedModuleError
        If the model's kind, or that of a step before it, is none that is known.
    NotFittedError
        If it is not fitted.
    InvalidInputError
        If `X` has other features, or values that can't be used.
    """
    steps, model = _steps_and_model(fitted)
    preparation, network = _folded(_preparation(steps), float_model(model))
    names = None
    if preparation is None or not preparation.transform.parameters["steps"]:
        names = _names(model) if preparation is None else preparation.names
        preparation = None
    rows = _features(X, preparation, network.n_features, names)
    wide, narrow = (
        (_HIDDEN, _HIDDEN_NARROW) if len(network.layers) > 1 else (_LINEAR, _LINEAR_NARROW)
    )
    defaults = wide if n_accum_bits is None else [*wide, *narrow]
    tried = {each.given(n_w_bits, n_a_bits, n_in_bits, n_accum_bits): None for each in defaults}
    graph, outputs = _graph(network, rows, list(tried))
    if n_accum_bits is not None:
        _tell_what_is_lost(network, graph.run(rows), outputs, n_accum_bits)
    return Predictor(
        graph,
        network.targets,
        post_processing=network.post_processing,
        feature_names=names,
        preparation=preparation,
    )


def _steps_and_model(fitted: Any) -> tuple[list[tuple[str, Any]], Any]:
    """Return the steps before a model, and the model."""
    while hasattr(fitted, "best_estimator_"):
        fitted = fitted.best_estimator_
    if not (hasattr(fitted, "steps") and hasattr(fitted, "named_steps")):
        return [], fitted
    before, model = _steps_and_model(fitted.steps[-1][1])
    return [*fitted.steps[:-1], *before], model


def _preparation(steps: Sequence[tuple[str, Any]]) -> Preparation | None:
    """Return what the steps of a pipeline compute."""
    try:
        return preparation_of(steps)
    except SerializationError as error:
        raise UnsupportedModuleError(f"this pipeline can't be imported: {error}") from error


def _folded(
    preparation: Preparation | None, network: FloatModel
) -> tuple[Preparation | None, FloatModel]:
    """Return a preparation without what scales and shifts right before a model, which does so."""
    if preparation is None:
        return None, network
    left = _flat(preparation.transform)
    while left and (affine := _affine_of(left[-1])) is not None:
        network = network.behind(*affine)
        left.pop()
    transform = Transform("sequence", {"steps": left})
    return Preparation(preparation.n_features, preparation.names, transform), network


def _flat(transform: Transform) -> list[Transform]:
    """Return transforms in a row, also those of pipelines within pipelines."""
    if transform.kind != "sequence":
        return [transform]
    return [each for step in transform.parameters["steps"] for each in _flat(step)]


def _affine_of(transform: Transform) -> tuple[Float64, Float64] | None:
    """Return scale and shift of each column, where that is all that a transform does."""
    given = transform.parameters
    if transform.kind == "identity":
        return np.ones(1), np.zeros(1)
    if transform.kind == "min_max" and given["clip"] is None:
        return given["scale"], given["shift"]
    if transform.kind in ("center_scale", "standardize"):
        scale = np.ones(1) if given["scale"] is None else 1 / given["scale"]
        center = np.zeros(1) if given["center"] is None else given["center"]
        return scale, -center * scale
    return None


def _names(model: Any) -> tuple[str, ...] | None:
    """Return the names of the features that a model was fitted on, if they had some."""
    names = getattr(model, "feature_names_in_", None)
    return None if names is None else tuple(map(str, names))


def _features(
    X: Any, preparation: Preparation | None, n_features: int, names: tuple[str, ...] | None
) -> NDArray[np.float32]:
    """Return the model's features of rows."""
    if preparation is None:
        rows = Features(n_features, names).check(X)
    else:
        rows = Features(n_features).check(preparation(X))
    if len(rows) < 2:
        raise InvalidInputError(
            f"X holds {len(rows)} row; give representative rows, such as those of training: ranges "
            "of features and of activations are taken from them"
        )
    return rows


def _graph(
    network: FloatModel, rows: NDArray[np.float32], widths: Sequence[Widths]
) -> tuple[IntegerGraph, Float64]:
    """Return the graph with the first widths that answer as the model does, and real outputs.

    Where none do, it is the one whose outputs are closest.
    """
    module, x = _module(network), torch.from_numpy(rows)
    with torch.no_grad():
        real = module(x.double()).numpy()
    best: IntegerGraph | None = None
    least = np.inf
    for each in widths:
        with torch.random.fork_rng(devices=[]):
            quantized, _ = quantize_module(
                module,
                x,
                n_bits=each.n_a_bits,
                n_accum_bits=each.n_accum_bits,
                n_w_bits=each.n_w_bits,
                n_in_bits=each.n_in_bits,
            )
        graph = lower(quantized)
        outputs = graph.run(rows)
        disturbance = _lost_variance(outputs, real)
        if best is None or disturbance < least:
            best, least = graph, disturbance
        if disturbance <= _MOST_DISTURBED and _moved(network, outputs, real) <= _MOST_MOVED:
            break
    assert best is not None
    return best, real


def _lost_variance(outputs: Float64, real: Float64) -> float:
    """Return the mean squared difference, in units of each real output's variance, of the worst."""
    spread = real.var(axis=0)
    error = ((outputs - real) ** 2).mean(axis=0)
    return float((error / np.where(spread > 0, spread, 1)).max())


def _moved(network: FloatModel, outputs: Float64, real: Float64) -> float:
    """Return the fraction of rows that get other labels, if what is predicted are labels."""
    if not isinstance(network.targets, ClassTargets):
        return 0.0
    labels = [network.targets.decode(network.processed(each)) for each in (outputs, real)]
    return float((labels[0] != labels[1]).mean())


def _tell_what_is_lost(
    network: FloatModel, outputs: Float64, real: Float64, n_accum_bits: int
) -> None:
    """Warn of what fitting accumulators to bits that were asked for changes on given rows."""
    if isinstance(network.targets, ClassTargets):
        lost, what = _moved(network, outputs, real), "of the rows of X get another label"
    else:
        lost = _lost_variance(outputs, real)
        what = "of the predictions' variance on X is lost"
    if lost > _MOST_MOVED:
        warnings.warn(
            f"with n_accum_bits={n_accum_bits}, {lost:.2%} {what}, compared with the fitted model",
            CipherfitWarning,
            stacklevel=3,
        )


def _module(network: FloatModel) -> nn.Sequential:
    """Return a model as a torch module in double precision."""
    parts: list[nn.Module] = []
    for weights, biases in network.layers:
        n_out, n_in = weights.shape
        linear = nn.Linear(n_in, n_out, device="meta")
        linear.weight = nn.Parameter(torch.from_numpy(np.ascontiguousarray(weights)))
        linear.bias = nn.Parameter(torch.from_numpy(np.array(biases)))
        parts += [linear, _ACTIVATIONS[network.activation]()]
    return nn.Sequential(*parts[:-1])
