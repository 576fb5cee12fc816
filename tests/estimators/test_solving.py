"""Networks without hidden layers are solved in `fit`, and trained where that is asked for."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from samples import load
from scipy.sparse import csr_matrix
from sklearn.datasets import make_regression
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV, RidgeCV
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import EarlyStopping, EpochScoring, Freezer
from skorch.dataset import ValidSplit
from torch import nn

from cipherfit import NeuralNetClassifier, NeuralNetRegressor
from cipherfit.exceptions import InvalidInputError

ESTIMATORS = {"iris": NeuralNetClassifier, "diabetes": NeuralNetRegressor}
both = pytest.mark.parametrize("name", ESTIMATORS)


def linear(kind=NeuralNetClassifier, **options):
    if isinstance(kind, str):
        kind = ESTIMATORS[kind]
    return kind(**{"module__n_layers": 1, "random_state": 0, **options})


def standardized(model):
    return make_pipeline(StandardScaler(), model)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer", "digits", "diabetes"])
def test_scores_are_those_of_scikit_learns_linear_models(name):
    X, y = load(name)
    kind = NeuralNetRegressor if name == "diabetes" else NeuralNetClassifier
    peer = RidgeCV(np.logspace(-2, 4, 13)) if name == "diabetes" else LogisticRegressionCV()
    differences = []
    for seed in range(3):
        stratify = None if name == "diabetes" else y
        split = train_test_split(X, y, test_size=0.3, random_state=seed, stratify=stratify)
        X_seen, X_unseen, y_seen, y_unseen = split
        ours = linear(kind).fit(X_seen, y_seen).score(X_unseen, y_unseen)
        theirs = standardized(peer).fit(X_seen, y_seen).score(X_unseen, y_unseen)
        differences.append(ours - theirs)
    assert np.mean(differences) > -0.01


@both
def test_solving_is_one_epoch_whatever_max_epochs_but_none(name):
    X, y = load(name)
    model = linear(name).fit(X, y)
    assert len(model.history) == 1
    assert model.graph_ == linear(name, max_epochs=1, lr=7.0, batch_size=5).fit(X, y).graph_
    untrained = linear(name, max_epochs=0).fit(X, y)
    assert len(untrained.history) == 0
    assert untrained.score(X, y) < model.score(X, y)


@both
def test_the_loss_of_the_solution_is_in_the_history(name):
    X, y = load(name)
    model = linear(name).fit(X, y)
    loss = model.history[0, "train_loss"]
    outputs = torch.from_numpy(model.graph_.run(X))
    if name == "iris":
        expected = float(nn.CrossEntropyLoss()(outputs, torch.tensor(y)))
    else:
        expected = float(((outputs[:, 0].numpy() - y) ** 2).mean())
    assert loss == pytest.approx(expected, rel=1e-4)
    held_out = linear(name, train_split=ValidSplit(5)).fit(X, y)
    assert held_out.history[0, "valid_loss"] > 0


def test_held_out_rows_are_not_seen():
    X, y = load("diabetes")
    held_out = np.arange(len(y)) < len(y) // 5  # of the first of five folds
    changed = np.where(held_out, 1e4, y)
    of_both = [
        linear("diabetes", train_split=ValidSplit(5)).fit(X, targets).module_.linear_layers[-1]
        for targets in (y, changed)
    ]
    weights = [layer.weight.detach().numpy() for layer in of_both]
    # The unit of the outputs is of all rows, those of a correlation of the rest.
    assert np.corrcoef(weights[0].ravel(), weights[1].ravel())[0, 1] > 0.999


@both
def test_the_same_seed_gives_the_same_graph(name):
    X, y = load(name)
    assert linear(name).fit(X, y).graph_ == linear(name).fit(X, y).graph_


@pytest.mark.parametrize("name", ["iris", "diabetes", "digits"])
def test_no_weight_is_pruned_and_sums_are_wide(name):
    X, y = load(name)
    kind = NeuralNetRegressor if name == "diabetes" else NeuralNetClassifier
    model = linear(kind).fit(X, y)
    certificate = model.graph_.prove()
    assert 12 <= certificate.max_accumulator_bits <= 20
    assert model.graph_.n_bits == model.n_bits_quant == 8
    weights = model.graph_.to_dict()["layers"][0]["weights"]
    assert 31 < np.abs(weights).max() <= 63
    assert model.graph_.n_lookups == 0


@both
def test_every_kind_of_container_gives_the_same_graph(name):
    X, y = load(name)
    X = X.round(2).astype(np.float32)
    graph = linear(name).fit(X, y).graph_
    for given in (X.astype(np.float64), pd.DataFrame(X), csr_matrix(X), X.tolist()):
        assert linear(name).fit(given, y).graph_ == graph


def test_labels_are_of_any_kind():
    X, y = load("iris")
    names = np.array(["setosa", "versicolor", "virginica"])
    model = linear().fit(X, names[y])
    assert np.array_equal(model.classes_, names)
    assert model.score(X, names[y]) == linear().fit(X, y).score(X, y) > 0.95
    two = linear().fit(X[y > 0], y[y > 0] == 2)
    assert two.score(X[y > 0], y[y > 0] == 2) > 0.93
    probabilities = two.predict_proba(X)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)


def test_one_class_is_refused_and_a_class_that_is_only_named_is_not():
    X, y = load("iris")
    with pytest.raises(InvalidInputError, match="class"):
        linear().fit(X, np.zeros(len(y)))
    model = linear(classes=[0, 1, 2, 3]).fit(X, y)
    assert model.predict_proba(X)[:, 3].max() < 0.1
    assert model.score(X, y) > 0.95


@pytest.mark.parametrize("how", ["class_weight", "criterion__weight", "sample_weight"])
def test_weights_of_classes_do_what_scikit_learns_do(how):
    X, y = load("breast_cancer")
    rare = np.flatnonzero((y == 1) | (np.arange(len(y)) % 12 == 0))
    X, y = X[rare][:, [8, 9, 14, 18, 19]], y[rare]
    by_class = {0: 20.0, 1: 1.0}
    given = {
        "class_weight": {"class_weight": by_class},
        "criterion__weight": {"criterion__weight": [20.0, 1.0]},
    }
    rows = np.where(y == 0, 20.0, 1.0)
    weights = {"sample_weight": rows} if how == "sample_weight" else {}
    model = linear(**given.get(how, {})).fit(X, y, **weights)
    peer = standardized(LogisticRegression(class_weight=by_class)).fit(X, y)
    unweighted = linear().fit(X, y)
    recalls = [(m.predict(X)[y == 0] == 0).mean() for m in (model, peer, unweighted)]
    assert recalls[0] == pytest.approx(recalls[1], abs=0.06)
    assert recalls[0] > recalls[2]
    ours, theirs, without = (m.predict_proba(X)[:, 0] for m in (model, peer, unweighted))
    assert np.abs(ours - theirs).mean() < 0.1 < np.abs(without - theirs).mean() / 2


def test_balanced_classes_are_told_apart_alike():
    X, y = load("wine")
    kept = (y > 0) | (np.arange(len(y)) % 6 == 0)
    X, y = X[kept][:, :3], y[kept]
    model = linear(class_weight="balanced").fit(X, y)
    peer = standardized(LogisticRegression(class_weight="balanced")).fit(X, y)
    scores = [balanced_accuracy_score(y, m.predict(X)) for m in (model, peer)]
    assert scores[0] == pytest.approx(scores[1], abs=0.03)


@both
def test_rows_of_weight_0_are_as_good_as_absent(name):
    X, y = load(name)
    stay = np.arange(len(X)) % 3 > 0
    weighted = linear(name).fit(X, y, sample_weight=stay.astype(int))
    assert weighted.graph_ == linear(name).fit(X[stay], y[stay]).graph_


def test_several_targets_are_solved_each_with_its_penalty():
    X, y = make_regression(300, 8, n_targets=3, noise=20.0, random_state=0)
    y[:, 1] = np.random.default_rng(0).normal(size=300)
    model = linear(NeuralNetRegressor).fit(X[:200], y[:200])
    peer = RidgeCV(np.logspace(-3, 5, 17), alpha_per_target=True).fit(X[:200], y[:200])
    for j in range(3):
        ours, theirs = (m.predict(X[200:])[:, j] for m in (model, peer))
        assert np.abs(ours - theirs).mean() < 0.01 * np.ptp(theirs) + 0.05 * (j == 1)


def test_features_that_never_vary_change_nothing():
    X, y = load("iris")
    constant = np.column_stack([X, np.full(len(X), 3.5), np.zeros(len(X))])
    model = linear().fit(constant, y)
    weights = model.graph_.to_dict()["layers"][0]["weights"]
    assert not weights[:, 4:].any()
    assert np.array_equal(model.predict(constant), linear().fit(X, y).predict(X))


@both
def test_partial_fit_takes_epochs_from_the_solution(name):
    X, y = load(name)
    model = linear(name, max_epochs=3).fit(X, y)
    solved, score = model.graph_, model.score(X, y)
    model.partial_fit(X, y)
    assert len(model.history) == 4
    assert model.graph_ != solved
    assert model.score(X, y) > score - 0.05
    fresh = linear(name, max_epochs=3).partial_fit(X, y)
    assert len(fresh.history) == 3


@both
def test_a_warm_start_solves_again(name):
    X, y = load(name)
    model = linear(name, warm_start=True).fit(X, y)
    model.fit(X[::2], y[::2])
    assert len(model.history) == 2
    assert model.score(X, y) > linear(name).fit(X[::2], y[::2]).score(X, y) - 0.02


class OwnLoss(NeuralNetClassifier):
    """Adds a penalty, as skorch's guide shows it."""

    def get_loss(self, y_pred, y_true, *args, **kwargs):
        """Return the loss and the weights' size."""
        penalty = 0.01 * sum(weights.abs().sum() for weights in self.module_.parameters())
        return super().get_loss(y_pred, y_true, *args, **kwargs) + penalty


