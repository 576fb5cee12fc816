"""A page about a model, for those who decide: gathers its numbers, and renders them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherfit.costs import FheEstimate
from cipherfit.exceptions import (
    CompilationError,
    InvalidParameterError,
    MissingDependencyError,
    NotCompiledError,
)
from cipherfit.pages import render
from cipherfit.parameters import integer
from cipherfit.predictor.backend import backend_of, imported
from cipherfit.predictor.container import write_file
from cipherfit.predictor.features import Features
from cipherfit.predictor.predictor import Predictor
from cipherfit.predictor.protocols import predictor_of, unwrapped
from cipherfit.predictor.targets import ClassTargets
from cipherfit.report import charts, words
from cipherfit.report.data import Front, Missing, ReportData, Security
from cipherfit.report.encryption import circuit_of, errors_of, run_rows, security_of
from cipherfit.report.identity import identity_of, journey_of, steps_of
from cipherfit.report.measured import Quality
from cipherfit.report.parties import parties_of
from cipherfit.report.peers import float_answers, linear_answers
from cipherfit.report.proof import proof_of
from cipherfit.report.quality import quality
from cipherfit.report.software import licences_of, software_of
from cipherfit.report.summary import summary_of
from cipherfit.validation import Float32

_TITLE = "Model report"
_MOST_TITLE = 200


def write_report(
    model: Any,
    path: str | os.PathLike[str],
    X: Any = None,
    y: Any = None,
    *,
    X_train: Any = None,
    y_train: Any = None,
    design: Any = None,
    encrypted_rows: int = 0,
    title: str = _TITLE,
) -> None:
    """Write one page about a model: how good it is, what is proven, who learns what, what it costs.

    The page is one HTML file that needs nothing else, and asks nothing of a network. It is for
    whoever may know the model: the proven intervals that it shows say something of the weights.

    Parameters
    ----------
    model : Predictor, estimator, Pipeline or fitted search over one
        What answers.
    path : str or path
        Where to. The file is written in one step.
    X : array-like of shape (n_samples, n_features), optional
        Test rows, held out from training.
    y : array-like of shape (n_samples,) or (n_samples, n_targets), optional
        Their labels or targets.
    X_train, y_train : array-like, optional
        What the model was trained on: a linear model is fitted to it, to compare with.
    design : DesignSearch, optional
        The search that the network came from, as `cipherfit.design_network` returns it.
    encrypted_rows : int, default=0
        How many of the first test rows to run encrypted, for what was measured; the model must be
        compiled.
    title : str, default="Model report"
        The heading.

    Raises
    ------
    MissingDependencyError
        If Jinja2 is not installed.
    NotFittedError
        If the model is not fitted.
    InvalidInputError
        If test rows or labels are not the model's.
    NotCompiledError
        If rows are to be run encrypted, and the model is not compiled.
    """
    data = gather(
        model,
        X,
        y,
        X_train=X_train,
        y_train=y_train,
        design=design,
        encrypted_rows=encrypted_rows,
        title=title,
    )
    write_file(path, page_of(data).encode())


def page_of(data: ReportData) -> str:
    """Return the page that shows what was gathered."""
    return render("report.html", data=data, words=words, charts=charts)


def gather(
    model: Any,
    X: Any = None,
    y: Any = None,
    *,
    X_train: Any = None,
    y_train: Any = None,
    design: Any = None,
    encrypted_rows: int = 0,
    title: str = _TITLE,
) -> ReportData:
    """Return what a report says: see `write_report`."""
    n_encrypted = integer("encrypted_rows", encrypted_rows, 0)
    if n_encrypted and X is None:
        raise InvalidParameterError(f"encrypted_rows={n_encrypted} of X, which is not given")
    if (X_train is None) != (y_train is None):
        raise InvalidParameterError("X_train and y_train: give both, or neither")
    if y is not None and X is None:
        raise InvalidParameterError("y is given without X: give the rows that it belongs to")
    last, raw = unwrapped(model, X)
    predictor = _predictor(last)
    features = None if raw is None else _features(predictor, raw)
    codes = None if features is None else predictor.graph.quantize(features)
    steps = steps_of(model, predictor)
    proof = proof_of(predictor.graph, codes)
    n_features = getattr(model, "n_features_in_", predictor.n_features)
    missing: list[Missing] = []
    judged = _quality(model, last, raw, features, y, (X_train, y_train), missing)
    encryption = _encryption(predictor, missing)
    encrypted = None
    if n_encrypted and codes is not None:
        if encryption.circuit is None:
            raise NotCompiledError(
                f"encrypted_rows={n_encrypted}: this model is not yet compiled to FHE: call "
                "compile() before report"
            )
        encrypted = run_rows(predictor, encryption.circuit, codes[:n_encrypted], y)
    else:
        missing.append(
            Missing(
                "rows that were run encrypted",
                "give encrypted_rows=20 (--encrypted-rows 20) with the test rows",
            )
        )
    identity = identity_of(predictor, steps, features, y)
    journey = journey_of(predictor, int(n_features), steps, proof)
    parties = parties_of(predictor)
    errors = errors_of(predictor, encryption.circuit, codes, y)
    return ReportData(
        title=words.shown(title, _MOST_TITLE),
        made=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        is_classifier=isinstance(predictor.targets, ClassTargets),
        summary=summary_of(identity, proof, journey, judged, errors, parties),
        identity=identity,
        proof=proof,
        journey=journey,
        parties=parties,
        errors=errors,
        quality=judged,
        encrypted=encrypted,
        costs=encryption.costs,
        security=encryption.security,
        front=None if design is None else _front(design, predictor),
        software=software_of(predictor, trained_here=hasattr(last, "float_twin")),
        licences=licences_of(predictor),
        missing=tuple(missing),
    )


@dataclass(frozen=True)
class _Encryption:
    """What encrypts, what it costs and rests on; None where it is not known."""

    circuit: Any = None
    costs: FheEstimate | None = None
    security: Security | None = None


def _encryption(predictor: Predictor, missing: list[Missing]) -> _Encryption:
    what = "seconds, sizes of keys and messages, and security parameters"
    try:
        circuit = circuit_of(predictor)
        if circuit is not None:
            costs = imported(backend_of(circuit)).estimate_circuit(circuit, predictor.graph)
            return _Encryption(circuit, costs, security_of(circuit))
        missing.append(Missing(what, "call compile() on the model before its report"))
    except (MissingDependencyError, CompilationError) as error:
        missing.append(Missing(what, f"not known here: {error}"))
    return _Encryption()


def _predictor(last: Any) -> Predictor:
    found = predictor_of(last)
    if not isinstance(found, Predictor):
        raise InvalidParameterError(f"model={type(last).__name__} has no Predictor to report on")
    return found


def _features(predictor: Predictor, X: Any) -> Float32:
    """Return the network's features of what its predictor takes."""
    if predictor.preparation is None:
        return predictor.features.check(X)
    return Features(predictor.graph.n_features).check(predictor.preparation(X))


