"""What a person may give for each feature of a model: for forms.

Ranges, categories and what stands in for a missing value are read off the model: off the network's
quantizer, and off the steps that prepare raw features for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherfit.exceptions import InvalidInputError
from cipherfit.predictor.predictor import Predictor
from cipherfit.predictor.preparation import Transform

_DIGITS = 4
_MOST_LISTED = 12


class FieldError(InvalidInputError):
    """A value that a feature can't have.

    Parameters
    ----------
    feature : str
        Its name.
    value : object
        What was given.
    allowed : str
        What it may be.
    """

    def __init__(self, feature: str, value: object, allowed: str) -> None:
        super().__init__(f"{feature} = {value!r:.80} must be {allowed}")
        self.feature = feature
        self.value = value
        self.allowed = allowed


@dataclass(frozen=True)
class Field:
    """A raw feature, as a form asks for it.

    Parameters
    ----------
    name : str
        Its name, or its number from 1 on.
    low, high : float or None
        Between which values the model tells numbers apart; None where that is not known.
    choices : dict of str to object, or None
        Categories by what they are called, in order; None for numbers.
    default : float, str or None
        What a form begins with: a number, a choice, or None for a missing value.
    missing : tuple of object, or None
        What the model takes for a missing value, in a tuple; None where it takes none.
    """

    name: str
    low: float | None = None
    high: float | None = None
    choices: dict[str, Any] | None = None
    default: float | str | None = None
    missing: tuple[Any] | None = None

    @property
    def allowed(self) -> str:
        """What may be given, in words."""
        or_missing = ", or nothing" if self.missing else ""
        if self.choices is None:
            return f"a finite number{or_missing}"
        listed = [repr(label) for label in self.choices][:_MOST_LISTED]
        more = ", ..." if len(self.choices) > _MOST_LISTED else ""
        return f"one of {', '.join(listed)}{more}{or_missing}"

    def value(self, given: object) -> Any:
        """Return the raw value of what was given.

        Parameters
        ----------
        given : int, float, str or None
            A number, or text that is one; what a choice is called; None for a missing value.

        Raises
        ------
        FieldError
            If it is none of them.
        """
        if given is None:
            if self.missing is None:
                raise FieldError(self.name, given, self.allowed)
            return self.missing[0]
        if self.choices is not None:
            if not isinstance(given, str) or given not in self.choices:
                raise FieldError(self.name, given, self.allowed)
            return self.choices[given]
        return self._number(given)

    def is_beyond(self, value: object) -> bool:
        """Whether a raw value is a number outside the range that the model was made for."""
        if self.low is None or self.high is None or not isinstance(value, float):
            return False
        margin = 1e-3 * (self.high - self.low)  # the ends are rounded
        return value < self.low - margin or value > self.high + margin

    def _number(self, given: object) -> float:
        try:
            if not isinstance(given, int | float | str) or isinstance(given, bool):
                raise ValueError
            number = float(given)
        except (ValueError, OverflowError):
            raise FieldError(self.name, given, self.allowed) from None
        if not abs(number) <= np.finfo(np.float32).max:
            raise FieldError(self.name, given, self.allowed)
        return number


@dataclass(frozen=True)
class Row:
    """One row of raw values, with names where the model has some: a data frame as far as it asks.

    Parameters
    ----------
    values : list
        A value of each feature.
    columns : tuple of str, optional
        Their names.
    """

    values: list[Any]
    columns: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return 1

    def to_numpy(self) -> NDArray[Any]:
        """Return it as an array (1, n_features)."""
        return np.array([self.values])


def fields_of(predictor: Predictor) -> list[Field]:
    """Return what may be given for each raw feature of a model.

    Parameters
    ----------
    predictor : Predictor
        The model.

    Returns
    -------
    list of Field
        In the order of its raw features.
    """
    preparation = predictor.preparation
    raw = predictor.features if preparation is None else preparation
    clues = [_Clues() for _ in range(raw.n_features)]
    columns: list[_Column | None] = [_Column(each) for each in clues]
    if preparation is not None:
        try:
            columns = _traced(preparation.transform, columns)
        except (ValueError, IndexError) as error:
            raise InvalidInputError(f"the steps before the network don't fit: {error}") from None
    quantizer = predictor.graph.to_dict()["input"]
    if len(columns) == predictor.graph.n_features:
        low = -quantizer["zero_point"] * quantizer["scale"]
        high = (2.0 ** quantizer["n_bits"] - 1) * quantizer["scale"] + low
        for column, ends in zip(
            columns, zip(low.tolist(), high.tolist(), strict=True), strict=True
        ):
            if column is not None:
                column.clues.note_range(*map(column.raw, ends))
    names = raw.names or tuple(f"feature {number}" for number in range(1, len(clues) + 1))
    return [each.field(name) for each, name in zip(clues, names, strict=True)]


def row_of(predictor: Predictor, fields: Sequence[Field], given: Sequence[object]) -> Any:
    """Return a row as a model takes it, of what was given for its fields.

    Parameters
    ----------
    predictor : Predictor
        The model.
    fields : sequence of Field
        Of `fields_of`.
    given : sequence
        A value for each.

    Raises
    ------
    InvalidInputError
        If there are more or fewer than fields, or one can't be a value: see `FieldError`.
    """
    if len(given) != len(fields):
        raise InvalidInputError(f"the row has {len(given)} values, and must have {len(fields)}")
    values = [field.value(one) for field, one in zip(fields, given, strict=True)]
    if predictor.preparation is None:
        return Row(values, predictor.features.names)
    # An array of one type would turn what is missing, or a number beside texts, into another type.
    return np.array([values], dtype=object)


class _Clues:
    """What is found out about a raw feature on the way."""

    def __init__(self) -> None:
        self.low: float | None = None
        self.high: float | None = None
        self.default: float | None = None
        self.choices: list[Any] | None = None
        self.fill: Any = None
        self.missing: tuple[Any] | None = None

    def note_range(self, one: float, other: float) -> None:
        """Note values that the model tells apart; of several ranges it is the widest."""
        if math.isfinite(one) and math.isfinite(other):
            low, high = sorted((one, other))
            self.low = low if self.low is None else min(self.low, low)
            self.high = high if self.high is None else max(self.high, high)

    def field(self, name: str) -> Field:
        """Return the feature's field."""
        if self.choices is not None:
            choices = _labelled([one for one in self.choices if not _is_lost(one)])
            lost = [one for one in self.choices if _is_lost(one)]
            missing = self.missing or ((lost[0],) if lost else None)
            first = next(iter(choices), None)
            default = next((name for name, one in choices.items() if one == self.fill), first)
            return Field(name, choices=choices, default=default, missing=missing)
        number = self.fill if isinstance(self.fill, int | float) else self.default
        if number is None or not math.isfinite(number):
            number = 0.0
            if self.low is not None and self.high is not None:
                number = (self.low + self.high) / 2
        return Field(
            name,
            low=_rounded(self.low),
            high=_rounded(self.high),
            default=_rounded(number),
            missing=self.missing,
        )


