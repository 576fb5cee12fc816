"""What is said of costs, errors and security is what back ends and simulation say."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
from samples import fitted, load

from cipherfit.bfv import compile_graph
from cipherfit.predictor.p_error import NoisyScore
from cipherfit.report.encryption import circuit_of, errors_of, run_rows, security_of
from cipherfit.report.intervals import share


def test_a_head_without_lookups_needs_no_compilation_and_never_errs():
    X, y = load("iris")
    predictor = copy.deepcopy(fitted("iris", n_layers=1).predictor_)
    circuit = circuit_of(predictor)
    assert predictor.circuit is None
    codes = predictor.quantize_input(X)
    errors = errors_of(predictor, circuit, codes, y)
    assert (errors.p_error, errors.n_lookups, errors.score) == (0, 0, None)
    measured = run_rows(predictor, circuit, codes[:20], y)
    assert (measured.n_rows, measured.sums_off, measured.same) == (20, 0, share(20, 20))
    right = int((predictor.predict(X[:20]) == y[:20]).sum())
    assert measured.score == measured.clear_score == share(right, 20)
    assert 0 < measured.seconds < 1


def test_rows_of_regressors_and_rows_without_labels_have_no_score():
    X, y = load("diabetes")
    predictor = fitted("diabetes", n_layers=1).predictor_
    codes = predictor.quantize_input(X[:3])
    assert run_rows(predictor, circuit_of(predictor), codes, y).score is None
    iris = fitted("iris", n_client_layers=1).predictor_
    codes = iris.quantize_input(load("iris")[0][:3])
    measured = run_rows(iris, circuit_of(iris), codes, None)
    assert (measured.score, measured.same.value) == (None, 1.0)


def test_answers_that_differ_from_those_in_clear_are_counted(monkeypatch):
    X, y = load("iris")
    predictor = fitted("iris", n_layers=1).predictor_
    codes, circuit = predictor.quantize_input(X[:8]), circuit_of(predictor)
    clear = predictor.graph.simulate(codes)
    wrong = clear[:, [1, 2, 0]]
    rows = iter(np.concatenate([clear[:6], wrong[6:]]))
    monkeypatch.setattr(
        "cipherfit.report.encryption.run_encrypted", lambda *_, **__: next(rows)[None]
    )
    measured = run_rows(predictor, circuit, codes, y[:8])
    assert measured.same.value == 6 / 8
    assert measured.sums_off == abs(clear - wrong)[6:].max()


def test_errors_of_lookups_are_simulated_at_what_compile_takes_by_default():
    X, y = load("iris")
    predictor = fitted("iris").predictor_
    codes = predictor.quantize_input(X)
    errors = errors_of(predictor, None, codes, y)
    assert (errors.p_error, errors.is_default) == (0.01, True)
    trial = NoisyScore(predictor, X, y).trial(predictor.graph, 0.01)
    assert (errors.drop, errors.drop_bound) == (trial.drop, trial.drop_bound)
    assert (errors.score.low, errors.score.high) == pytest.approx(trial.score_interval)
    assert errors_of(predictor, None, codes, None).score is None


@pytest.mark.fhe
def test_tfhe_is_told_by_its_keys_and_held_to_128_bits():
    predictor = copy.deepcopy(fitted("iris", n_hidden=4).predictor_)
    assert circuit_of(predictor) is None
    circuit = predictor.compile()
    assert circuit_of(predictor) is circuit
    errors = errors_of(predictor, circuit, None, None)
    assert (errors.p_error, errors.is_default) == (float(circuit.p_error), False)
    security = security_of(circuit)
    assert "128 bits" in security.claim
    assert {key.name for key in security.keys} >= {"what clients encrypt", "bootstrapping key"}
    for key in security.keys:
        assert key.noise >= key.least_noise - 1e-6
    predictor.compile(use_virtual_lib=True)
    assert circuit_of(predictor) is None


def test_bfv_is_told_by_ring_and_modulus_and_held_to_the_standard():
    circuit = compile_graph(fitted("iris", n_layers=1).graph_)
    security = security_of(circuit)
    facts = {fact.name: fact.value for fact in security.facts}
    assert facts["degree of the ring"] == str(circuit.parameters.degree)
    bits = math.log2(circuit.parameters.modulus)
    assert facts["ciphertext modulus"] == f"{bits:.1f} bits"
    assert f"of up to 54 bits, and this has {bits:.1f}" in security.claim
