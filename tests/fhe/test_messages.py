from __future__ import annotations

import json
import random

import pytest
from circuits import linear, network

from cipherfit.exceptions import CipherfitError, NotCompiledError, SerializationError
from cipherfit.fhe import compile_graph
from cipherfit.fhe.messages import Template, Templates
from cipherfit.fhe.runtime import fhe

pytestmark = pytest.mark.fhe

CODES = [1, 2, 3, 0]
KINDS = ("keys", "input", "output")


def compressed(graph, **options):
    own = {"compress_input_ciphertexts": True, "compress_evaluation_keys": True, "p_error": 0.01}
    own["dump_artifacts_on_unexpected_failures"] = False
    return compile_graph(graph, configuration=fhe.Configuration(**{**own, **options}))


def messages(circuit, codes=CODES):
    value = circuit.encrypt(codes)
    return {
        "keys": circuit.client.evaluation_keys.serialize(),
        "input": value.serialize(),
        "output": circuit.run(value).serialize(),
    }


@pytest.fixture(scope="module")
def circuit():
    return compressed(network())


@pytest.fixture(scope="module")
def templates(circuit):
    return Templates.of(circuit)


@pytest.fixture(scope="module")
def honest(circuit):
    circuit.keygen()
    return messages(circuit)


def check(templates, kind, data):
    getattr(templates, f"check_{kind}")(data)


def test_messages_of_other_keys_than_the_throwaway_ones_pass(circuit, templates, honest):
    for kind in KINDS:
        check(templates, kind, honest[kind])
        check(templates, kind, memoryview(honest[kind]))
    circuit.keygen(force=True)
    others = messages(circuit, [3, 3, 0, 1])
    for kind in KINDS:
        assert others[kind] != honest[kind]
        check(templates, kind, others[kind])


def test_uncompressed_messages_and_circuits_without_lookups_have_templates_too():
    plain = compressed(network(), compress_input_ciphertexts=False, compress_evaluation_keys=False)
    exact = compressed(linear(4))
    for circuit in (plain, exact):
        templates = Templates.of(circuit)
        for kind, data in messages(circuit).items():
            check(templates, kind, data)


def test_messages_of_another_circuit_are_refused(templates):
    for graph in (network(5), linear(4)):
        other = compressed(graph)
        codes = [1] * graph.n_features
        for kind, data in messages(other, codes).items():
            if kind == "output" and graph.n_lookups:
                continue  # the same number of sums under keys of the same dimension
            with pytest.raises(SerializationError, match="of this circuit"):
                check(templates, kind, data)


@pytest.mark.parametrize("kind", KINDS)
def test_cut_and_long_messages_are_refused(kind, templates, honest):
    data = honest[kind]
    for damaged in (b"", data[:7], data[: len(data) // 2], data[:-8], data + bytes(8)):
        with pytest.raises(SerializationError, match=f"take {len(data)} bytes"):
            check(templates, kind, damaged)


@pytest.mark.parametrize("kind", KINDS)
def test_a_change_of_any_bit_outside_the_numbers_is_refused(kind, templates, honest):
    data = bytearray(honest[kind])
    inside = {at for span in getattr(templates, kind).spans for at in (span[0] - 1, span[1])}
    outside = [at for at in range(64) if at < getattr(templates, kind).spans[0][0]]
    for at in {*outside, *inside} - {len(data)}:
        bit = 1 << random.Random(at).randrange(8)
        data[at] ^= bit
        with pytest.raises(SerializationError, match="altered"):
            check(templates, kind, data)
        data[at] ^= bit
    check(templates, kind, data)


@pytest.mark.parametrize("kind", KINDS)
def test_all_but_some_hundred_bytes_are_numbers(kind, templates, honest):
    spans = getattr(templates, kind).spans
    assert 100 < len(honest[kind]) - sum(stop - start for start, stop in spans) < 400


def test_random_mutants_are_refused_or_decrypt_to_something(circuit, templates):
    """What passes has altered numbers only, and does Concrete no harm."""
    circuit.keygen()
    value = circuit.encrypt(CODES)
    data, rng, passed = value.serialize(), random.Random(0), 0
    for _ in range(200):
        mutant = bytearray(data)
        mutant[rng.randrange(len(data))] = rng.randrange(256)
        try:
            templates.check_input(mutant)
        except SerializationError:
            continue
        passed += 1
        if passed <= 3:
            result = circuit.run(fhe.Value.deserialize(bytes(mutant)))
            assert circuit.decrypt(result).shape == (2,)
    assert 20 < passed < 120


def test_templates_survive_json(templates):
    assert Templates.from_dict(json.loads(json.dumps(templates.to_dict()))) == templates


@pytest.mark.parametrize(
    "altered",
    [
        None,
        {},
        {"length": 8, "spans": [], "digest": "0" * 63},
        {"length": -1, "spans": [[0, 1]], "digest": "0" * 64},
        {"length": 8.0, "spans": [], "digest": "0" * 64},
        {"length": True, "spans": [], "digest": "0" * 64},
        {"length": 8, "spans": [[4, 2]], "digest": "0" * 64},
        {"length": 8, "spans": [[0, 4], [2, 8]], "digest": "0" * 64},
        {"length": 8, "spans": [[0, 9]], "digest": "0" * 64},
        {"length": 8, "spans": [[0]], "digest": "0" * 64},
        {"length": 8, "spans": [], "digest": "0" * 64, "more": 1},
    ],
)
def test_what_is_no_template_is_refused(altered):
    with pytest.raises(CipherfitError, match="template of keys must have"):
        Template.from_dict("keys", altered)
    with pytest.raises(CipherfitError, match="templates must be"):
        Templates.from_dict({"keys": altered})


def test_a_circuit_that_only_simulates_has_no_templates():
    with pytest.raises(NotCompiledError, match="only simulates"):
        Templates.of(compile_graph(linear(4), simulation_only=True))
