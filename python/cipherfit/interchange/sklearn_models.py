"""Fitted models of scikit-learn's as linear layers with an activation between them.

Objects are read by their public attributes, so scikit-learn is not imported here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherfit.exceptions import NotFittedError, UnsupportedModuleError
from cipherfit.predictor.postprocessing import Step, before_shares, post_process
from cipherfit.predictor.targets import ClassTargets, RealTargets, Targets

Float64 = NDArray[np.float64]

_SIGMOID = (Step("sigmoid"), Step("two_columns"))
_ONE_VERSUS_REST = (Step("sigmoid"), Step("shares"))
#: Scores of classes that stand for no probabilities.
_SCORES = (Step("scores"),)


@dataclass(frozen=True)
class FloatModel:
    """What a fitted model computes.

    Parameters
    ----------
    layers : list of (ndarray of shape (n_out, n_in), ndarray of shape (n_out,))
        Weights and biases, first to last.
    activation : str
        What follows every layer but the last: "identity", "logistic", "relu" or "tanh".
    targets : ClassTargets or RealTargets
        What the outputs stand for.
    post_processing : tuple of Step
        From outputs to probabilities, or to real targets.
    """

    layers: list[tuple[Float64, Float64]]
    activation: str
    targets: Targets
    post_processing: tuple[Step, ...]

    @property
    def n_features(self) -> int:
        """Features of a row."""
        return self.layers[0][0].shape[1]

    def predicted(self, outputs: Float64) -> NDArray[Any]:
        """Return labels or targets of outputs (n_samples, n_outputs)."""
        return self.targets.decode(post_process(outputs, before_shares(self.post_processing)))

    def behind(self, scale: Float64, shift: Float64) -> FloatModel:
        """Return the model of raw features x, where this one takes ``x * scale + shift``.

        Both are of shape (n_features,) or (1,).
        """
        (weights, biases), *rest = self.layers
        shifts = np.broadcast_to(shift, (self.n_features,))
        first = (weights * scale, biases + weights @ shifts)
        return FloatModel([first, *rest], self.activation, self.targets, self.post_processing)


def float_model(model: Any) -> FloatModel:
    """Return what a fitted model of scikit-learn's computes.

    Raises
    ------
    UnsupportedModuleError
        If its kind is none of those known, or predicts several labels for a row.
    NotFittedError
        If it is not fitted.
    """
    kind = type(model)
    known = _KINDS.get(kind.__name__) if kind.__module__.startswith("sklearn.") else None
    if known is None:
        raise UnsupportedModuleError(
            f"a {kind.__module__}.{kind.__qualname__} can't be imported: only fitted "
            f"{', '.join(sorted(_KINDS))} of scikit-learn can, and pipelines that end in one"
        )
    try:
        return known(model)
    except AttributeError as error:
        raise NotFittedError(f"this {kind.__name__} is not fitted: call fit first") from error


def _linear_classifier(model: Any) -> FloatModel:
    weights, biases = _coefficients(model)
    targets = _classes(model, len(weights))
    steps = _steps_of_classifier(model, len(weights))
    return FloatModel([(weights, biases)], "identity", targets, steps)


def _linear_regressor(model: Any) -> FloatModel:
    weights, biases = _coefficients(model)
    targets = RealTargets(len(weights), flat=np.ndim(model.coef_) == 1)
    return FloatModel([(weights, biases)], "identity", targets, ())


def _perceptron_classifier(model: Any) -> FloatModel:
    layers = _perceptron_layers(model)
    n_outputs = len(layers[-1][0])
    targets = _classes(model, n_outputs)
    if model.out_activation_ != "softmax" and n_outputs > 1:
        raise _several_labels(model)
    steps = (Step("softmax"),) if n_outputs > 1 else _SIGMOID
    return FloatModel(layers, model.activation, targets, steps)


def _perceptron_regressor(model: Any) -> FloatModel:
    layers = _perceptron_layers(model)
    n_outputs = len(layers[-1][0])
    steps = (Step("exp"),) if model.out_activation_ == "exp" else ()
    return FloatModel(layers, model.activation, RealTargets(n_outputs, n_outputs == 1), steps)


def _perceptron_layers(model: Any) -> list[tuple[Float64, Float64]]:
    pairs = zip(model.coefs_, model.intercepts_, strict=True)
    return [(_matrix(weights).T, _matrix(biases)[0]) for weights, biases in pairs]


def _coefficients(model: Any) -> tuple[Float64, Float64]:
    weights = _matrix(model.coef_)
    biases = np.broadcast_to(np.asarray(model.intercept_, dtype=np.float64), (len(weights),))
    return weights, np.array(biases)


def _matrix(values: Any) -> Float64:
    dense = values.toarray() if hasattr(values, "toarray") else values
    return np.atleast_2d(np.asarray(dense, dtype=np.float64))


def _classes(model: Any, n_outputs: int) -> ClassTargets:
    classes = np.asarray(model.classes_)
    expected = 1 if len(classes) == 2 else len(classes)
    if classes.ndim != 1 or n_outputs != expected:
        raise _several_labels(model)
    return ClassTargets(classes)


def _several_labels(model: Any) -> UnsupportedModuleError:
    return UnsupportedModuleError(
        f"this {type(model).__name__} predicts several labels for each row; only those that "
        "predict one can be imported"
    )


def _steps_of_classifier(model: Any, n_outputs: int) -> tuple[Step, ...]:
    """Return scikit-learn's own way from scores to probabilities, or that there is none."""
    kind = type(model).__name__
    one_score = n_outputs == 1
    if kind in ("LogisticRegression", "LogisticRegressionCV"):
        # Releases before 1.8 have the choice.
        way = getattr(model, "multi_class", "auto")
        if one_score:
            doubled = (Step("affine", {"scale": 2.0, "shift": 0.0}),)
            return (*doubled, *_SIGMOID) if way == "multinomial" else _SIGMOID
        is_split = way == "ovr" or (way != "multinomial" and model.solver == "liblinear")
        return _ONE_VERSUS_REST if is_split else (Step("softmax"),)
    if kind == "LinearDiscriminantAnalysis":
        return _SIGMOID if one_score else (Step("softmax"),)
    if kind == "SGDClassifier" and model.loss == "log_loss":
        return _SIGMOID if one_score else _ONE_VERSUS_REST
    if kind == "SGDClassifier" and model.loss == "modified_huber":
        clipped = (
            Step("clip", {"low": -1.0, "high": 1.0}),
            Step("affine", {"scale": 0.5, "shift": 0.5}),
        )
        return (*clipped, Step("two_columns" if one_score else "shares"))
    return _SCORES


_LINEAR_CLASSIFIERS = """
LinearDiscriminantAnalysis LinearSVC LogisticRegression LogisticRegressionCV
PassiveAggressiveClassifier Perceptron RidgeClassifier RidgeClassifierCV SGDClassifier
"""
_LINEAR_REGRESSORS = """
ARDRegression BayesianRidge ElasticNet ElasticNetCV HuberRegressor Lars LarsCV Lasso LassoCV
LassoLars LassoLarsCV LassoLarsIC LinearRegression LinearSVR MultiTaskElasticNet
MultiTaskElasticNetCV MultiTaskLasso MultiTaskLassoCV OrthogonalMatchingPursuit
OrthogonalMatchingPursuitCV PassiveAggressiveRegressor QuantileRegressor Ridge RidgeCV SGDRegressor
TheilSenRegressor
"""
_KINDS: dict[str, Callable[[Any], FloatModel]] = {
    **dict.fromkeys(_LINEAR_CLASSIFIERS.split(), _linear_classifier),
    **dict.fromkeys(_LINEAR_REGRESSORS.split(), _linear_regressor),
    "MLPClassifier": _perceptron_classifier,
    "MLPRegressor": _perceptron_regressor,
}
