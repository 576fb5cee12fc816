"""Parameters of keys are read from client specs as they stand there."""

from __future__ import annotations

import json

import pytest
from samples import fitted

from cipherfit.fhe.circuit import compile_graph
from cipherfit.fhe.parameters import parameters_of
from cipherfit.fhe.security import check_security


@pytest.mark.fhe
def test_every_key_is_told_with_dimension_and_noise():
    specs = compile_graph(fitted("iris", n_hidden=4).graph_).client.specs.serialize()
    check_security(specs)
    keyset = json.loads(specs)["keyset"]
    first, *keys = parameters_of(specs)
    assert (first.name, first.n_levels) == ("ciphertexts", None)
    dimensions = {key["params"]["lweDimension"] for key in keyset["lweSecretKeys"]}
    assert {first.dimension, *(key.dimension for key in keys)} == dimensions
    bootstrap = keyset["lweBootstrapKeys"][0]["params"]
    (found,) = [key for key in keys if key.name == "bootstrapping"]
    assert found.dimension == bootstrap["glweDimension"] * bootstrap["polynomialSize"]
    assert (found.n_levels, found.base_bits) == (bootstrap["levelCount"], bootstrap["baseLog"])
    assert 2 ** (2 * found.noise_bits) == pytest.approx(bootstrap["variance"])
    assert all(key.noise_bits >= key.least_noise_bits - 1e-6 for key in [first, *keys])
