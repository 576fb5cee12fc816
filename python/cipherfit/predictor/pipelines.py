"""From fitted pipelines of scikit-learn's to preparations: kinds that are known, by their names.

Objects are read by their public attributes, so scikit-learn is not imported here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherfit.exceptions import SerializationError
from cipherfit.predictor.preparation import Preparation, Transform
from cipherfit.predictor.transforms import NUMBER_FUNCTIONS

Array = NDArray[Any]

_IDENTITY = Transform("identity", {})


def preparation_of(steps: Sequence[tuple[str, Any]]) -> Preparation | None:
    """Return what the steps of a fitted pipeline make of features.

    Parameters
    ----------
    steps : sequence of (str, transformer)
        The named steps before the network.

    Returns
    -------
    Preparation or None
        None where no step changes anything.

    Raises
    ------
    SerializationError
        Naming the step whose kind is not known, and its class.
    """
    steps = [(name, step) for name, step in steps if step is not None and step != "passthrough"]
    if not steps:
        return None
    first = steps[0][1]
    while hasattr(first, "steps"):
        first = first.steps[0][1]
    names = getattr(first, "feature_names_in_", None)
    n_features = getattr(first, "n_features_in_", None)
    if n_features is None:
        raise SerializationError(f"the step {steps[0][0]!r} is not fitted: fit the pipeline first")
    known = None if names is None else tuple(map(str, names))
    return Preparation(int(n_features), known, _sequence(steps))


def _sequence(steps: Sequence[tuple[str, Any]]) -> Transform:
    return Transform("sequence", {"steps": [_transform(name, step) for name, step in steps]})


def _transform(name: str, step: Any) -> Transform:
    """Return what a fitted step computes."""
    if step is None or (isinstance(step, str) and step == "passthrough"):
        return _IDENTITY
    kind = type(step)
    known = _KINDS.get(kind.__name__) if kind.__module__.startswith("sklearn.") else None
    if kind.__module__.startswith("sklearn.feature_selection."):
        known = _selection
    if known is None:
        raise SerializationError(
            f"the step {name!r} is a {kind.__module__}.{kind.__qualname__}, which can't be stored: "
            f"only {', '.join(sorted(_KINDS))} and selections of features of scikit-learn can"
        )
    try:
        return known(name, step)
    except AttributeError as error:
        raise SerializationError(
            f"the step {name!r} ({kind.__name__}) is not fitted: {error}"
        ) from None


def _pipeline(name: str, step: Any) -> Transform:
    return _sequence([(f"{name}/{inner}", each) for inner, each in step.steps])


def _columns(name: str, step: Any) -> Transform:
    names = getattr(step, "feature_names_in_", None)
    places: list[Array] = []
    steps: list[Transform] = []
    for inner, each, columns in step.transformers_:
        if isinstance(each, str) and each == "drop":
            continue
        indices = _indices(columns, int(step.n_features_in_), names)
        if len(indices):
            places.append(indices)
            steps.append(_transform(f"{name}/{inner}", each))
    return Transform("columns", {"columns": places, "steps": steps})


def _indices(columns: Any, n_features: int, names: Any) -> Array:
    """Return the positions of columns that are given as a ColumnTransformer takes them."""
    positions = np.arange(n_features)
    place = {} if names is None else {name: index for index, name in enumerate(names)}
    if isinstance(columns, str):
        return positions[[place[columns]]]
    if isinstance(columns, slice):
        start, stop = columns.start, columns.stop
        start = place[start] if isinstance(start, str) else start
        stop = place[stop] + 1 if isinstance(stop, str) else stop
        return positions[slice(start, stop, columns.step)]
    chosen = np.asarray([columns] if np.ndim(columns) == 0 else columns)
    if chosen.dtype.kind in "UOT":
        chosen = np.array([place[column] for column in chosen.tolist()], dtype=np.int64)
    if not chosen.size:
        return positions[:0]
    return np.asarray(positions[chosen], dtype=np.int64)


def _union(name: str, step: Any) -> Transform:
    if step.transformer_weights:
        raise SerializationError(
            f"the step {name!r} is a FeatureUnion with transformer_weights, which can't be stored"
        )
    steps = [
        _transform(f"{name}/{inner}", each)
        for inner, each in step.transformer_list
        if not (isinstance(each, str) and each == "drop")
    ]
    every = np.arange(int(step.n_features_in_))
    return Transform("columns", {"columns": [every for _ in steps], "steps": steps})


def _selection(name: str, step: Any) -> Transform:
    kept = np.asarray(step.get_support(indices=True), dtype=np.int64)
    return Transform("columns", {"columns": [kept], "steps": [_IDENTITY]})


def _function(name: str, step: Any) -> Transform:
    if step.func is None:
        return _IDENTITY
    known = next((each for each, one in NUMBER_FUNCTIONS.items() if one is step.func), None)
    if known is None or step.kw_args:
        raise SerializationError(
            f"the step {name!r} is a FunctionTransformer with the function {step.func!r}, which "
            "can't be stored: only these functions of NumPy's can, without kw_args: "
            f"{', '.join(NUMBER_FUNCTIONS)}"
        )
    return Transform("function", {"name": known})


def _principal(name: str, step: Any) -> Transform:
    weights = np.array(step.components_, dtype=np.float64)
    if step.whiten:
        # Components without variance are in units of rounding, as in scikit-learn.
        scale = np.sqrt(np.asarray(step.explained_variance_))
        weights /= np.maximum(scale, np.finfo(scale.dtype).eps)[:, None]
    return _linear(weights, step.mean_)


def _independent(name: str, step: Any) -> Transform:
    return _linear(step.components_, step.mean_ if step.whiten else None)


def _singular(name: str, step: Any) -> Transform:
    return _linear(step.components_, None)


def _discriminants(name: str, step: Any) -> Transform:
    if step.solver == "lsqr":
        raise SerializationError(
            f"the step {name!r} is a LinearDiscriminantAnalysis with solver='lsqr', which "
            "transforms nothing"
        )
    most = len(step.classes_) - 1 if step.n_components is None else step.n_components
    center = step.xbar_ if step.solver == "svd" else None
    return _linear(np.asarray(step.scalings_)[:, :most].T, center)


def _linear(weights: Any, center: Any) -> Transform:
    """Return ``weights @ (x - center)``."""
    weights = np.asarray(weights, dtype=np.float64)
    shift = np.zeros(len(weights)) if center is None else -(weights @ np.asarray(center))
    return Transform("linear", {"weights": list(weights), "shift": shift.astype(np.float64)})


def _polynomial(name: str, step: Any) -> Transform:
    powers = np.asarray(step.powers_, dtype=np.int64)
    return Transform("polynomial", {"powers": list(powers)})


def _normalizer(name: str, step: Any) -> Transform:
    return Transform("normalize", {"norm": step.norm})


def _binarizer(name: str, step: Any) -> Transform:
    return Transform("binarize", {"threshold": np.array([step.threshold], dtype=np.float64)})


def _standard(name: str, step: Any) -> Transform:
    center = _floats(step.mean_ if step.with_mean else None)
    return Transform("standardize", {"center": center, "scale": _floats(step.scale_)})


def _robust(name: str, step: Any) -> Transform:
    center = step.center_ if step.with_centering else None
    return _centered(center, step.scale_ if step.with_scaling else None)


def _max_abs(name: str, step: Any) -> Transform:
    if getattr(step, "clip", False):
        raise SerializationError(f"the step {name!r} is a MaxAbsScaler with clip=True, unsupported")
    return _centered(None, step.scale_)


def _centered(center: Any, scale: Any) -> Transform:
    return Transform("center_scale", {"center": _floats(center), "scale": _floats(scale)})


def _min_max(name: str, step: Any) -> Transform:
    clip = _floats(step.feature_range) if step.clip else None
    parameters = {"scale": _floats(step.scale_), "shift": _floats(step.min_), "clip": clip}
    return Transform("min_max", parameters)


def _imputer(name: str, step: Any) -> Transform:
    if step.strategy not in ("mean", "median", "most_frequent", "constant"):
        raise SerializationError(
            f"the step {name!r} is a SimpleImputer with strategy={step.strategy!r}; only mean, "
            "median, most_frequent and constant can be stored"
        )
    statistics = np.asarray(step.statistics_)
    empty = np.array([value != value for value in statistics.tolist()], dtype=bool)
    kept = np.flatnonzero(np.ones_like(empty) if step.keep_empty_features else ~empty)
    indicator = step.indicator_
    parameters = {
        "missing": _one(step.missing_values),
        "kept": kept.astype(np.int64),
        "fill": statistics[kept],
        "numeric": step.strategy in ("mean", "median"),
        "indicated": np.asarray([] if indicator is None else indicator.features_, dtype=np.int64),
    }
    return Transform("impute", parameters)


def _one_hot(name: str, step: Any) -> Transform:
    groups = _groups(step)
    dropped = step.drop_idx_
    places: list[Array] = []
    unknown: list[int] = []
    for index, group in enumerate(groups):
        drop = None if dropped is None else dropped[index]
        place, other = group.copy(), _group_of_unknown(step, index, group)
        if drop is not None:
            gone = group[int(drop)]
            place = np.where(group == gone, -1, group - (group > gone))
            other = -1 if other in (-1, gone) else other - (other > gone)
        places.append(place.astype(np.int64))
        unknown.append(int(other))
    return Transform(
        "one_hot",
        {
            "categories": _categories(step),
            "places": places,
            "unknown": np.array(unknown, dtype=np.int64),
            "refuse_unknown": step.handle_unknown == "error",
        },
    )


def _ordinal(name: str, step: Any) -> Transform:
    codes = []
    for categories, group in zip(_categories(step), _groups(step), strict=True):
        lost = np.array([value != value for value in categories.tolist()], dtype=bool)
        codes.append(np.where(lost, step.encoded_missing_value, group).astype(np.float64))
    unknown = None
    if step.handle_unknown == "use_encoded_value":
        unknown = np.array([step.unknown_value], dtype=np.float64)
    parameters = {"categories": _categories(step), "codes": codes, "unknown": unknown}
    return Transform("ordinal", parameters)


def _categories(step: Any) -> list[Array]:
    return [np.asarray(categories) for categories in step.categories_]


def _groups(step: Any) -> list[Array]:
    """Return the number of each category, where infrequent ones of a feature share the last."""
    infrequent = getattr(step, "infrequent_categories_", None) or [None] * len(step.categories_)
    groups = []
    for categories, rare in zip(_categories(step), infrequent, strict=True):
        is_rare = np.zeros(len(categories), dtype=bool)
        if rare is not None:
            is_rare = np.isin(categories, rare)
        numbers = np.cumsum(~is_rare) - 1
        groups.append(np.where(is_rare, (~is_rare).sum(), numbers))
    return groups


def _group_of_unknown(step: Any, index: int, group: Array) -> int:
    """Return the group that other values fall to: the infrequent one, or none."""
    rare = getattr(step, "infrequent_categories_", None)
    joins = step.handle_unknown in ("infrequent_if_exist", "warn")
    return int(group.max()) if joins and rare is not None and rare[index] is not None else -1


def _bins(name: str, step: Any) -> Transform:
    # A feature that never varied has one bin, between infinities, which no file holds.
    ends = [np.asarray(edges, dtype=np.float64) for edges in step.bin_edges_]
    edges = [each if np.isfinite(each).all() else np.array([0.0, 1.0]) for each in ends]
    return Transform("bins", {"edges": edges, "one_hot": step.encode != "ordinal"})


def _power(name: str, step: Any) -> Transform:
    scaler = getattr(step, "_scaler", None) if step.standardize else None
    return Transform(
        "power",
        {
            "method": step.method,
            "exponents": _floats(step.lambdas_),
            "center": None if scaler is None else _floats(scaler.mean_),
            "scale": None if scaler is None else _floats(scaler.scale_),
        },
    )


def _quantile(name: str, step: Any) -> Transform:
    return Transform(
        "quantile",
        {
            "quantiles": [_floats(column) for column in step.quantiles_.T],
            "references": _floats(step.references_),
            "normal": step.output_distribution == "normal",
        },
    )


def _spline(name: str, step: Any) -> Transform:
    if step.degree < 1 or getattr(step, "handle_missing", "error") != "error":
        raise SerializationError(
            f"the step {name!r} is a SplineTransformer with degree={step.degree!r} or a way to "
            "handle missing values; only a degree of at least 1, and 'error', can be stored"
        )
    if step.degree == 1 and step.extrapolation == "linear":
        raise SerializationError(
            f"the step {name!r} is a SplineTransformer of degree 1 that goes on linearly, where "
            "scikit-learn treats the first column and others differently: give 'continue', which "
            "is linear there, too"
        )
    return Transform(
        "spline",
        {
            "knots": [_floats(spline.t) for spline in step.bsplines_],
            "degree": int(step.degree),
            "extrapolation": step.extrapolation,
            "bias": bool(step.include_bias),
        },
    )


def _floats(values: Any) -> Array | None:
    return None if values is None else np.array(values, dtype=np.float64)


def _one(value: Any) -> Array:
    """Return the array of one value, of its own type where that is a number."""
    array = np.asarray([value])
    return array if array.dtype.kind in "biuf" else np.array([value], dtype=object)


_KINDS: dict[str, Callable[[str, Any], Transform]] = {
    "Binarizer": _binarizer,
    "ColumnTransformer": _columns,
    "FastICA": _independent,
    "FeatureUnion": _union,
    "FunctionTransformer": _function,
    "IncrementalPCA": _principal,
    "KBinsDiscretizer": _bins,
    "LinearDiscriminantAnalysis": _discriminants,
    "MaxAbsScaler": _max_abs,
    "MinMaxScaler": _min_max,
    "OneHotEncoder": _one_hot,
    "OrdinalEncoder": _ordinal,
    "Normalizer": _normalizer,
    "PCA": _principal,
    "Pipeline": _pipeline,
    "PolynomialFeatures": _polynomial,
    "PowerTransformer": _power,
    "QuantileTransformer": _quantile,
    "RobustScaler": _robust,
    "SimpleImputer": _imputer,
    "SplineTransformer": _spline,
    "StandardScaler": _standard,
    "TruncatedSVD": _singular,
}