class OwnStep(NeuralNetClassifier):
    """Counts its steps."""

    n_steps = 0

    def train_step(self, batch, **fit_params):
        """Count and train."""
        self.n_steps += 1
        return super().train_step(batch, **fit_params)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("iris", {"criterion": nn.MultiMarginLoss}),
        ("iris", {"criterion": nn.NLLLoss}),
        ("iris", {"criterion__ignore_index": 1}),
        ("iris", {"optimizer": torch.optim.SGD}),
        ("iris", {"optimizer__weight_decay": 0.1}),
        ("iris", {"callbacks": [Freezer("features.1.weight")]}),
        ("iris", {"module__n_layers": 2, "module__n_hidden_neurons": 3}),
        ("diabetes", {"criterion": nn.HuberLoss}),
        ("diabetes", {"optimizer": torch.optim.SGD, "lr": 1e-3}),
    ],
)
def test_what_is_not_convex_or_asks_for_the_loop_is_trained(name, options):
    X, y = load(name)
    model = linear(name, max_epochs=3, **options).fit(X, y)
    assert len(model.history) == 3


@pytest.mark.parametrize("kind", [OwnLoss, OwnStep])
def test_subclasses_with_steps_of_their_own_take_them(kind):
    model = linear(kind, max_epochs=3).fit(*load("iris"))
    assert len(model.history) == 3
    assert kind is OwnLoss or model.n_steps >= 30


