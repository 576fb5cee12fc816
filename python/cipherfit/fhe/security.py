"""Whether parameters that someone else made keep what is encrypted under them secret."""

from __future__ import annotations

import json
import math
from typing import Any

from cipherfit.exceptions import SecurityError

#: log2 of the least standard deviation, as a part of the modulus, is a line in the dimension: that
#: of 128 bits of security for binary secrets (of the lattice estimator, as Concrete 2.11 has it).
_SLOPE, _BIAS, _LEAST_DIMENSION = -0.025696778711484593, 2.675931372549016, 450
#: Of torus elements with 64 bits two are noise at least.
_LEAST_VARIANCE = 2.0**-124
#: Parameters are written with all their digits, and computed in another order.
_TOLERANCE = 1e-9
_MOST_BYTES = 1 << 20
_MOST_DIMENSION = 1 << 17
_MOST_VALUES = 1 << 16
#: More than any network that runs in less than hours.
_MOST_KEY_BYTES = 1 << 34
#: A seeded ciphertext is 128 bits of seed and one number.
_SEEDED_WORDS = 3
#: Ciphertexts of another library, with parameters of their own, which no network here takes.
_OTHER_LIBRARY = [
    f"{side}_{what}_per_func" for side in ("input", "output") for what in ("types", "shapes")
]


def least_variance(dimension: int) -> float:
    """Return the least variance of noise that is secure at a dimension.

    Parameters
    ----------
    dimension : int
        Of a binary LWE key, or of a GLWE key its dimension times its polynomials' size.

    Returns
    -------
    float
        As a part of the squared modulus: ``2**(2 * (slope * dimension + bias))`` of the 128-bit
        curve, but not below that of two bits.
    """
    return max(math.pow(2.0, 2 * (_SLOPE * dimension + _BIAS)), _LEAST_VARIANCE)


def check_security(specs: bytes) -> None:
    """Check that Concrete's client specs encrypt, with 128 bits of security, and make sense.

    Concrete itself makes keys for any, those without noise included.

    Parameters
    ----------
    specs : bytes
        As ``client.specs.serialize()`` returns them.

    Raises
    ------
    SecurityError
        Naming what is too weak, or is no parameter that Concrete 2.11 writes for a network.
    """
    program = _Part("specs", _parsed(specs))
    keyset = program["keyset"]
    keys = [
        _secret_key(key, index) for index, key in enumerate(keyset["lweSecretKeys"].parts(1, 16))
    ]
    size = 0
    for name, check in _KINDS.items():
        for index, key in enumerate(keyset[name].parts(0, 16)):
            key["id"].must_be(index)
            size += check(key, keys)
    if size > _MOST_KEY_BYTES:
        raise SecurityError(f"the keys of these specs take {size} bytes: at most {_MOST_KEY_BYTES}")
    (circuit,) = program["circuits"].parts(1, 1)
    for name in ("inputs", "outputs"):
        (gate,) = circuit[name].parts(1, 1)
        _gate(gate, keys)
    circuit["name"].text()
    if "tfhers_specs" in program.value:
        for name in _OTHER_LIBRARY:
            program["tfhers_specs"][name].must_be({circuit["name"].value: [None]})


class _Part:
    """A part of the specs, and where it stands there."""

    def __init__(self, place: str, value: Any) -> None:
        self.place, self.value = place, value

    def __getitem__(self, name: str) -> _Part:
        if not isinstance(self.value, dict) or name not in self.value:
            raise SecurityError(f"{self.place} must have a field {name!r}")
        return _Part(f"{self.place}.{name}", self.value[name])

    def parts(self, low: int, high: int) -> list[_Part]:
        if not isinstance(self.value, list) or not low <= len(self.value) <= high:
            raise SecurityError(f"{self.place} must be a list of {low} to {high} parts")
        return [_Part(f"{self.place}[{i}]", value) for i, value in enumerate(self.value)]

    def text(self) -> None:
        if not isinstance(self.value, str) or not self.value.isidentifier():
            raise SecurityError(f"{self.place} is {self.value!r:.60}, and must be a name")

    def must_be(self, *allowed: Any) -> None:
        if not any(type(self.value) is type(one) and self.value == one for one in allowed):
            known = " or ".join(map(repr, allowed))
            raise SecurityError(f"{self.place} is {self.value!r:.60}, and must be {known}")

    def integer(self, low: int, high: int) -> int:
        if type(self.value) is not int or not low <= self.value <= high:
            raise SecurityError(
                f"{self.place} is {self.value!r:.60}, and must be an integer in [{low}, {high}]"
            )
        return self.value

    def integers(self, high: int) -> list[int]:
        return [part.integer(1, high) for part in self.parts(1, 3)]

    def check_variance(self, dimension: int) -> None:
        """Refuse noise below the curve."""
        least, value = least_variance(dimension), self.value
        is_number = type(value) in (int, float) and math.isfinite(value)
        if dimension < _LEAST_DIMENSION:
            raise SecurityError(
                f"{self.place} is for dimension {dimension}: 128 bits of security need at least "
                f"{_LEAST_DIMENSION}"
            )
        if not is_number or not least * (1 - _TOLERANCE) <= value < 1:
            raise SecurityError(
                f"{self.place} is {value!r:.60}: at dimension {dimension} 128 bits of security "
                f"need noise of variance {least:.6g} or more (below 1). Who made these parameters "
                "could read what is encrypted under them"
            )


