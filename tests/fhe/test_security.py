from __future__ import annotations

import copy
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from circuits import linear, network

from cipherfit.exceptions import SecurityError
from cipherfit.fhe import compile_graph
from cipherfit.fhe.messages import Templates
from cipherfit.fhe.security import check_security, least_variance


def specs_of(graph, **options):
    return compile_graph(graph, **options).client.specs.serialize()


@pytest.fixture(scope="module")
def specs():
    return json.loads(specs_of(network()))


def encoded(specs):
    return json.dumps(specs).encode()


def leaves(value, path=()):
    """Yield the paths of all numbers, texts and flags."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        if isinstance(inner, (dict, list)):
            yield from leaves(inner, (*path, key))
        else:
            yield (*path, key)


def altered(specs, path, value):
    specs = inner = copy.deepcopy(specs)
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return encoded(specs)


def test_concretes_own_parameters_are_secure(specs):
    check_security(encoded(specs))
    check_security(specs_of(network(6, 2), p_error=1e-5))
    check_security(specs_of(linear(4)))


def test_the_curve_is_the_one_of_128_bits():
    """Values that Concrete 2.11 takes, and where two bits of noise are more than the curve."""
    assert least_variance(727) == pytest.approx(2.3102155208594664e-10)
    assert least_variance(1024) == pytest.approx(5.871712650082723e-15)
    assert least_variance(8192) == 2.0**-124


def test_noise_below_the_curve_is_refused_wherever_it_is(specs):
    noises = [path for path in leaves(specs) if path[-1] == "variance"]
    assert len(noises) == 4  # bootstrap key, keyswitch key, input, output
    for path in noises:
        for value in (1e-60, 0.0, -1.0, 1.0, float("nan"), float("inf"), None, "1e-9", True):
            with pytest.raises(SecurityError, match="variance"):
                check_security(altered(specs, path, value))


def test_a_tenth_less_noise_or_three_dimensions_less_are_refused(specs):
    for path in leaves(specs):
        if path[-1] == "variance":
            inner = specs
            for key in path:
                inner = inner[key]
            with pytest.raises(SecurityError, match="128 bits"):
                check_security(altered(specs, path, 0.9 * inner))
    weaker = encoded(specs).replace(b"727", b"724")
    with pytest.raises(SecurityError, match="dimension 724"):
        check_security(weaker)


def test_specs_that_send_inputs_in_clear_are_refused(specs):
    for kind in ("plaintext", "index"):
        info = {kind: {"shape": {"dimensions": [4]}, "integerPrecision": 64, "isSigned": False}}
        path = ("circuits", 0, "inputs", 0, "typeInfo")
        with pytest.raises(SecurityError, match="lweCiphertext"):
            check_security(altered(specs, path, info))


def test_keys_are_numbered_as_they_stand(specs):
    for kind in ("lweSecretKeys", "lweBootstrapKeys", "lweKeyswitchKeys"):
        for value in (7, -1, "0", False):
            with pytest.raises(SecurityError, match=rf"{kind}.*id is"):
                check_security(altered(specs, ("keyset", kind, 0, "id"), value))


def test_what_is_no_specs_is_refused():
    for data in (b"", b"[]", b"{}", b"null", b"[" * 100_000, b"\xff", bytes(2 << 20), "text"):
        with pytest.raises(SecurityError):
            check_security(data)


def test_a_client_is_never_made_of_weak_specs(specs):
    path = ("keyset", "lweKeyswitchKeys", 0, "params", "variance")
    with pytest.raises(SecurityError):
        Templates.of_specs(altered(specs, path, 1e-60))


#: Reads specs from its standard input, one a line, and says of each whether it was refused.
CLIENT = """
import sys
from cipherfit.exceptions import CipherfitError
from cipherfit.fhe.client import client_of
for line in sys.stdin.buffer:
    try:
        client_of(line.rstrip())
        print("taken", flush=True)
    except CipherfitError:
        print("refused", flush=True)
"""


@pytest.mark.fhe
def test_no_altered_specs_end_the_process(specs):
    """Neither what is refused nor what is let through to Concrete does."""
    rng, mutants = random.Random(0), []
    values = [0, 1, -1, 2**31, 2**63, 1e308, 0.5, "", "x", None, True, [], {}, [None], {"a": 1}]
    for path in leaves(specs):
        mutants += [altered(specs, path, value) for value in rng.sample(values, 3)]
        mutants.append(altered(specs, path[:-1], rng.choice(values)) if path[1:] else b"{}")
    done = subprocess.run(
        [sys.executable, "-c", CLIENT],
        input=b"\n".join(mutants),
        capture_output=True,
        timeout=600,
        cwd=Path(__file__).parents[2],
    )
    answers = done.stdout.split()
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(answers) == len(mutants)
    assert set(answers) <= {b"taken", b"refused"}
    assert answers.count(b"refused") > 0.9 * len(mutants)