def test_smoothed_labels_are_smoothed_where_that_is_asked_for():
    X, y = load("iris")
    assert linear().get_params_for("criterion") == {}
    sharp = linear().fit(X, y).predict_proba(X).max(axis=1).mean()
    smooth = linear(criterion__label_smoothing=0.3).fit(X, y)
    assert len(smooth.history) == 1
    assert smooth.predict_proba(X).max(axis=1).mean() < sharp - 0.05


def test_callbacks_see_the_epoch():
    X, y = load("iris")
    scoring = EpochScoring("accuracy", on_train=True, name="accuracy_of_train")
    stopping = EarlyStopping(monitor="train_loss", patience=1)
    model = linear(callbacks=[scoring, stopping]).fit(X, y)
    assert model.history[0, "accuracy_of_train"] == pytest.approx(model.score(X, y))


@pytest.mark.parametrize("name", ["diabetes", "wine"])
def test_where_rounding_loses_much_training_goes_on_and_is_kept_if_it_helps(name):
    X, y = load(name)
    kind = NeuralNetRegressor if name == "diabetes" else NeuralNetClassifier
    narrow = {"module__n_w_bits": 2, "module__n_a_bits": 2, "module__n_accum_bits": 6}
    solved = linear(kind, max_epochs=1, **narrow).fit(X, y)
    model = linear(kind, max_epochs=30, **narrow).fit(X, y)
    assert len(solved.history) == 1
    assert len(model.history) == 30
    assert model.graph_.prove().max_accumulator_bits <= 6

    def loss(fitted):
        outputs = torch.from_numpy(fitted.graph_.run(X))
        if name == "wine":
            return float(nn.CrossEntropyLoss()(outputs, torch.tensor(y)))
        return float(((outputs[:, 0].numpy() - y) ** 2).mean())

    assert loss(model) <= loss(solved) * (1 + 1e-6)
