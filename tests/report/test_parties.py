"""Who learns what follows from the network, and says what the privacy guide says."""

from __future__ import annotations

import pytest
from samples import fitted, load
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cipherfit.files.summary import secrets
from cipherfit.predictor.predictor import Predictor
from cipherfit.predictor.saving import prepared
from cipherfit.report.parties import parties_of


def told(predictor):
    client, server = parties_of(predictor)
    return client, server, " ".join([*client.holds, *client.learns])


def test_a_linear_head_can_be_solved_for_from_as_many_answers_as_the_summary_says():
    predictor = fitted("iris", n_layers=1).predictor_
    client, server, all_of_it = told(predictor)
    assert "5 answers" in all_of_it
    assert any("5 answers" in sentence for sentence in secrets(predictor))
    assert "never leaves it" in client.holds[0]
    assert "clients' public keys, which decrypt nothing" in server.holds
    head = told(fitted("iris", n_client_layers=1).predictor_)[2]
    assert "9 answers" in head  # of the 8 codes of its client layer


def test_lookups_keep_weights_from_being_solved_for():
    client, server, all_of_it = told(fitted("iris").predictor_)
    assert "solve" not in all_of_it
    assert client.never == ("the weights of the server's layers",)
    assert "clients' evaluation keys, which decrypt nothing" in server.holds


@pytest.mark.parametrize("kind", ["random", "learned", None])
def test_client_layers_are_public_unless_they_are_random(kind):
    model = fitted("iris", n_client_layers=1, client_layers=kind or "learned").predictor_
    predictor = Predictor(model.graph, model.targets, client_layers=kind)
    client, _, all_of_it = told(predictor)
    assert ("random, drawn from a seed" in all_of_it) == (kind == "random")
    assert ("WHICH WERE TRAINED" in all_of_it) == (kind == "learned")
    assert ("not known to be random" in all_of_it) == (kind is None)
    assert any("answers" in sentence for sentence in client.learns)


def test_what_was_fitted_before_the_network_is_the_clients_too():
    X, _ = load("iris")
    pipeline = make_pipeline(StandardScaler().fit(X), fitted("iris"))
    assert "means, scales, categories" in told(prepared(pipeline))[2]
    assert "means, scales, categories" not in told(fitted("iris").predictor_)[2]
