"""The parameters that Concrete has chosen, read from what its clients are made from."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from cipherfit.fhe.security import least_variance


@dataclass(frozen=True)
class KeyParameters:
    """Parameters of an evaluation key, or of what clients encrypt.

    Parameters
    ----------
    name : {"ciphertexts", "bootstrapping", "keyswitching", "packing"}
        What they are of.
    dimension : int
        Of the binary LWE key, or of the GLWE key its dimension times its polynomials' size.
    glwe_dimension, polynomial_size : int or None
        The two factors; None for LWE.
    variance : float
        Of the noise, as a part of the squared modulus.
    n_levels, base_bits : int or None
        Of the decomposition; None for ciphertexts.
    """

    name: str
    dimension: int
    variance: float
    glwe_dimension: int | None = None
    polynomial_size: int | None = None
    n_levels: int | None = None
    base_bits: int | None = None

    @property
    def noise_bits(self) -> float:
        """log2 of the noise's standard deviation, as a part of the modulus."""
        return math.log2(self.variance) / 2

    @property
    def least_noise_bits(self) -> float:
        """What 128 bits of security need at this dimension: see `least_variance`."""
        return math.log2(least_variance(self.dimension)) / 2


def parameters_of(specs: bytes) -> list[KeyParameters]:
    """Return what client specs say of ciphertexts and keys.

    Parameters
    ----------
    specs : bytes
        As ``client.specs.serialize()`` returns them, checked: see `check_security`.

    Returns
    -------
    list of KeyParameters
        That of the inputs' ciphertexts first.
    """
    program = json.loads(specs)
    gate = program["circuits"][0]["inputs"][0]["typeInfo"]["lweCiphertext"]["encryption"]
    found = [KeyParameters("ciphertexts", gate["lweDimension"], gate["variance"])]
    keyset = program["keyset"]
    for kind, name in _KINDS.items():
        found += [_key(name, key["params"]) for key in keyset[kind]]
    return found


_KINDS = {
    "lweBootstrapKeys": "bootstrapping",
    "lweKeyswitchKeys": "keyswitching",
    "packingKeyswitchKeys": "packing",
}


def _key(name: str, params: dict[str, Any]) -> KeyParameters:
    size, glwe = params.get("polynomialSize"), params.get("glweDimension")
    dimension = params["outputLweDimension"] if size is None or glwe is None else size * glwe
    return KeyParameters(
        name,
        dimension,
        params["variance"],
        glwe,
        size,
        params["levelCount"],
        params["baseLog"],
    )
