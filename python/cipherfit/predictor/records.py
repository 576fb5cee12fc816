"""What files hold of a model besides its graph, as plain values for JSON and back.

Readers check the type of every value. Whoever reads a whole file writes what was read once more and
compares, so what has two forms here is refused in all but one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherfit.exceptions import InvalidInputError, SerializationError
from cipherfit.predictor.postprocessing import FUNCTIONS, Function, Step
from cipherfit.predictor.targets import ClassTargets, RealTargets, Targets

#: Types of entries by the letter of NumPy's kind, and the names of array types.
_ENTRY_TYPES: dict[str, tuple[type, ...]] = {
    "b": (bool,),
    "i": (int,),
    "u": (int,),
    "f": (float,),
    "U": (str,),
    "O": (str, int, bool, float, type(None)),
}
_ARRAY_TYPES = re.compile(r"b1|[iu][1248]|f[248]|U[1-9][0-9]{0,3}|O")
#: Bytes of an array of texts, all of which have the room of the longest.
_MOST_TEXT_BYTES = 1 << 26
_MOST_STEPS = 64
_NAN = {"float": "nan"}
_PARAMETERS = {"affine": ("scale", "shift"), "clip": ("low", "high")}


def is_plain(value: Any, *kinds: type) -> bool:
    """Whether a value is of one of some types, and no subclass of it (a bool is no int)."""
    return type(value) in kinds and not (type(value) is float and not math.isfinite(value))


def pack_array(values: NDArray[Any], what: str) -> dict[str, Any]:
    """Return a typed array (n,) for JSON.

    Raises
    ------
    SerializationError
        Naming what it is, if it holds other than numbers, booleans and texts.
    """
    array = np.asarray(values)
    name = array.dtype.str.lstrip("<>=|")
    if array.ndim != 1 or not _ARRAY_TYPES.fullmatch(name):
        raise SerializationError(
            f"{what} of dtype {array.dtype} and shape {array.shape} can't be stored: give a vector "
            "of integers, booleans, floats or texts"
        )
    return {"dtype": name, "values": [_packed(value, what) for value in array.tolist()]}


def unpack_array(value: Any, what: str) -> NDArray[Any]:
    """Return the array of what `pack_array` gave."""
    if not isinstance(value, dict) or set(value) != {"dtype", "values"}:
        raise SerializationError(f"{what} is no typed array")
    name, entries = value["dtype"], value["values"]
    if not isinstance(name, str) or not _ARRAY_TYPES.fullmatch(name):
        raise SerializationError(f"{what}: {name!r:.60} is no type that arrays may have")
    if not isinstance(entries, list):
        raise SerializationError(f"{what}: the values are no list")
    if name[0] == "U" and 4 * int(name[1:]) * len(entries) > _MOST_TEXT_BYTES:
        raise SerializationError(f"{what}: texts of {name[1:]} characters are too long")
    plain = [math.nan if entry == _NAN and name[0] in "fO" else entry for entry in entries]
    for entry in plain:
        if type(entry) not in _ENTRY_TYPES[name[0]] or not _fits(entry, name):
            raise SerializationError(f"{what}: {entry!r:.60} is no entry of type {name}")
    try:
        array = np.empty(len(plain), dtype=name)
        with np.errstate(over="ignore"):  # what becomes infinite is refused when it is compared
            array[:] = plain
    except (ValueError, OverflowError, TypeError) as error:
        raise SerializationError(f"{what}: {error}") from None
    return array


def pack_targets(targets: Targets) -> dict[str, Any]:
    """Return what outputs stand for, for JSON."""
    if isinstance(targets, ClassTargets):
        return {"kind": "classes", "classes": pack_array(targets.classes, "classes")}
    if isinstance(targets, RealTargets):
        return {"kind": "real", "n_outputs": int(targets.n_outputs), "flat": bool(targets.flat)}
    raise SerializationError(f"targets of type {type(targets).__name__} can't be stored")


def unpack_targets(value: Any) -> ClassTargets | RealTargets:
    """Return the targets of what `pack_targets` gave."""
    kind = value.get("kind") if isinstance(value, dict) else None
    if kind == "classes" and set(value) == {"kind", "classes"}:
        classes = unpack_array(value["classes"], "classes")
        _check_finite(classes)
        try:
            return ClassTargets(classes)
        except InvalidInputError as error:
            raise SerializationError(str(error)) from None
    if kind == "real" and set(value) == {"kind", "n_outputs", "flat"}:
        n_outputs, flat = value["n_outputs"], value["flat"]
        if is_plain(n_outputs, int) and n_outputs >= 1 and is_plain(flat, bool):
            return RealTargets(n_outputs, flat)
    raise SerializationError("the targets are neither classes nor real values")


def pack_steps(steps: Iterable[Function]) -> list[dict[str, Any]]:
    """Return post-processing by name, for JSON.

    Raises
    ------
    SerializationError
        Naming the function that has no name.
    """
    packed: list[dict[str, Any]] = []
    for step in steps:
        if not isinstance(step, Step):
            function = getattr(step, "function", step)
            name = getattr(function, "__qualname__", None) or type(function).__name__
            raise SerializationError(
                f"the post-processing {name} is a function of your own, and can't be stored: only "
                f"{', '.join(FUNCTIONS)} can (what torch's modules compute is found by name)"
            )
        parameters = {
            key: _packed_number(value, f"{key} of {step.name}")
            for key, value in step.parameters.items()
        }
        packed.append({"name": step.name, "parameters": parameters})
    return packed


def unpack_steps(value: Any) -> tuple[Step, ...]:
    """Return the steps of what `pack_steps` gave."""
    if not isinstance(value, list) or len(value) > _MOST_STEPS:
        raise SerializationError(f"the post-processing is no list of at most {_MOST_STEPS} steps")
    return tuple(_unpacked_step(entry) for entry in value)


def pack_names(names: Sequence[str] | None) -> list[str] | None:
    """Return feature names for JSON."""
    return None if names is None else list(names)


def unpack_names(value: Any, n_features: int) -> tuple[str, ...] | None:
    """Return the feature names of what `pack_names` gave, one for each feature."""
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise SerializationError("the feature names are no list of texts")
    if len(value) != n_features:
        raise SerializationError(f"there are {len(value)} feature names for {n_features} features")
    return tuple(value)


def check_versions(value: Any) -> dict[str, str]:
    """Return the versions that a file was written with, by package."""
    known = isinstance(value, dict) and set(value) == {"cipherfit", "numpy"}
    if not known or not all(isinstance(version, str) for version in value.values()):
        raise SerializationError("the versions are not those of cipherfit and numpy")
    return dict(value)


def _fits(entry: Any, name: str = "O") -> bool:
    """Whether an integer is of a type, or of 64 bits: longer ones can be made to share one hash."""
    if type(entry) is not int:
        return True
    if name == "O":
        return -(2**63) <= entry < 2**64
    return bool(np.iinfo(name).min <= entry <= np.iinfo(name).max)


def _packed(value: Any, what: str) -> Any:
    if type(value) is float and math.isnan(value):
        return _NAN
    if not is_plain(value, str, int, bool, float, type(None)) or not _fits(value):
        raise SerializationError(
            f"{what} holds {value!r:.60} of type {type(value).__name__}, which can't be stored"
        )
    return value


def _packed_number(value: Any, what: str) -> float | list[float]:
    numbers = np.asarray(value, dtype=np.float64)
    if numbers.ndim > 1 or not np.isfinite(numbers).all():
        raise SerializationError(f"{what} must be finite numbers to be stored, not {value!r:.60}")
    packed: float | list[float] = numbers.tolist()
    return packed


def _unpacked_step(entry: Any) -> Step:
    if not isinstance(entry, dict) or set(entry) != {"name", "parameters"}:
        raise SerializationError("a step of the post-processing is no name with parameters")
    name, parameters = entry["name"], entry["parameters"]
    if not isinstance(name, str) or name not in FUNCTIONS:
        raise SerializationError(f"the post-processing {name!r:.60} is unknown")
    if not isinstance(parameters, dict) or set(parameters) != {*_PARAMETERS.get(name, ())}:
        raise SerializationError(f"the post-processing {name} has other parameters")
    return Step(name, _unpacked_numbers(parameters, name))


def _unpacked_numbers(parameters: Mapping[str, Any], what: str) -> dict[str, Any]:
    numbers: dict[str, Any] = {}
    for key, value in parameters.items():
        entries = value if isinstance(value, list) else [value]
        if not all(is_plain(entry, float) for entry in entries):
            raise SerializationError(f"{key} of {what} is no finite number or list of them")
        numbers[key] = np.array(value) if isinstance(value, list) else value
    return numbers


def _check_finite(classes: NDArray[Any]) -> None:
    numbers = [entry for entry in classes.tolist() if isinstance(entry, float)]
    if not all(math.isfinite(entry) for entry in numbers):
        raise SerializationError("a class is no finite number")