@dataclass(frozen=True)
class _Column:
    """A column on the way: ``factor * raw + shift`` of a raw feature."""

    clues: _Clues
    factor: float = 1.0
    shift: float = 0.0

    def raw(self, value: float) -> float:
        """Return the raw value that it has a value for."""
        return (value - self.shift) / self.factor if self.factor else math.nan

    def moved(self, factor: float, shift: float) -> _Column:
        """Return ``factor * column + shift``."""
        return _Column(self.clues, self.factor * factor, self.shift * factor + shift)

    @property
    def is_raw(self) -> bool:
        return self.factor == 1 and self.shift == 0


_Columns = list[_Column | None]


def _traced(transform: Transform, columns: _Columns) -> _Columns:
    """Return what a step makes of columns, None for what is no multiple of a raw feature."""
    parameters = transform.parameters
    if transform.kind == "sequence":
        for step in parameters["steps"]:
            columns = _traced(step, columns)
        return columns
    if transform.kind == "columns":
        return [
            made
            for indices, step in zip(parameters["columns"], parameters["steps"], strict=True)
            for made in _traced(step, [columns[index] for index in indices.tolist()])
        ]
    return _STEPS[transform.kind](columns, parameters)


def _identity(columns: _Columns, _: dict[str, Any]) -> _Columns:
    return columns


def _impute(columns: _Columns, parameters: dict[str, Any]) -> _Columns:
    missing = parameters["missing"].tolist()[0]
    kept = parameters["kept"].tolist()
    for index, fill in zip(kept, parameters["fill"].tolist(), strict=True):
        column = columns[index]
        if column is None:
            continue
        if column.is_raw:
            column.clues.missing, column.clues.fill = (missing,), fill
        elif _is_lost(missing) and isinstance(fill, int | float):
            column.clues.missing, column.clues.fill = (missing,), column.raw(fill)
    return [*(columns[index] for index in kept), *[None] * len(parameters["indicated"])]


