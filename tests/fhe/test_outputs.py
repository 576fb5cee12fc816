"""Outputs whose low bits may carry noise: cheaper lookups, and sums that are right above it."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest

from cipherfit import IntegerGraph, Predictor, load, search_p_error
from cipherfit.exceptions import InvalidParameterError
from cipherfit.fhe import compile_graph, run_encrypted
from cipherfit.fhe import configuration as stored
from cipherfit.fhe.client import client_of
from cipherfit.fhe.encryption import decrypted_rows, encrypted_rows
from cipherfit.fhe.messages import output_template
from cipherfit.fhe.runtime import fhe
from cipherfit.fhe.server_part import ServerPart
from cipherfit.integers import IntegerType
from cipherfit.predictor.output_noise import OutputNoise
from cipherfit.predictor.targets import ClassTargets, RealTargets

pytestmark = pytest.mark.fhe

N_OUTPUT_BITS = 5


def wide(lowest):
    """Return a graph of few lookups, whose outputs of 14 bits start at zero or below it."""
    rng = np.random.default_rng(0)
    zeros = np.zeros(4, dtype=np.int64)
    first = rng.integers(0, 2, (4, 4)) + np.eye(4, dtype=np.int64)
    tables = [np.arange(high + 1) // 4 for high in 3 * first.sum(axis=1)]
    last = rng.integers(lowest, 900, (2, 4))
    return IntegerGraph.from_layers(
        {"scale": np.ones(4), "zero_point": zeros, "n_bits": 2},
        [
            {"kind": "linear", "weights": first, "offset": zeros},
            {"kind": "lookup", "low": zeros, "lsbs": 0, "exact": True, "tables": tables},
            {"kind": "linear", "weights": last, "offset": zeros[:2]},
        ],
        {"scale": np.full(2, 0.5), "offset": np.zeros(2)},
    )


GRAPHS = {"unsigned": wide(0), "signed": wide(-900)}
CODES = np.random.default_rng(1).integers(0, 4, (5, 4)).astype(np.uint16)


def half_step(graph, n_output_bits=N_OUTPUT_BITS):
    proof = graph.prove().layers[-1]
    return 2 ** (IntegerType.of(int(min(proof.low)), int(max(proof.high))).bits - n_output_bits - 1)


@pytest.fixture(scope="module", params=GRAPHS)
def graph(request):
    return GRAPHS[request.param]


@pytest.fixture(scope="module")
def circuit(graph):
    circuit = compile_graph(graph, p_error=1e-6, n_output_bits=N_OUTPUT_BITS)
    circuit.keygen()
    return circuit


def test_sums_are_right_but_for_noise_below_half_a_step(graph, circuit):
    sums = graph.simulate(CODES)
    assert np.ptp(sums) > 8 * half_step(graph)
    found = run_encrypted(circuit, CODES)
    assert np.abs(found - sums).max() < half_step(graph)
    single = [circuit.encrypt_run_decrypt(row) for row in CODES[:2].astype(np.int64)]
    assert np.abs(single - sums[:2]).max() < half_step(graph)


@pytest.mark.parametrize("ends", [(700, 341), (-682, 682)])
def test_noise_at_an_end_of_what_outputs_hold_goes_beyond_it(ends):
    zeros = np.zeros(4, dtype=np.int64)
    parts = GRAPHS["unsigned"].to_dict()
    lookup = {**parts["layers"][1], "tables": [np.arange(13) // 4] * 4}
    layers = [
        {"kind": "linear", "weights": 4 * np.eye(4, dtype=np.int64), "offset": zeros},
        lookup,
        {"kind": "linear", "weights": np.repeat([[ends[0]], [ends[1]]], 4, axis=1),
         "offset": zeros[:2]},
    ]  # fmt: skip
    graph = IntegerGraph.from_layers(parts["input"], layers, parts["output"])
    circuit = compile_graph(graph, p_error=0.2, n_output_bits=3)
    codes = np.repeat([[0], [3]], 4, axis=1)
    off = run_encrypted(circuit, np.tile(codes, (8, 1))) - np.tile(graph.simulate(codes), (8, 1))
    assert np.abs(off).max() < 4 * half_step(graph, 3) + 2 * abs(ends[0])
    assert (off[::2] < 0).any()
    assert (off[1::2] > 0).any()
    assert np.abs(circuit.encrypt_run_decrypt(codes[0])).max() < 4 * half_step(graph, 3)


def test_fewer_bits_cost_less_until_others_are_the_dearest(graph, circuit):
    full = compile_graph(graph, p_error=1e-6)
    assert circuit.programmable_bootstrap_count == full.programmable_bootstrap_count
    assert circuit.complexity < 0.8 * full.complexity
    all_bits = compile_graph(graph, p_error=1e-6, n_output_bits=15)
    assert all_bits.client.specs.serialize() == full.client.specs.serialize()


def test_who_has_but_the_specs_reads_the_same_sums(graph, circuit):
    specs = circuit.client.specs.serialize()
    client = client_of(specs)
    client.keygen()
    rows = ServerPart.of(circuit).row_server()
    answers = rows.run(encrypted_rows(client, CODES), client.keys.evaluation)
    found = decrypted_rows(client, answers, output_template(client_of(specs)))
    assert np.abs(found - graph.simulate(CODES)).max() < half_step(graph)


def test_what_was_stored_is_compiled_to_the_same_parameters(graph, circuit):
    options = stored.stored_options(circuit.configuration)
    assert options["n_output_bits"] == N_OUTPUT_BITS
    copy = compile_graph(graph, configuration=stored.restored_configuration(options))
    assert copy.client.specs.serialize() == circuit.client.specs.serialize()


def predictor():
    return Predictor(GRAPHS["unsigned"], ClassTargets(np.array(["no", "yes"])))


def test_a_model_file_keeps_how_many_bits_are_right(tmp_path):
    model = predictor()
    specs = model.compile(p_error=1e-6, n_output_bits=N_OUTPUT_BITS).client.specs.serialize()
    model.save(tmp_path / "m.cipherfit")
    again = load(tmp_path / "m.cipherfit")
    assert again.circuit.client.specs.serialize() == specs
    assert again.circuit.configuration.n_output_bits == N_OUTPUT_BITS
    assert again.circuit.complexity < 0.8 * compile_graph(again.graph, p_error=1e-6).complexity


def test_simulation_has_the_noise_that_parameters_allow():
    model = Predictor(GRAPHS["unsigned"], RealTargets(2, flat=False))
    model.compile(p_error=0.05, n_output_bits=3)
    rows = np.tile(CODES, (400, 1)).astype(np.float32)
    sums = model.graph.simulate(CODES)
    noisy = 2 * model.predict(rows, fhe="simulate").reshape(400, 5, -1)
    right_lookups = np.median(noisy, axis=0)
    assert np.abs(right_lookups - sums).max() < half_step(model.graph, 3) / 4
    assert 0.25 < (np.abs(noisy - sums) > half_step(model.graph, 3) / 2).mean() < 0.55
    assert np.array_equal(2 * model.predict(rows[:5]), sums)


@pytest.mark.parametrize("p_error", [0.3, 0.05, 0.001])
def test_noise_passes_half_a_step_as_often_as_lookups_err(p_error):
    graph = GRAPHS["signed"]
    drawn = OutputNoise.of(graph, p_error, 4).of_sums((200_000, 2), seed=0)
    beyond = (np.abs(drawn) > half_step(graph, 4)).mean()
    assert beyond == pytest.approx(p_error, rel=0.15)
    assert OutputNoise.of(graph, p_error, None).std == 0
    assert OutputNoise.of(graph, p_error, 15).std == 0
    assert half_step(graph, 4) / OutputNoise.of(graph, p_error, 4).std == pytest.approx(
        NormalDist().inv_cdf(1 - p_error / 2)
    )


def test_too_few_bits_are_seen_by_the_search_of_error_rates():
    rows = np.tile(CODES, (40, 1)).astype(np.float32)
    calm = search_p_error(predictor(), rows, max_accuracy_drop=0.1)
    noisy = search_p_error(predictor(), rows, max_accuracy_drop=0.1, n_output_bits=3)
    assert noisy.chosen.drop > calm.chosen.drop == 0
    with pytest.raises(
        InvalidParameterError, match=r"n_output_bits=2 must be an integer, at least 3"
    ):
        search_p_error(predictor(), rows, n_output_bits=2)


def test_without_lookups_and_in_concretes_simulation_sums_are_exact():
    parts = GRAPHS["signed"].to_dict()
    linear = IntegerGraph.from_layers(parts["input"], parts["layers"][:1], {
        "scale": np.ones(4), "offset": np.zeros(4),
    })  # fmt: skip
    circuit = compile_graph(linear, n_output_bits=3)
    assert np.array_equal(run_encrypted(circuit, CODES), linear.simulate(CODES))
    simulated = compile_graph(GRAPHS["signed"], p_error=1e-6, n_output_bits=3, simulation_only=True)
    row = CODES[0].astype(np.int64)
    assert np.array_equal(simulated.simulate(row), GRAPHS["signed"].simulate(CODES[:1])[0])


@pytest.mark.parametrize("bits", [2, 0, -1, 5.5, True, "7"])
def test_a_number_of_bits_that_is_none_is_refused(bits):
    with pytest.raises(
        InvalidParameterError, match=r"n_output_bits=.* must be an integer, at least"
    ):
        compile_graph(GRAPHS["signed"], n_output_bits=bits)


def test_it_is_an_option_of_concretes():
    model = predictor()
    with pytest.raises(InvalidParameterError, match="n_output_bits are options of Concrete's"):
        model.compile(n_output_bits=5, backend="bfv")
    assert stored.output_bits_of(fhe.Configuration()) is None
