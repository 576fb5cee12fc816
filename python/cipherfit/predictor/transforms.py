"""What scikit-learn people put before a network, computed in NumPy: scalers, imputers, encoders.

Each function takes columns, a list of arrays (n_samples,) of types of their own, and parameters
that are plain arrays, numbers and texts, and gives columns. The arithmetic is scikit-learn's,
operation by operation, so that results are the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherfit.exceptions import InvalidInputError, SerializationError

Columns = list[NDArray[Any]]
Float64 = NDArray[np.float64]
Array = NDArray[Any]

#: NumPy's functions of one number that FunctionTransformer may have.
NUMBER_FUNCTIONS: dict[str, Callable[[Array], Array]] = {
    "abs": np.abs,
    "arcsinh": np.arcsinh,
    "cbrt": np.cbrt,
    "cos": np.cos,
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "log10": np.log10,
    "log1p": np.log1p,
    "log2": np.log2,
    "reciprocal": np.reciprocal,
    "sign": np.sign,
    "sin": np.sin,
    "sqrt": np.sqrt,
    "square": np.square,
    "tanh": np.tanh,
}

#: scikit-learn's distance from 0 and 1 within which quantiles are those of the ends.
_BOUNDS_THRESHOLD = 1e-7


def identity(columns: Columns) -> Columns:
    """Return columns as they are."""
    return columns


def center_scale(columns: Columns, *, center: Array | None, scale: Array | None) -> Columns:
    """Return ``(columns - center) / scale``: RobustScaler, MaxAbsScaler."""
    values = _floats(columns)
    if center is not None:
        values -= center
    if scale is not None:
        values /= scale
    return list(values.T)


def standardize(columns: Columns, *, center: Array | None, scale: Array | None) -> Columns:
    """Return the same, with parameters of the columns' own precision: StandardScaler."""
    dtype = _floats(columns).dtype
    return center_scale(
        columns,
        center=None if center is None else center.astype(dtype),
        scale=None if scale is None else scale.astype(dtype),
    )


def min_max(columns: Columns, *, scale: Array, shift: Array, clip: Array | None) -> Columns:
    """Return ``columns * scale + shift``, clamped to two numbers: MinMaxScaler."""
    values = _floats(columns)
    values *= scale
    values += shift
    if clip is not None:
        np.clip(values, clip[0], clip[1], out=values)
    return list(values.T)


def impute(
    columns: Columns,
    *,
    missing: Array,
    kept: Array,
    fill: Array,
    numeric: bool,
    indicated: Array,
) -> Columns:
    """Return kept columns with missing values filled, and where some were: SimpleImputer."""
    if numeric:
        columns = list(_floats(columns).T)
    masks = [_is_missing(column, missing[0]) for column in columns]
    _check_as_many(kept, fill)
    filled = [
        _filled(columns[index], masks[index], value)
        for index, value in zip(kept.tolist(), fill.tolist(), strict=True)
    ]
    return filled + [masks[index].astype(np.float64) for index in indicated.tolist()]


def one_hot(
    columns: Columns,
    *,
    categories: Sequence[Array],
    places: Sequence[Array],
    unknown: Array,
    refuse_unknown: bool,
) -> Columns:
    """Return a column of 0 and 1 per category, or group of them: OneHotEncoder.

    Of each feature, `places` has the column of each category, and `unknown` that of others; -1
    is none.
    """
    _check_as_many(columns, categories, places, unknown)
    encoded: Columns = []
    for index, column in enumerate(columns):
        found = _positions(column, categories[index])
        if refuse_unknown:
            _check_known(found, column, index)
        place = np.append(places[index], unknown[index])[found]
        n_places = int(places[index].max(initial=-1)) + 1
        if n_places > len(categories[index]):
            raise SerializationError(f"column {index} has more places than categories")
        encoded += [(place == each).astype(np.float64) for each in range(n_places)]
    return encoded


def ordinal(
    columns: Columns,
    *,
    categories: Sequence[Array],
    codes: Sequence[Array],
    unknown: Array | None,
) -> Columns:
    """Return the code of each category, and of others that of `unknown`: OrdinalEncoder."""
    _check_as_many(columns, categories, codes)
    encoded: Columns = []
    for index, column in enumerate(columns):
        found = _positions(column, categories[index])
        if unknown is None:
            _check_known(found, column, index)
        other = np.nan if unknown is None else unknown[0]
        encoded.append(np.append(codes[index], other)[found])
    return encoded


def bins(columns: Columns, *, edges: Sequence[Array], one_hot: bool) -> Columns:
    """Return the bin of each value, as a number or as columns of 0 and 1: KBinsDiscretizer."""
    values = _floats(columns)
    _check_as_many(columns, edges)
    binned: Columns = []
    for column, ends in zip(values.T, edges, strict=True):
        found = np.searchsorted(ends[1:-1], column, side="right")
        if one_hot:
            binned += [(found == each).astype(np.float64) for each in range(len(ends) - 1)]
        else:
            # What is no number has no bin, and is refused as a feature.
            binned.append(np.where(np.isnan(column), np.nan, found).astype(values.dtype))
    return binned