def _center_scale(columns: _Columns, parameters: dict[str, Any]) -> _Columns:
    center, scale = parameters["center"], parameters["scale"]
    centers = [0.0] * len(columns) if center is None else center.tolist()
    scales = [1.0] * len(columns) if scale is None else scale.tolist()
    made: _Columns = []
    for column, middle, width in zip(columns, centers, scales, strict=True):
        if column is not None:
            if center is not None and column.clues.default is None:
                column.clues.default = column.raw(middle)
            column = column.moved(1 / width, -middle / width) if width else None
        made.append(column)
    return made


def _min_max(columns: _Columns, parameters: dict[str, Any]) -> _Columns:
    pairs = zip(parameters["scale"].tolist(), parameters["shift"].tolist(), strict=True)
    return [
        None if column is None else column.moved(*pair)
        for column, pair in zip(columns, pairs, strict=True)
    ]


def _one_hot(columns: _Columns, parameters: dict[str, Any]) -> _Columns:
    _note_choices(columns, parameters["categories"])
    return [None] * sum(int(places.max(initial=-1)) + 1 for places in parameters["places"])


def _ordinal(columns: _Columns, parameters: dict[str, Any]) -> _Columns:
    _note_choices(columns, parameters["categories"])
    return [None] * len(columns)


def _bins(columns: _Columns, parameters: dict[str, Any]) -> _Columns:
    edges = parameters["edges"]
    _note_ranges(columns, [(ends[0], ends[-1]) for ends in edges])
    return [None] * (sum(len(ends) - 1 for ends in edges) if parameters["one_hot"] else len(edges))


def _mixed(columns: _Columns, _: dict[str, Any]) -> _Columns:
    return [None] * len(columns)


def _linear(columns: _Columns, parameters: dict[str, Any]) -> _Columns:
    return [None] * len(parameters["shift"])


def _polynomial(columns: _Columns, parameters: dict[str, Any]) -> _Columns:
    powers = parameters["powers"]
    alone = [int(each.argmax()) if each.sum() == 1 else None for each in powers]
    return [None if index is None else columns[index] for index in alone]


def _quantile(columns: _Columns, parameters: dict[str, Any]) -> _Columns:
    known = parameters["quantiles"]
    _note_ranges(columns, [(values[0], values[-1]) for values in known])
    for column, values in zip(columns, known, strict=True):
        if column is not None:
            column.clues.default = column.raw(float(values[len(values) // 2]))
    return [None] * len(columns)


def _spline(columns: _Columns, parameters: dict[str, Any]) -> _Columns:
    degree, knots = parameters["degree"], parameters["knots"]
    _note_ranges(columns, [(at[degree], at[-degree - 1]) for at in knots])
    fewer = (degree if parameters["extrapolation"] == "periodic" else 0) + (not parameters["bias"])
    return [None] * sum(len(at) - degree - 1 - fewer for at in knots)


def _note_choices(columns: _Columns, categories: Sequence[NDArray[Any]]) -> None:
    for column, values in zip(columns, categories, strict=True):
        if column is not None and column.is_raw:
            column.clues.choices = values.tolist()


def _note_ranges(columns: _Columns, ranges: Sequence[tuple[float, float]]) -> None:
    for column, ends in zip(columns, ranges, strict=True):
        if column is not None:
            column.clues.note_range(*(column.raw(float(end)) for end in ends))


#: What each kind of step does to columns; `transforms.TRANSFORMS` has the same kinds.
_STEPS: dict[str, Callable[[_Columns, dict[str, Any]], _Columns]] = {
    "binarize": _mixed,
    "bins": _bins,
    "center_scale": _center_scale,
    "function": _mixed,
    "identity": _identity,
    "impute": _impute,
    "linear": _linear,
    "min_max": _min_max,
    "normalize": _mixed,
    "one_hot": _one_hot,
    "ordinal": _ordinal,
    "polynomial": _polynomial,
    "power": _mixed,
    "quantile": _quantile,
    "spline": _spline,
    "standardize": _center_scale,
}


def _labelled(values: Sequence[Any]) -> dict[str, Any]:
    """Return values by what they are called, each by a name of its own."""
    named: dict[str, Any] = {}
    for value in values:
        label, number = str(value), 2
        while label in named:
            label, number = f"{value} ({number})", number + 1
        named[label] = value
    return named


def _is_lost(value: Any) -> bool:
    return value is None or value != value


def _rounded(number: float | None) -> float | None:
    """Return a number that people can read."""
    return None if number is None else float(f"{number:.{_DIGITS}g}")
