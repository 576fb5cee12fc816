"""From fitted models of scikit-learn's to predictors that run on encrypted rows."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cipherfit._core import IntegerGraph
from cipherfit.exceptions import (
    InvalidInputError,
    ProofError,
    SerializationError,
    UnsupportedModuleError,
)
from cipherfit.interchange.losses import lost_variance, tell_what_is_lost
from cipherfit.interchange.sklearn_models import FloatModel, float_model
from cipherfit.limits import MAX_ACCUM_BITS, MAX_CODE_BITS, MAX_LOOKUP_BITS
from cipherfit.parameters import integer
from cipherfit.predictor.features import Features
from cipherfit.predictor.pipelines import preparation_of
from cipherfit.predictor.predictor import Predictor
from cipherfit.predictor.preparation import Preparation, Transform
from cipherfit.predictor.targets import ClassTargets
from cipherfit.training.lowering import lower
from cipherfit.training.post_training import Misfit, quantize_module
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


#: With hidden layers, whose lookups read few bits: the first that fits as it is; and where
#: accumulators are narrow.
_HIDDEN, _HIDDEN_NARROW = (
    [Widths(n_w, n_a, n_in, MAX_LOOKUP_BITS) for n_w, n_a, n_in in widths]
    for widths in (
        ((6, 5, 6), (5, 5, 5), (5, 4, 4), (4, 4, 4)),
        ((4, 3, 3), (3, 3, 3), (3, 2, 2), (2, 2, 2)),
    )
)
#: Without, the fewest first; and where accumulators are narrow.
_LINEAR, _LINEAR_NARROW = (
    [Widths(n_w_bits, n_in_bits, n_in_bits, MAX_ACCUM_BITS) for n_w_bits, n_in_bits in widths]
    for widths in (
        ((8, 8), (9, 10), (11, 12), (13, 14), (15, 16)),
        ((7, 7), (6, 6), (5, 5), (4, 4), (4, 3), (3, 2), (2, 2)),
    )
)
#: Rows that may get another label, and part of the outputs' variance that may be another.
_MOST_MOVED, _MOST_DISTURBED = 1e-3, 2e-5
#: Part of either that is told where the bits are those of the defaults, or named ones.
_MUCH = 0.05


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
        Bits of a weight. Default: 6 where there are hidden layers, or 5 or 4 where sums of hundreds
        of features ask for it; else from 8 to 15, the fewest that answer as `fitted` does on `X`;
        with `n_accum_bits`, what comes closest.
    n_a_bits : int in [1, 16], optional
        Bits of a hidden activation. Default: 5, or 4 where weights get fewer, too.
    n_in_bits : int in [1, 16], optional
        Bits of a feature's code. Default: 6 where there are hidden layers, or as many as a weight
        where that gets fewer; else from 8 to 16, as for weights.
    n_accum_bits : int in [1, 48], optional
        Bits that every accumulator must fit: weights are pruned, or rounded more coarsely, until
        they do, and a warning tells what that changes on `X`. Default: what holds every sum, and
        with hidden layers at most 16; there nothing is pruned.

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
    ProofError
        If sums of a network with hidden layers need more than 16 bits, and `n_accum_bits` doesn't
        ask to prune its weights.
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
    prunes = n_accum_bits is not None
    defaults = [*wide, *narrow] if prunes else wide
    tried = {each.given(n_w_bits, n_a_bits, n_in_bits, n_accum_bits): None for each in defaults}
    imported = _closest(network, rows, list(tried), prunes)
    _tell(network, imported, rows, n_accum_bits)
    return Predictor(
        imported.graph,
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


@dataclass(frozen=True)
class _Imported:
    """A graph, the real outputs on given rows that it stands for, and what it lost to fit."""

    graph: IntegerGraph
    real: Float64
    misfits: list[Misfit]


def _closest(
    network: FloatModel, rows: NDArray[np.float32], widths: Sequence[Widths], prunes: bool
) -> _Imported:
    """Return the graph with the first widths that answer as the model does.

    Where none do, it is the one whose outputs are closest; with lookups, up to the first that fits
    as it is.
    """
    module, x = _module(network), torch.from_numpy(rows)
    with torch.no_grad():
        real = module(x.double()).numpy()
    best: _Imported | None = None
    least = np.inf
    too_wide: ProofError | None = None
    for each in widths:
        misfits: list[Misfit] = []
        try:
            graph = _graph(module, x, each, prunes, misfits)
        except ProofError as error:
            too_wide = _too_wide(error, each)
            continue
        outputs = graph.run(rows)
        disturbance = lost_variance(outputs, real)
        if best is None or disturbance < least:
            best, least = _Imported(graph, real, misfits), disturbance
        is_close = disturbance <= _MOST_DISTURBED and _moved(network, outputs, real) <= _MOST_MOVED
        if is_close or (graph.n_lookups and not misfits):
            break  # fewer bits only lose more
    if best is None:
        assert too_wide is not None
        raise too_wide
    return best


def _graph(
    module: nn.Module, x: torch.Tensor, widths: Widths, prunes: bool, misfits: list[Misfit]
) -> IntegerGraph:
    """Return the graph of some widths, and add what didn't fit."""
    with torch.random.fork_rng(devices=[]):
        quantized, _ = quantize_module(
            module,
            x,
            n_bits=widths.n_a_bits,
            n_accum_bits=widths.n_accum_bits,
            n_w_bits=widths.n_w_bits,
            n_in_bits=widths.n_in_bits,
            prunes=prunes,
            on_misfit=misfits.append,
        )
    return lower(quantized)


