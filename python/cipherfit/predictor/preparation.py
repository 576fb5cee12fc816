"""What is computed of raw features before a network's own: known transforms, one after the other.

A preparation is made from a fitted pipeline of scikit-learn's (`predictor.pipelines`), stored as
plain values, and computed in NumPy alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherfit.exceptions import CipherfitError, InvalidInputError, SerializationError
from cipherfit.predictor.records import is_plain, pack_array, unpack_array, unpack_names
from cipherfit.predictor.transforms import NUMBER_FUNCTIONS, TRANSFORMS, Columns

#: Parameters by kind, and what each holds; a question mark allows null, too, and
#: bars part texts that are allowed.
_SCHEMAS: dict[str, dict[str, str]] = {
    "binarize": {"threshold": "one"},
    "bins": {"edges": "float arrays", "one_hot": "flag"},
    "center_scale": {"center": "floats?", "scale": "floats?"},
    "columns": {"columns": "integer arrays", "steps": "transforms"},
    "function": {"name": "|".join(NUMBER_FUNCTIONS)},
    "identity": {},
    "impute": {
        "missing": "one",
        "kept": "integers",
        "fill": "array",
        "numeric": "flag",
        "indicated": "integers",
    },
    "linear": {"weights": "float arrays", "shift": "floats"},
    "min_max": {"scale": "floats", "shift": "floats", "clip": "floats?"},
    "normalize": {"norm": "l1|l2|max"},
    "one_hot": {
        "categories": "arrays",
        "places": "integer arrays",
        "unknown": "integers",
        "refuse_unknown": "flag",
    },
    "ordinal": {"categories": "arrays", "codes": "arrays", "unknown": "one?"},
    "polynomial": {"powers": "power arrays"},
    "power": {
        "method": "box-cox|yeo-johnson",
        "exponents": "floats",
        "center": "floats?",
        "scale": "floats?",
    },
    "quantile": {"quantiles": "float arrays", "references": "floats", "normal": "flag"},
    "sequence": {"steps": "transforms"},
    "spline": {
        "knots": "float arrays",
        "degree": "degree",
        "extrapolation": "constant|continue|error|linear|periodic",
        "bias": "flag",
    },
    "standardize": {"center": "floats?", "scale": "floats?"},
}
#: What lists of arrays hold.
_ENTRIES = {"float arrays": "floats", "integer arrays": "integers", "power arrays": "powers"}
_MOST_DEGREE = 20
#: How deep transforms may hold transforms, and how many raw features there may be.
_MOST_DEPTH, _MOST_FEATURES = 16, 1 << 20


@dataclass(frozen=True)
class Transform:
    """A step of a preparation.

    Parameters
    ----------
    kind : str
        "sequence" and "columns", which hold others, or one of `transforms.TRANSFORMS`.
    parameters : dict
        What it computes with: arrays (n,), lists of arrays or of transforms, numbers and texts.
    """

    kind: str
    parameters: dict[str, Any]

    def __call__(self, columns: Columns) -> Columns:
        """Return what it makes of columns, arrays of shape (n_samples,)."""
        if self.kind == "sequence":
            for step in self.parameters["steps"]:
                columns = step(columns)
            return columns
        if self.kind == "columns":
            parts = zip(self.parameters["columns"], self.parameters["steps"], strict=True)
            return [
                made
                for indices, step in parts
                for made in step([columns[index] for index in indices.tolist()])
            ]
        return TRANSFORMS[self.kind](columns, **self.parameters)

    def record(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        parameters = {key: _packed(value, key) for key, value in self.parameters.items()}
        return {"kind": self.kind, "parameters": parameters}

    @classmethod
    def from_record(cls, record: Any, depth: int = 0) -> Transform:
        """Return what `record` gave, with the type of every value checked."""
        if not isinstance(record, dict) or set(record) != {"kind", "parameters"}:
            raise SerializationError("a transform is no kind with parameters")
        kind, parameters = record["kind"], record["parameters"]
        if not isinstance(kind, str) or kind not in _SCHEMAS:
            raise SerializationError(f"the transform {kind!r:.60} is unknown")
        schema = _SCHEMAS[kind]
        if not isinstance(parameters, dict) or set(parameters) != set(schema):
            raise SerializationError(f"the transform {kind} has other parameters")
        if depth > _MOST_DEPTH:
            raise SerializationError(f"transforms are in each other more than {_MOST_DEPTH} deep")
        return cls(
            kind,
            {
                key: _unpacked(parameters[key], what, f"{key} of {kind}", depth)
                for key, what in schema.items()
            },
        )


@dataclass(frozen=True)
class Preparation:
    """What makes a network's features of raw ones.

    Parameters
    ----------
    n_features : int
        Raw features.
    names : tuple of str, optional
        Their names, where the pipeline was fitted on a data frame.
    transform : Transform
        What is computed of them.
    """

    n_features: int
    names: tuple[str, ...] | None
    transform: Transform

    def __call__(self, X: Any) -> NDArray[Any]:
        """Return the network's features of raw ones.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Raw features; of a data frame, columns are found by their names, where there are some.
            An array of as many numbers per row is taken row by row.

        Returns
        -------
        ndarray of shape (n_samples, n)

        Raises
        ------
        InvalidInputError
            If X has other columns, or values that the pipeline was not made for.
        """
        columns = self._columns(X)
        try:
            with np.errstate(over="ignore", under="ignore"):
                prepared = self.transform(columns)
            return np.column_stack(
                [np.asarray(column, dtype=_floating(column)) for column in prepared]
            )
        except CipherfitError:
            raise
        except (ValueError, TypeError, IndexError, ArithmeticError, AttributeError) as error:
            raise InvalidInputError(f"X can't be prepared as in training: {error}") from error

    def record(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        names = None if self.names is None else list(self.names)
        return {
            "n_features": self.n_features,
            "names": names,
            "transform": self.transform.record(),
        }

    @classmethod
    def from_record(cls, record: Any) -> Preparation | None:
        """Return what `record` gave, checked; None where there is none."""
        if record is None:
            return None
        if not isinstance(record, dict) or set(record) != {"n_features", "names", "transform"}:
            raise SerializationError("the preparation is not features with a transform")
        n_features = record["n_features"]
        if not is_plain(n_features, int) or not 1 <= n_features <= _MOST_FEATURES:
            raise SerializationError(f"there can't be {n_features!r:.60} raw features")
        names = unpack_names(record["names"], n_features)
        return cls(n_features, names, Transform.from_record(record["transform"]))

    def _columns(self, X: Any) -> Columns:
        """Return the columns of X, each of its own type."""
        frame = getattr(X, "columns", None)
        if frame is not None and not callable(frame):
            given = list(frame)
            names = given if self.names is None else self.names
            missing = [name for name in names if name not in given]
            if missing:
                raise InvalidInputError(f"X lacks the columns {', '.join(map(repr, missing[:5]))}")
            columns = [_column(X[name], name) for name in names]
        else:
            columns = list(_table(X, self.n_features).T)
        if len(columns) != self.n_features:
            raise InvalidInputError(
                f"X has {len(columns)} features, but Predictor is expecting {self.n_features} "
                "features as input"
            )
        return columns


def _table(X: Any, n_features: int) -> NDArray[Any]:
    if hasattr(X, "toarray"):
        X = X.toarray()
    values = np.asarray(X)
    if values.dtype.kind in "US" and not isinstance(X, np.ndarray):
        values = np.asarray(X, dtype=object)  # NumPy would turn numbers beside texts into texts
    if values.ndim > 2 and math.prod(values.shape[1:]) == n_features:
        values = values.reshape(len(values), n_features)  # rows of images, as without preparation
    if values.ndim != 2 or not len(values):
        raise InvalidInputError(
            f"X has shape {values.shape}; give rows of shape (n_samples, n_features)"
        )
    return values


def _column(series: Any, name: Any) -> NDArray[Any]:
    values = np.asarray(series.to_numpy())
    if values.ndim != 1 or not len(values):
        raise InvalidInputError(f"the column {name!r} of X has shape {values.shape}")
    if values.dtype == object:
        # pandas' own mark of what is missing is equal to nothing, itself included
        lost = [type(value).__name__ == "NAType" for value in values]
        if any(lost):
            values = np.where(lost, np.nan, values)
    return values


def _floating(column: NDArray[Any]) -> Any:
    return np.float32 if column.dtype == np.float32 else np.float64


def _packed(value: Any, what: str) -> Any:
    if isinstance(value, np.ndarray):
        return pack_array(value, what)
    if isinstance(value, Transform):
        return value.record()
    if isinstance(value, list | tuple):
        return [_packed(entry, what) for entry in value]
    return value


def _unpacked(value: Any, what: str, name: str, depth: int) -> Any:
    """Return a parameter, if it is what its kind's schema says."""
    if what.endswith("?"):
        return None if value is None else _unpacked(value, what[:-1], name, depth)
    if what == "flag" and is_plain(value, bool):
        return value
    if "|" in what and isinstance(value, str) and value in what.split("|"):
        return value
    if what == "degree" and is_plain(value, int) and 1 <= value <= _MOST_DEGREE:
        return value
    if what == "transforms" and isinstance(value, list):
        return [Transform.from_record(entry, depth + 1) for entry in value]
    if what.endswith("arrays") and isinstance(value, list):
        kind = _ENTRIES.get(what, "array")
        return [_unpacked(entry, kind, name, depth) for entry in value]
    if what in ("array", "floats", "integers", "one", "powers"):
        array = unpack_array(value, name)
        if what == "floats" and not (array.dtype == np.float64 and np.isfinite(array).all()):
            raise SerializationError(f"{name} is not of finite floats")
        if what == "integers" and (array.dtype != np.int64 or (array < -1).any()):
            raise SerializationError(f"{name} is not of integers from -1 on")
        is_power = array.dtype == np.int64 and ((array >= 0) & (array <= _MOST_DEGREE)).all()
        if what == "powers" and not is_power:
            raise SerializationError(f"{name} is not of integers from 0 to {_MOST_DEGREE}")
        if what == "one" and len(array) != 1:
            raise SerializationError(f"{name} is not of one value")
        return array
    raise SerializationError(f"{name} is not of type {what}")