def _quality(
    model: Any,
    last: Any,
    X: Any,
    features: Float32 | None,
    y: Any,
    training: tuple[Any, Any],
    missing: list[Missing],
) -> Quality | None:
    """Return how good a model is, beside its float twin and a linear model where there are such."""
    if features is None or y is None:
        missing.append(
            Missing(
                "accuracy or errors on test rows, calibration, what rows reach of the proof",
                "give test rows and their labels: model.report(path, X_test, y_test)",
            )
            if features is None
            else Missing("accuracy or errors, calibration", "give labels of the test rows, too")
        )
        return None
    predictor = _predictor(last)
    classes = predictor.targets.classes if isinstance(predictor.targets, ClassTargets) else None
    others: list[tuple[str, NDArray[Any], str]] = []
    if hasattr(last, "float_twin"):
        others.append(float_answers(last, features, classes))
    else:
        missing.append(
            Missing(
                "the float twin",
                "its weights are not in a model's file: report on the estimator itself",
            )
        )
    if training[0] is None:
        missing.append(
            Missing(
                "a linear model to compare with", "in Python give X_train and y_train, to fit it to"
            )
        )
    else:
        _, inner = unwrapped(model, training[0])
        found = linear_answers(_features(predictor, inner), training[1], features, classes)
        if isinstance(found, Missing):
            missing.append(found)
        else:
            others.append(found)
    return quality(
        predictor.targets,
        y,
        np.asarray(last.predict(X)),
        _probabilities(last, X),
        others,
    )


def _probabilities(last: Any, X: Any) -> NDArray[np.float64] | None:
    """Return probabilities of classes; None where outputs are values, or scores."""
    if not _predictor(last).is_classifier:
        return None
    try:
        return np.asarray(last.predict_proba(X))
    except InvalidParameterError:
        return None


def _front(design: Any, predictor: Predictor) -> Front:
    from cipherfit.report.front import front_of  # the search room needs scikit-learn

    return front_of(design, predictor.graph)
