"""Which of Concrete's ways to share parameters out a circuit gets, and that its answers hold."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from core_graphs import random_parts

from cipherfit import IntegerGraph
from cipherfit.fhe import compile_graph, run_encrypted
from cipherfit.fhe import configuration as stored
from cipherfit.fhe.runtime import fhe
from cipherfit.fhe.strategies import fastest, strategies_for

pytestmark = pytest.mark.fhe

MONO = {"parameter_selection_strategy": fhe.ParameterSelectionStrategy.MONO}
MULTI = {"multi_parameter_strategy": fhe.MultiParameterStrategy.PRECISION_AND_NORM2}


@pytest.fixture(scope="module")
def graph():
    """Return a graph of two small layers of lookups: sets of their own cost more than they save."""
    return IntegerGraph.from_layers(**random_parts(3, (4, 3, 3, 2), 2, 1, 0))


def options(**own):
    return fhe.Configuration(
        dump_artifacts_on_unexpected_failures=False, compress_input_ciphertexts=True, **own
    )


def key_bytes(circuit):
    return circuit.size_of_bootstrap_keys + circuit.size_of_keyswitch_keys


def test_one_set_of_parameters_is_taken_where_it_is_faster(graph):
    circuit = compile_graph(graph, p_error=1e-5)
    named = compile_graph(graph, configuration=options(p_error=1e-5, **MONO))
    assert key_bytes(circuit) == key_bytes(named)
    assert key_bytes(circuit) < key_bytes(compile_graph(graph, configuration=options(**MULTI)))


def test_answers_are_the_simulated_ones_row_by_row_and_together(graph):
    circuit = compile_graph(graph, p_error=1e-5)
    codes = np.random.default_rng(0).integers(0, 4, (5, 4)).astype(np.uint16)
    assert np.array_equal(run_encrypted(circuit, codes), graph.simulate(codes))
    rows = [bytes(circuit.encrypt(row).serialize()) for row in codes[:4].astype(np.int64)]
    together = circuit.rows.run(rows, circuit.keys.evaluation)
    assert circuit.rows.sizes(4) == [4]
    assert all(size is not None for size in circuit.rows._several.values())
    decrypted = [circuit.decrypt(fhe.Value.deserialize(answer)) for answer in together]
    assert np.array_equal(decrypted, graph.simulate(codes[:4]))


def test_what_was_stored_is_compiled_to_the_same_parameters(graph):
    circuit = compile_graph(graph, p_error=1e-5)
    again = stored.restored_configuration(stored.stored_options(circuit.configuration))
    copy = compile_graph(graph, configuration=again)
    assert copy.client.specs.serialize() == circuit.client.specs.serialize()


@pytest.mark.parametrize("named", [MONO, MULTI])
def test_a_strategy_that_is_named_is_kept(named):
    assert strategies_for(options(**named), 2) == ({},)


def test_there_is_nothing_to_share_out_before_a_second_layer_of_lookups():
    assert len(strategies_for(options(), 2)) == 3
    assert strategies_for(options(), 1) == ({},)
    assert strategies_for(options(fhe_simulation=True, fhe_execution=False), 2) == ({},)


@pytest.mark.parametrize(("complexities", "taken"), [
    ([1e10, 0.95e10], 0), ([1e10, 0.5e10], 1), ([1e10, None, 0.5e10], 2), ([1e10, 5e9, 4e9], 2),
    ([1e10, 4e9, 5e9], 1),
])  # fmt: skip
def test_another_way_must_be_faster_by_more_than_the_model_errs(complexities, taken):
    def compiled(strategy):
        if strategy["complexity"] is None:
            raise RuntimeError("NoParametersFound")
        return SimpleNamespace(size_of_bootstrap_keys=1, **strategy)

    strategies = tuple({"complexity": each} for each in complexities)
    circuit, strategy = fastest(compiled, strategies)
    assert strategy is strategies[taken]
    assert circuit.complexity == complexities[taken]
