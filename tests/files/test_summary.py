"""What is said of a model is what holds."""

from __future__ import annotations

import json

import pytest
from samples import fitted

from cipherfit.files import summary as module
from cipherfit.files.summary import as_text, summary


def test_a_linear_head_says_that_its_weights_can_be_solved_for():
    predictor = fitted("iris", n_layers=1).predictor_
    told = json.loads(json.dumps(summary(predictor)))
    assert told["graph"] == predictor.graph.digest
    assert told["features"] == {
        "count": 4,
        "names": None,
        "prepared": None,
        "bits": predictor.graph.n_bits,
    }
    assert told["predicts"] == {"kind": "classes", "classes": [0, 1, 2]}
    (layer,), (proof,) = told["layers"], predictor.graph.prove().layers
    assert (layer["side"], layer["neurons"], layer["lookups"]) == ("server", 3, 0)
    assert (layer["low"], layer["high"]) == (proof.low.min(), proof.high.max())
    assert (told["costs"]["backend"], told["costs"]["lookups"]) == ("bfv", 0)
    text = as_text(told)
    for part in (predictor.graph.digest, "solved for from 5 answers", "3 classes: 0, 1, 2", "bfv"):
        assert part in text


def test_real_values_are_counted():
    told = summary(fitted("diabetes", n_layers=1).predictor_)
    assert told["predicts"] == {"kind": "values", "count": 1}
    assert "gives 1 real values" in as_text(told)


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [("random", "every trained weight is the server's alone"), ("learned", "ARE PUBLIC")],
)
def test_client_layers_are_said_to_be_public_unless_they_are_random(kind, sentence):
    model = fitted("iris", n_client_layers=1, client_layers=kind)
    text = as_text(summary(model.predictor_))
    assert ("every trained weight is the server's alone" in text) == (kind == "random")
    assert sentence in text
    assert "1 (client in clear): 8 neurons" in text
    assert "2 (server, encrypted): 3 neurons" in text


@pytest.mark.fhe
def test_lookups_are_counted_with_what_they_cost():
    told = summary(fitted("iris", n_hidden=4).predictor_)
    assert [layer["lookups"] for layer in told["layers"]] == [4, 0]
    assert told["costs"]["lookups"] == 4
    assert "clients learn answers, not weights" in as_text(told)


def test_costs_without_concrete_are_not_known(monkeypatch):
    def missing(_):
        raise module.MissingDependencyError("encrypted lookups need concrete-python")

    predictor = fitted("iris", n_hidden=4).predictor_
    monkeypatch.setattr(type(predictor), "estimate_fhe", missing)
    assert "not known here: encrypted lookups need" in as_text(summary(predictor))
