"""Predictors and searches for errors in notebooks: names are text, and numbers are theirs."""

from __future__ import annotations

import pandas as pd
import pytest
from core_graphs import random_parts
from html_reading import HOSTILE, Piece
from samples import fitted, load
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cipherfit import IntegerGraph, NeuralNetClassifier, Predictor
from cipherfit.predictor.p_error import PErrorSearch, Trial
from cipherfit.predictor.saving import prepared
from cipherfit.predictor.targets import ClassTargets, RealTargets


def graph(n_client_layers=0):
    return IntegerGraph.from_layers(
        **random_parts(1, sizes=(6, 5, 4), n_client_layers=n_client_layers)
    )


def test_hostile_names_of_features_and_classes_are_text():
    names = [*HOSTILE, "fifth", "sixth"]
    predictor = Predictor(graph(), ClassTargets(HOSTILE), feature_names=names)
    read = Piece(predictor._repr_html_())
    assert read.facts["predicts"] == f"4 classes: {', '.join(HOSTILE)}"
    assert read.facts["takes"] == f"6 features: {', '.join(names)}"


def test_it_shows_its_graph_and_how_far_it_is():
    predictor = fitted("wine").predictor_
    read = Piece(predictor._repr_html_())
    assert read.facts["predicts"] == "3 classes: 0, 1, 2"
    assert read.facts["takes"] == "13 features"
    assert read.facts["encryption"] == "not compiled"
    assert "secrecy" not in read.facts
    assert read.facts["digest"] == predictor.graph.digest
    assert predictor.graph._repr_html_() in predictor._repr_html_()


@pytest.mark.fhe
def test_it_shows_that_it_is_compiled():
    predictor = Predictor(graph(1), RealTargets(4, flat=False))
    predictor.compile()
    assert Piece(predictor._repr_html_()).facts["encryption"] == "compiled"


@pytest.mark.parametrize(
    ("client_layers", "told"),
    [("random", "all trained weights secret"), ("learned", "PUBLIC"), (None, "PUBLIC")],
)
def test_it_shows_what_every_client_holds(client_layers, told):
    targets = RealTargets(4, flat=False)
    predictor = Predictor(graph(1), targets, client_layers=client_layers)
    facts = Piece(predictor._repr_html_()).facts
    assert told in facts["secrecy"]
    assert facts["secrecy"] in repr(predictor)
    assert facts["predicts"] == "4 real values"
    assert (
        Piece(Predictor(graph(), RealTargets(1, flat=True))._repr_html_())
        .facts["predicts"]
        .startswith("a real value")
    )


def test_it_shows_what_is_prepared():
    X, y = load("wine")
    table = pd.DataFrame(X).set_axis([f"<{name}>" for name in range(13)], axis=1)
    whole = make_pipeline(StandardScaler(), NeuralNetClassifier(max_epochs=1)).fit(table, y)
    facts = Piece(prepared(whole)._repr_html_()).facts
    assert facts["takes"].startswith("13 features: <0>, <1>, ")
    assert facts["prepares"] == "13 features of them, as in training"


def test_estimators_are_shown_as_scikit_learn_shows_them():
    model = fitted("wine")
    for shown in (model, make_pipeline(StandardScaler(), model)):
        html = shown._repr_html_()
        assert "NeuralNetClassifier" in html
        # Releases differ in whether they show parameters, or what the network prints of itself.
        assert "module__n_hidden_neurons" in html or "QuantLinear" in html
        assert "sk-container" in html


def test_a_search_shows_every_trial_with_its_interval():
    trials = (
        Trial(0.1, 0.05, 0.06, (0.8, 0.9)),
        Trial(0.01, 0.02, 0.03, (0.86, 0.9)),
    )
    found = PErrorSearch(
        p_error=0.01, score=0.9, chosen=trials[1], trials=trials, max_accuracy_drop=0.03,
        confidence=0.9, n_rows=50, n_passes=30, score_name="R2",
    )  # fmt: skip
    html = found._repr_html_()
    read = Piece(html)
    assert str(found) in read.text
    assert read.titles == [
        "p_error 0.1: falls by 0.0500, at most 0.0600",
        "p_error 0.01: falls by 0.0200, at most 0.0300",
    ]
    assert html.count('r="4" fill="currentColor"') == 1
    assert len(read.paths) == len(trials) + 1
    for tick in ("0.01", "0.1", "0.8", "0.9", "R2"):
        assert f">{tick}</text>" in html
