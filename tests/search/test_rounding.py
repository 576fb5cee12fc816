"""The choice of lookup widths and rounding, by simulated accuracy and compiled cost."""

import numpy as np
import pytest
from html_reading import Piece
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

from cipherfit import NeuralNetClassifier, compile_graph, search_rounding
from cipherfit.exceptions import InvalidParameterError
from cipherfit.fhe.latency import reference_seconds
from cipherfit.predictor.p_error import Trial
from cipherfit.search.rounding import RoundingSearch, RoundingTrial

X, Y = load_breast_cancer(return_X_y=True)
SEEN, UNSEEN, Y_SEEN, Y_UNSEEN = train_test_split(X, Y, stratify=Y, random_state=0)
OPTIONS = {"verbose": 0, "random_state": 0, "max_epochs": 30}


@pytest.fixture(scope="module")
def model():
    return NeuralNetClassifier(
        module__n_layers=3, module__n_hidden_neurons=[4, 3], module__n_lookup_bits=[7, 5],
        module__rounding=["exact", "approximate"], **OPTIONS,
    ).fit(SEEN, Y_SEEN)  # fmt: skip


def lookups(graph):
    return [
        (len(layer["tables"]), layer["lsbs"], layer["exact"])
        for layer in graph.to_dict()["layers"][1::2]
    ]


def test_every_hidden_layer_may_round_in_its_own_way(model):
    assert [exact for _, _, exact in lookups(model.graph_)] == [True, False]
    assert [lsbs for _, lsbs, _ in lookups(model.graph_)] == [1, 2]


@pytest.mark.parametrize(
    "parameters",
    [{"n_lookup_bits": [6]}, {"rounding": ["exact"]}, {"rounding": ["exact", "careless"]}],
)
def test_settings_per_layer_that_make_no_sense_are_named(parameters):
    (name,) = parameters
    model = NeuralNetClassifier(module__n_layers=3, module__n_hidden_neurons=4)
    model.set_params(**{f"module__{name}": parameters[name]})
    with pytest.raises(InvalidParameterError, match=name):
        model.fit(SEEN, Y_SEEN)


def test_the_choice_is_faster_within_the_drop_and_leaves_the_model_alone(model):
    before = lookups(model.graph_)
    found = search_rounding(model, UNSEEN, Y_UNSEEN, max_accuracy_drop=0.03)
    assert lookups(model.graph_) == before
    cost = [
        reference_seconds(compile_graph(each.graph_, p_error=0.01)) for each in (model, found.model)
    ]
    assert cost[1] < cost[0]
    assert found.chosen.seconds_per_row < found.before.seconds_per_row
    assert found.chosen.seconds_per_row == min(each.seconds_per_row for each in found.trials)
    assert all(each.trial.drop_bound <= 0.03 for each in found.trials[1:])
    settings = [(each.lookup_bits, each.rounding) for each in found.trials]
    assert len(set(settings)) == len(settings)
    codes = found.model.quantize_input(UNSEEN)
    scores = [
        np.mean(
            found.model.graph_.dequantize(
                found.model.graph_.simulate(codes, p_error=0.01, seed=seed)
            ).argmax(axis=1)
            == Y_UNSEEN
        )
        for seed in range(100)
    ]
    drop = model.score(UNSEEN, Y_UNSEEN) - np.mean(scores)
    assert drop == pytest.approx(found.chosen.trial.drop, abs=5e-3)
    assert "s per encrypted row" in str(found)


def test_fine_tuning_reports_a_model_that_was_trained_with_its_rounding(model):
    found = search_rounding(
        model, UNSEEN, Y_UNSEEN, max_accuracy_drop=0.005, fine_tune_on=(SEEN, Y_SEEN)
    )
    assert found.chosen.trial.drop_bound <= 0.005 or found.chosen == found.before
    bits = [layer.n_lookup_bits for layer in found.model.module_.linear_layers[:-1]]
    assert bits == list(found.chosen.lookup_bits)


def test_a_network_without_lookups_has_nothing_to_round():
    linear = NeuralNetClassifier(module__n_layers=1, **OPTIONS).fit(SEEN, Y_SEEN)
    with pytest.raises(InvalidParameterError, match="hidden layer"):
        search_rounding(linear, UNSEEN, Y_UNSEEN)


def test_in_a_notebook_every_setting_is_a_row_and_a_bar(model):
    fast, slow = Trial(0.01, 0.02, 0.03, (0.8, 0.9)), Trial(0.01, 0.0, 0.001, (0.9, 0.9))
    before = RoundingTrial((7, 5), ("exact", "none"), slow, 0.4)
    chosen = RoundingTrial((4, 5), ("approximate", "none"), fast, 0.1, fine_tuned=True)
    read = Piece(RoundingSearch(model, chosen, before, (before, chosen))._repr_html_())
    assert [[*row.values()] for row in read.rows] == [
        ["before", "7, 5", "exact, none", "0.4", "0.0000, at most 0.0010", ""],
        ["chosen", "4, 5", "approximate, none (fine-tuned)", "0.1", "0.0200, at most 0.0300", ""],
    ]
    assert read.labels == ["100%", "25%"]