def _parsed(specs: bytes) -> Any:
    if not isinstance(specs, bytes) or len(specs) > _MOST_BYTES:
        raise SecurityError(f"specs must be bytes, at most {_MOST_BYTES}")
    try:
        return json.loads(specs)
    except (ValueError, RecursionError):
        raise SecurityError("specs are no JSON") from None


def _secret_key(key: _Part, index: int) -> int:
    """Return the dimension of a secret key."""
    key["id"].must_be(index)
    _word(key["params"])
    key["params"]["keyType"].must_be("binary")
    return key["params"]["lweDimension"].integer(_LEAST_DIMENSION, _MOST_DIMENSION)


def _word(part: _Part) -> None:
    part["integerPrecision"].must_be(64)


def _native(part: _Part) -> None:
    part["modulus"].must_be({"modulus": {"native": {}}})


def _ends(key: _Part, keys: list[int]) -> tuple[int, int]:
    """Return the dimensions of the keys that an evaluation key leads between; check the rest."""
    key["compression"].must_be("none", "seed")
    params = key["params"]
    _word(params)
    _native(params)
    params["keyType"].must_be("binary")
    if params["levelCount"].integer(1, 64) * params["baseLog"].integer(1, 64) > 64:
        raise SecurityError(f"{params.place} decomposes more than 64 bits")
    top = len(keys) - 1
    return keys[key["inputId"].integer(0, top)], keys[key["outputId"].integer(0, top)]


def _glwe(params: _Part) -> tuple[int, int]:
    """Return dimension and polynomial size of a GLWE key."""
    size = params["polynomialSize"].integer(256, _MOST_DIMENSION)
    if size & (size - 1):
        raise SecurityError(f"{params.place}.polynomialSize is {size}, and must be a power of two")
    return params["glweDimension"].integer(1, 64), size


def _bootstrap_key(key: _Part, keys: list[int]) -> int:
    """Check a bootstrap key, and return its bytes."""
    params, (inputs, outputs) = key["params"], _ends(key, keys)
    dimension, size = _glwe(params)
    params["inputLweDimension"].must_be(inputs)
    _same(key, dimension * size, outputs)
    params["variance"].check_variance(dimension * size)
    return inputs * params["levelCount"].integer(1, 64) * (dimension + 1) ** 2 * size * 8


def _keyswitch_key(key: _Part, keys: list[int]) -> int:
    """Check a keyswitch key, and return its bytes."""
    params, (inputs, outputs) = key["params"], _ends(key, keys)
    params["inputLweDimension"].must_be(inputs)
    params["outputLweDimension"].must_be(outputs)
    params["variance"].check_variance(outputs)
    return inputs * params["levelCount"].integer(1, 64) * (outputs + 1) * 8


def _packing_key(key: _Part, keys: list[int]) -> int:
    """Check a packing keyswitch key, and return its bytes."""
    params, (inputs, outputs) = key["params"], _ends(key, keys)
    dimension, size = _glwe(params)
    params["inputLweDimension"].must_be(inputs)
    params["innerLweDimension"].integer(_LEAST_DIMENSION, _MOST_DIMENSION)
    _same(key, dimension * size, outputs)
    params["variance"].check_variance(dimension * size)
    rows = (inputs + 1) * (dimension + 1)
    return rows * params["levelCount"].integer(1, 64) * (dimension + 1) * size * 8


_KINDS = {
    "lweBootstrapKeys": _bootstrap_key,
    "lweKeyswitchKeys": _keyswitch_key,
    "packingKeyswitchKeys": _packing_key,
}


def _same(key: _Part, found: int, needed: int) -> None:
    if found != needed:
        raise SecurityError(f"{key.place} is of dimension {found}, its secret key of {needed}")


def _gate(gate: _Part, keys: list[int]) -> None:
    """Check an input or output: that it is encrypted, how, and how many numbers it is."""
    info = gate["typeInfo"]["lweCiphertext"]
    encryption = info["encryption"]
    dimension = keys[encryption["keyId"].integer(0, len(keys) - 1)]
    encryption["lweDimension"].must_be(dimension)
    encryption["variance"].check_variance(dimension)
    _native(encryption)
    _word(info)
    info["compression"].must_be("none", "seed")
    words = _SEEDED_WORDS if info["compression"].value == "seed" else dimension + 1
    values = info["abstractShape"]["dimensions"].integers(_MOST_VALUES)
    concrete = info["concreteShape"]["dimensions"].integers(_MOST_VALUES * 2)
    if len(values) != 1 or concrete[0] != values[0] or concrete[-1] != words or len(concrete) < 2:
        raise SecurityError(
            f"{info.place}.concreteShape is {concrete}, which {values} values of {words} words "
            "don't have"
        )
    _word(gate["rawInfo"])
    gate["rawInfo"]["isSigned"].must_be(False)
    if gate["rawInfo"]["shape"]["dimensions"].integers(_MOST_VALUES * 2) != concrete:
        raise SecurityError(f"{gate.place}.rawInfo.shape must be {info.place}.concreteShape")
    info["encoding"]["integer"]["width"].integer(1, 64)
    info["encoding"]["integer"]["isSigned"].must_be(False, True)
    _mode(info["encoding"]["integer"]["mode"])


def _mode(mode: _Part) -> None:
    """Check how an integer is encoded: as one number, or as remainders."""
    if mode.value != {"native": {}}:
        for modulus in mode["crt"]["moduli"].parts(1, 16):
            modulus.integer(2, 1 << 16)
