"""Several encrypted rows in one call: the same answers, with the keys of the single row."""

from __future__ import annotations

import json

import numpy as np
import pytest
from circuits import linear, network

from cipherfit.exceptions import CompilationError
from cipherfit.fhe import compile_graph, rows, run_encrypted
from cipherfit.fhe.messages import output_template
from cipherfit.fhe.runtime import fhe
from cipherfit.fhe.stacking import Mould, Stacking, sample, specs_of_several

pytestmark = pytest.mark.fhe

GRAPHS = {"lookups": network, "linear": linear}


def options(**own):
    base = {"dump_artifacts_on_unexpected_failures": False, "p_error": 1e-6}
    return fhe.Configuration(**{**base, "compress_input_ciphertexts": True, **own})


@pytest.fixture(scope="module", params=[True, False], ids=["compressed", "plain"])
def circuit(request):
    circuit = compile_graph(
        network(), configuration=options(compress_input_ciphertexts=request.param)
    )
    circuit.keygen()
    return circuit


def codes_of(graph, n_rows):
    generator = np.random.default_rng(n_rows)
    return generator.integers(0, 1 << graph.n_bits, (n_rows, graph.n_features)).astype(np.uint16)


def encrypted(circuit, codes):
    return [circuit.encrypt(row).serialize() for row in codes.astype(np.int64)]


def decrypted(circuit, answers):
    return np.array([circuit.decrypt(fhe.Value.deserialize(answer)) for answer in answers])


@pytest.mark.parametrize("n_rows", [1, 3, 4, 13])
def test_rows_in_one_call_have_the_simulated_answers_in_order(circuit, n_rows):
    codes = codes_of(network(), n_rows)
    assert np.array_equal(run_encrypted(circuit, codes), network().simulate(codes))
    answers = circuit.rows.run(encrypted(circuit, codes), circuit.keys.evaluation)
    assert np.array_equal(decrypted(circuit, answers), network().simulate(codes))


def test_answers_out_of_one_call_look_like_answers_to_single_rows(circuit):
    template, keys = output_template(circuit.client), circuit.keys.evaluation
    for answer in circuit.rows.run(encrypted(circuit, codes_of(network(), 5)), keys):
        template.check(answer)


def test_no_row_goes_alone_where_several_can_go_together(circuit, monkeypatch):
    calls = []
    run = fhe.Server.run
    monkeypatch.setattr(
        fhe.Server, "run", lambda *given, **more: calls.append(1) or run(*given, **more)
    )
    run_encrypted(circuit, codes_of(network(), 13))
    assert circuit.rows.sizes(13) == [8, 4, 1]
    assert len(calls) == 3


@pytest.mark.parametrize("kind", GRAPHS)
def test_a_message_of_several_rows_has_the_layout_that_its_own_client_gives_it(kind):
    specs = compile_graph(GRAPHS[kind]()).client.specs.serialize()
    several = json.dumps(specs_of_several(specs, 3)).encode()
    made = Stacking(specs, 3).stacked([sample(specs, "inputs")] * 3)
    expected = Mould.of(sample(several, "inputs"))
    assert Mould.of(made).spans == expected.spans
    assert expected.cast(memoryview(expected.numbers(made))) == made


@pytest.mark.parametrize("kind", GRAPHS)
def test_graphs_with_and_without_lookups_run_several_rows(kind):
    graph = GRAPHS[kind]()
    circuit = compile_graph(graph, configuration=options())
    codes = codes_of(graph, 4)
    assert circuit.rows.sizes(4) == [4]
    assert np.array_equal(run_encrypted(circuit, codes), graph.simulate(codes))


def several_with_other_keys(n_rows):
    return compile_graph(network(), configuration=options(p_error=0.01))


def several_that_fail(n_rows):
    raise CompilationError("no parameters")


@pytest.mark.parametrize("compile_for", [several_with_other_keys, several_that_fail])
def test_rows_go_one_by_one_where_several_would_need_other_keys(circuit, compile_for):
    codes = codes_of(network(), 4)
    server = rows.RowServer(circuit, compile_for)
    answers = server.run(encrypted(circuit, codes), circuit.keys.evaluation)
    assert np.array_equal(decrypted(circuit, answers), network().simulate(codes))


def test_an_error_probability_of_the_whole_circuit_holds_for_each_row():
    circuit = compile_graph(network(), configuration=options(p_error=None, global_p_error=2.0**-20))
    codes = codes_of(network(), 4)
    assert np.array_equal(run_encrypted(circuit, codes), network().simulate(codes))


def test_calls_are_bounded_in_time_and_memory(circuit, monkeypatch):
    def most(**bounds):
        for name, value in bounds.items():
            monkeypatch.setattr(rows, name, value)
        return rows.RowServer(circuit, lambda n_rows: pytest.fail("compiled")).most_rows

    assert most() == rows.MOST_ROWS
    assert most(_CALL_SECONDS=0.3) < rows.MOST_ROWS
    assert most(_CALL_SECONDS=1e-3) == 1
    assert most(_CALL_SECONDS=60, _CALL_BYTES=1 << 18) < rows.MOST_ROWS


def test_every_row_is_in_one_call(circuit):
    for n_rows in range(200):
        assert sum(circuit.rows.sizes(n_rows)) == n_rows