def power(
    columns: Columns, *, method: str, exponents: Array, center: Array | None, scale: Array | None
) -> Columns:
    """Return powers of values, standardized: PowerTransformer (Yeo and Johnson, Box and Cox)."""
    values = _floats(columns)
    function = {"box-cox": _box_cox, "yeo-johnson": _yeo_johnson}[method]
    _check_as_many(columns, exponents)
    for index, exponent in enumerate(exponents.tolist()):
        values[:, index] = function(values[:, index], exponent)
    return standardize(list(values.T), center=center, scale=scale)


def quantile(
    columns: Columns, *, quantiles: Sequence[Array], references: Array, normal: bool
) -> Columns:
    """Return where values lie among those of training, in [0, 1] or normal: QuantileTransformer."""
    values = _floats(columns)
    _check_as_many(columns, quantiles)
    for index, known in enumerate(quantiles):
        values[:, index] = _rank(values[:, index], known, references, normal)
    return list(values.T)


def spline(
    columns: Columns, *, knots: Sequence[Array], degree: int, extrapolation: str, bias: bool
) -> Columns:
    """Return the B-splines over each column's knots: SplineTransformer.

    The last of each column is left out without `bias`; `extrapolation` says what is beyond.
    """
    values = _floats(columns)
    _check_as_many(columns, knots)
    made: Columns = []
    for index, (column, at) in enumerate(zip(values.T, knots, strict=True)):
        basis = _splines(column.astype(np.float64), at, degree, extrapolation, index)
        basis = basis.astype(values.dtype)
        made += list(basis.T if bias else basis.T[:-1])
    return made


def linear(columns: Columns, *, weights: Sequence[Array], shift: Array) -> Columns:
    """Return weighted sums of columns plus a shift each: PCA, TruncatedSVD and their like."""
    values = _floats(columns)
    _check_as_many(weights, shift)
    for each in weights:
        _check_as_many(columns, each)
    sums = values.astype(np.float64) @ np.stack(weights).T + shift
    return list(sums.astype(values.dtype).T)


def polynomial(columns: Columns, *, powers: Sequence[Array]) -> Columns:
    """Return products of columns, each raised to powers: PolynomialFeatures."""
    values = _floats(columns)
    products: Columns = []
    for exponents in powers:
        _check_as_many(columns, exponents)
        product = np.ones(len(values), dtype=values.dtype)
        for index in np.flatnonzero(exponents).tolist():
            product *= values[:, index] ** int(exponents[index])
        products.append(product)
    return products


def normalize(columns: Columns, *, norm: str) -> Columns:
    """Return each row in units of its length, or as it is where that is 0: Normalizer."""
    values = _floats(columns)
    if norm == "l2":
        lengths = np.sqrt(np.einsum("ij,ij->i", values, values))
    elif norm == "l1":
        lengths = np.abs(values).sum(axis=1)
    else:
        lengths = np.abs(values).max(axis=1)
    values /= np.where(lengths == 0, 1, lengths)[:, None]
    return list(values.T)


def binarize(columns: Columns, *, threshold: Array) -> Columns:
    """Return 1 where a value is above the threshold, and 0 elsewhere: Binarizer."""
    values = _floats(columns)
    above = np.where(np.isnan(values), np.nan, values > threshold[0])
    return list(above.astype(values.dtype).T)


