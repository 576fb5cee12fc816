"""Rows as they travel: encrypted one by one, and answers that are checked before they are read."""

from __future__ import annotations

import numpy as np
import pytest
from circuits import network, with_keys

from cipherfit.exceptions import SerializationError
from cipherfit.fhe.encryption import decrypted_rows, encrypted_rows
from cipherfit.fhe.messages import output_template

pytestmark = pytest.mark.fhe

GRAPH = network()
CODES = np.random.default_rng(0).integers(0, 4, (3, 4)).astype(np.uint16)


@pytest.fixture(scope="module")
def circuit():
    return with_keys(GRAPH)


@pytest.fixture(scope="module")
def answers(circuit):
    return circuit.rows.run(encrypted_rows(circuit.client, CODES), circuit.keys.evaluation)


@pytest.mark.parametrize("n_rows", [0, 1, 3])
def test_decrypted_answers_are_those_of_the_simulation_in_order(circuit, answers, n_rows):
    sums = decrypted_rows(circuit.client, answers[:n_rows], output_template(circuit.client))
    assert sums.dtype == np.int64
    assert sums.tolist() == GRAPH.simulate(CODES[:n_rows]).tolist()


def test_rows_of_any_type_of_integers_are_laid_out_alike(circuit):
    for dtype in ("u1", "u2", "i8"):
        rows = encrypted_rows(circuit.client, CODES.astype(dtype))
        assert {len(row) for row in rows} == {len(encrypted_rows(circuit.client, CODES)[0])}


def test_an_answer_that_is_cut_is_refused_before_concrete_reads_it(circuit, answers):
    altered = [*answers[:-1], answers[-1][:-8]]
    with pytest.raises(SerializationError, match="cut, or of another circuit"):
        decrypted_rows(circuit.client, altered, output_template(circuit.client))