def _too_wide(error: ProofError, widths: Widths) -> ProofError:
    """Return an error that says what to do about sums that are too wide."""
    return ProofError(
        f"with n_w_bits={widths.n_w_bits}, n_a_bits={widths.n_a_bits} and "
        f"n_in_bits={widths.n_in_bits}, {error}: give n_accum_bits={error.bits_allowed}, and "
        "weights are pruned until they do",
        bits_needed=error.bits_needed,
        bits_allowed=error.bits_allowed,
    )


def _moved(network: FloatModel, outputs: Float64, real: Float64) -> float:
    """Return the fraction of rows that get other labels, if what is predicted are labels."""
    if not isinstance(network.targets, ClassTargets):
        return 0.0
    labels = [network.predicted(each) for each in (outputs, real)]
    return float((labels[0] != labels[1]).mean())


def _tell(
    network: FloatModel, imported: _Imported, rows: NDArray[np.float32], n_accum_bits: int | None
) -> None:
    """Warn of what fitting accumulators changes on given rows, or few bits, where it is much."""
    outputs, is_classifier = imported.graph.run(rows), isinstance(network.targets, ClassTargets)
    lost = (
        _moved(network, outputs, imported.real)
        if is_classifier
        else lost_variance(outputs, imported.real)
    )
    n_pruned = sum(each.n_pruned for each in imported.misfits)
    if n_pruned or lost > (_MUCH if n_accum_bits is None else _MOST_MOVED):
        n_weights = sum(int(np.count_nonzero(weights)) for weights, _ in network.layers)
        tell_what_is_lost(
            n_accum_bits, n_pruned, n_weights, lost, is_classifier, "the fitted model",
            frames=5,  # `own_settings` wraps `from_sklearn`
        )  # fmt: skip


def _module(network: FloatModel) -> nn.Sequential:
    """Return a model as a torch module in double precision, its layers named as in scikit-learn."""
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    for index, (weights, biases) in enumerate(network.layers):
        n_out, n_in = weights.shape
        linear = nn.Linear(n_in, n_out, device="meta")
        linear.weight = nn.Parameter(torch.from_numpy(np.ascontiguousarray(weights)))
        linear.bias = nn.Parameter(torch.from_numpy(np.array(biases)))
        parts[f"coefs_[{index}]"] = linear
        if index + 1 < len(network.layers):
            parts[f"activation {index}"] = _ACTIVATIONS[network.activation]()
    return nn.Sequential(parts)