def function(columns: Columns, *, name: str) -> Columns:
    """Return a function of each value, NaN where it has none: FunctionTransformer."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return list(NUMBER_FUNCTIONS[name](_floats(columns)).T)


def _floats(columns: Columns) -> Array:
    """Return columns as one array of floats that may be written to, as scikit-learn would."""
    values = np.column_stack(columns)
    keeps = values.dtype in (np.float64, np.float32)
    return np.array(values, dtype=values.dtype if keeps else np.float64)


def _is_missing(column: Array, missing: Any) -> NDArray[np.bool_]:
    if missing is None:
        return np.array([value is None for value in column.tolist()], dtype=bool)
    if isinstance(missing, float) and np.isnan(missing):
        return np.asarray(column != column, dtype=bool)
    return np.asarray(column == missing, dtype=bool)


def _filled(column: Array, mask: NDArray[np.bool_], value: Any) -> Array:
    if not mask.any():
        return column
    filled = column.copy()
    filled[mask] = value
    return filled


def _positions(column: Array, categories: Array) -> NDArray[np.int64]:
    """Return the index of each value among categories, -1 where it is none of them."""
    index = {_key(value): place for place, value in enumerate(categories.tolist())}
    return np.array([index.get(_key(value), -1) for value in column.tolist()], dtype=np.int64)


def _key(value: Any) -> Any:
    """Return what NaN, too, is found by."""
    return _key if value != value else value


def _check_known(found: NDArray[np.int64], column: Array, index: int) -> None:
    if (found < 0).any():
        row = int(np.flatnonzero(found < 0)[0])
        raise InvalidInputError(
            f"X holds {column[row]!r} at row ",
            row,
            f", in the encoder's column {index}: no category of training",
        )


def _check_as_many(*parts: Sequence[Any] | Array) -> None:
    counts = [len(part) for part in parts]
    if len(set(counts)) > 1:
        raise InvalidInputError(f"the columns to prepare are not as many as in training: {counts}")


def _yeo_johnson(values: Array, exponent: float) -> Array:
    result = np.empty_like(values)
    up = values >= 0
    small = np.finfo(np.float64).eps
    with np.errstate(invalid="ignore"):
        above, below = np.log1p(values[up]), np.log1p(-values[~up])
        result[up] = above if abs(exponent) < small else np.expm1(exponent * above) / exponent
        rest = 2 - exponent
        result[~up] = -below if abs(rest) < small else -np.expm1(rest * below) / rest
    return result


def _box_cox(values: Array, exponent: float) -> Array:
    if (values <= 0).any():
        raise InvalidInputError("the Box-Cox transformation takes positive values only")
    logarithm = np.log(values)
    return logarithm if exponent == 0 else np.asarray(np.expm1(exponent * logarithm) / exponent)


def _splines(x: Float64, at: Float64, degree: int, extrapolation: str, index: int) -> Float64:
    """Return the B-splines (n_samples, n) over knots, also beyond the first and last inner one."""
    low, high = at[degree], at[-degree - 1]
    inside = np.clip(x, low, high)
    if extrapolation == "error" and (x != inside).any():
        raise InvalidInputError(f"the spline of column {index} ends before a value of X")
    if extrapolation == "periodic":
        length = high - low
        wrapped = _basis(low + (x - low) % length if length > 0 else np.zeros_like(x), at, degree)
        wrapped[:, :degree] += wrapped[:, -degree:]
        return wrapped[:, :-degree]
    if extrapolation == "continue":
        return _basis(x, at, degree)
    basis = _basis(inside, at, degree)
    if extrapolation == "linear":
        widths = at[degree:] - at[:-degree]
        parts = _basis(inside, at, degree - 1, ends=degree) / np.where(widths > 0, widths, np.inf)
        basis += (x - inside)[:, None] * degree * (parts[:, :-1] - parts[:, 1:])
    return basis


def _basis(x: Float64, at: Float64, degree: int, *, ends: int | None = None) -> Float64:
    """Return B-splines by Cox's and de Boor's recursion, their polynomials going on at the ends."""
    ends = degree if ends is None else ends
    interval = np.clip(np.searchsorted(at, x, side="right") - 1, ends, len(at) - ends - 2)
    values = (interval[:, None] == np.arange(len(at) - 1)).astype(np.float64)
    for order in range(1, degree + 1):
        widths = at[order:] - at[:-order]
        ramps = (x[:, None] - at[:-order]) / np.where(widths > 0, widths, np.inf)
        values = ramps[:, :-1] * values[:, :-1] + (1 - ramps[:, 1:]) * values[:, 1:]
    return np.asarray(values)


def _rank(values: Array, known: Array, references: Array, normal: bool) -> Array:
    """Return the mean of ranks from below and from above, which differ where values repeat."""
    margin = _BOUNDS_THRESHOLD if normal else 0.0
    if normal:
        low, high = values - margin < known[0], values + margin > known[-1]
    else:
        low, high = values == known[0], values == known[-1]
    up = np.interp(values, known, references)
    down = np.interp(-values, -known[::-1], -references[::-1])
    ranks = np.where(np.isnan(values), np.nan, 0.5 * (up - down))
    ranks[high], ranks[low] = 1.0, 0.0
    return _normal_scores(ranks) if normal else ranks


def _normal_scores(ranks: Array) -> Array:
    least = NormalDist().inv_cdf(_BOUNDS_THRESHOLD - float(np.spacing(1)))
    most = NormalDist().inv_cdf(1 - (_BOUNDS_THRESHOLD - float(np.spacing(1))))
    inverse = NormalDist().inv_cdf
    scores = [inverse(rank) if 0 < rank < 1 else (rank - 0.5) * np.inf for rank in ranks.tolist()]
    return np.clip(np.array(scores), least, most)


#: Functions by the name of their kind in files.
TRANSFORMS: dict[str, Callable[..., Columns]] = {
    "binarize": binarize,
    "bins": bins,
    "center_scale": center_scale,
    "function": function,
    "identity": identity,
    "impute": impute,
    "linear": linear,
    "min_max": min_max,
    "normalize": normalize,
    "one_hot": one_hot,
    "ordinal": ordinal,
    "polynomial": polynomial,
    "power": power,
    "quantile": quantile,
    "spline": spline,
    "standardize": standardize,
}
