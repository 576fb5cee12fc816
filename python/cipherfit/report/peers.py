"""What else answers a network's test rows: its float twin, and a linear model."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherfit.report.data import Missing
from cipherfit.validation import Float32

Answers = tuple[str, NDArray[Any], str]


def float_answers(estimator: Any, features: Float32, classes: NDArray[Any] | None) -> Answers:
    """Return what an estimator's float twin answers.

    Parameters
    ----------
    estimator : estimator
        Fitted, with a `float_twin`.
    features : ndarray of shape (n_samples, n_features)
        What the network takes.
    classes : ndarray of shape (n_classes,), optional
        Its classes.

    Returns
    -------
    tuple of (name, answers, note)
    """
    answers = np.asarray(
        estimator.float_twin().predict(np.array(features))
    )  # torch warns of read-only ones
    note = "the same trained weights before rounding, activations in float32"
    if classes is not None:
        return "its float twin", classes[answers.astype(np.int64)], note
    shape = estimator.predict(features[:1]).shape[1:]
    return "its float twin", answers.reshape(len(features), *shape).astype(np.float64), note


def linear_answers(
    features: Float32, y: Any, test: Float32, classes: NDArray[Any] | None
) -> Answers | Missing:
    """Return what a linear model answers that is fitted to the same training rows.

    Parameters
    ----------
    features : ndarray of shape (n_samples, n_features)
        What the network takes, of the training rows.
    y : array-like of shape (n_samples,) or (n_samples, n_targets)
        Their labels or targets.
    test : ndarray of shape (n_test, n_features)
        Rows to answer.
    classes : ndarray of shape (n_classes,), optional
        Where labels are predicted.

    Returns
    -------
    tuple of (name, answers, note) or Missing
        Missing where scikit-learn is not installed.
    """
    try:
        from sklearn.linear_model import LogisticRegression, RidgeCV
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ImportError:
        return Missing("a linear model to compare with", "pip install scikit-learn")
    if classes is None:
        name, last = "ridge regression", RidgeCV(alphas=np.logspace(-3, 3, 13))
        note = "scikit-learn's, on standardized features; its penalty by cross-validation"
    else:
        name, last = "logistic regression", LogisticRegression(max_iter=1000)
        note = "scikit-learn's, on standardized features; C=1"
    linear = make_pipeline(StandardScaler(), last)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        linear.fit(features, np.asarray(y))
    if any("onverge" in str(one.message) for one in said):
        note += "; stopped before it converged"
    return name, np.asarray(linear.predict(test)), note
