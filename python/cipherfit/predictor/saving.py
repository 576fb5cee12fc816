"""Models to files and back."""

from __future__ import annotations

import os
from typing import Any

from cipherfit.exceptions import InvalidParameterError, SerializationError
from cipherfit.predictor.artifact import ModelFile
from cipherfit.predictor.container import read_file, write_file
from cipherfit.predictor.pipelines import preparation_of
from cipherfit.predictor.predictor import Predictor
from cipherfit.predictor.protocols import predictor_of


def save(model: Any, path: str | os.PathLike[str]) -> None:
    """Write a fitted model to one file, with the steps before it where it is a pipeline.

    The file holds plain numbers and texts, no pickle and no code. It is written in one step: there
    is never half a file.

    Parameters
    ----------
    model : Predictor, estimator, Pipeline or fitted search over one
        What answers. Of a pipeline's steps before the network, scikit-learn's scalers,
        SimpleImputer, OneHotEncoder, OrdinalEncoder, KBinsDiscretizer, Binarizer, Normalizer,
        PowerTransformer, QuantileTransformer, SplineTransformer, PolynomialFeatures, PCA,
        IncrementalPCA, TruncatedSVD, FastICA, LinearDiscriminantAnalysis, selections of features,
        FunctionTransformer of NumPy's functions, and ColumnTransformer and FeatureUnion of them can
        be stored.
    path : str or path
        Where to; "m.cipherfit", say.

    Raises
    ------
    SerializationError
        If something can't be stored; the message names the step or the function.
    NotFittedError
        If the model is not fitted.
    """
    write_file(path, dumps(model))


def dumps(model: Any) -> bytes:
    """Return the bytes that `save` writes."""
    return prepared(model).to_bytes()


def load(path: str | os.PathLike[str]) -> Predictor:
    """Read a model that `save` wrote, check all of it, and prove it anew.

    Parameters
    ----------
    path : str or path
        The file. It may come from anyone: nothing in it is run, and what it claims is not believed.

    Returns
    -------
    Predictor
        It predicts as what was saved did, from raw features where that was a pipeline. It is
        compiled, as it was, when that is first needed.

    Raises
    ------
    SerializationError
        If it is no such file, or was altered.
    OSError
        If it can't be read.
    """
    return loads(read_file(path))


def loads(data: bytes) -> Predictor:
    """Return the model of a file's bytes: see `load`."""
    return Predictor.from_file(ModelFile.from_bytes(data))


def prepared(model: Any) -> Predictor:
    """Return the predictor of a model, with what a pipeline computes before it.

    Parameters
    ----------
    model : Predictor, estimator, Pipeline or fitted search over one
        What answers.

    Raises
    ------
    SerializationError
        If a step of the pipeline is none that is known.
    NotFittedError
        If the model is not fitted.
    """
    while hasattr(model, "best_estimator_"):
        model = model.best_estimator_
    if not (hasattr(model, "steps") and hasattr(model, "named_steps")):
        return _predictor(model)
    predictor = _predictor(model.steps[-1][1])
    preparation = preparation_of(model.steps[:-1])
    return predictor if preparation is None else predictor.with_preparation(preparation)


def _predictor(model: Any) -> Predictor:
    threshold = getattr(model, "threshold", 0.5)  # of skorch's binary classifier
    if threshold != 0.5:
        raise SerializationError(
            f"threshold={threshold!r} can't be stored, only 0.5: compare predict_proba with it"
        )
    predictor = predictor_of(model)
    if not isinstance(predictor, Predictor):
        raise InvalidParameterError(f"model={type(model).__name__} has no Predictor to save")
    return predictor
