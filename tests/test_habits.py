"""What people are used to from scikit-learn, skorch, torch and Concrete ML works here, or says why.

Each case stands for a kind that users of other libraries have reported.
"""

from __future__ import annotations

import copy
import pickle
import re

import numpy as np
import pytest
import skorch
import torch
from samples import load
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import AdaBoostClassifier
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import has_fit_parameter
from skorch.callbacks import Callback, Checkpoint, EpochScoring
from skorch.dataset import Dataset, ValidSplit
from skorch.helper import SliceDataset, predefined_split
from torch import nn

from cipherfit import (
    NeuralNetClassifier,
    NeuralNetRegressor,
    QuantizedSkorchEstimatorMixin,
    search_p_error,
)
from cipherfit.exceptions import (
    CipherfitError,
    CipherfitWarning,
    DivergenceError,
    InputTypeError,
    InvalidInputError,
    InvalidParameterError,
    NotFittedError,
)

X, Y = load("iris")
WORDS = np.array(["one", "three", "two"])[Y]
EVEN = np.ones(len(X))


def classifier(**options):
    quick = {"max_epochs": 3, "module__n_hidden_neurons": 4, "random_state": 0}
    return NeuralNetClassifier(**{**quick, **options})


def regressor(**options):
    quick = {"max_epochs": 3, "module__n_hidden_neurons": 4, "random_state": 0}
    return NeuralNetRegressor(**{**quick, **options})


class TestWeightsOfRows:
    def test_they_are_a_parameter_of_fit_and_partial_fit_by_position_and_by_name(self):
        assert has_fit_parameter(classifier(), "sample_weight")
        weights = np.where(Y == 2, 5.0, 1.0)
        plain, by_name = (classifier().fit(X, Y, **o) for o in ({}, {"sample_weight": weights}))
        assert classifier().fit(X, Y, weights).graph_ == by_name.graph_ != plain.graph_
        again = [copy.deepcopy(plain).partial_fit(X, Y, None, w).graph_ for w in (None, weights)]
        assert again[0] != again[1]

    @pytest.mark.parametrize(
        "meta",
        [
            lambda: AdaBoostClassifier(classifier(max_epochs=10), n_estimators=3),
            lambda: CalibratedClassifierCV(classifier(max_epochs=10), cv=2),
        ],
        ids=["boosted", "calibrated"],
    )
    def test_meta_estimators_weigh_rows(self, meta):
        assert meta().fit(X, WORDS, EVEN).score(X, WORDS) > 0.6

    def test_several_regressors_of_one_kind_weigh_rows(self):
        both = MultiOutputRegressor(regressor(max_epochs=20))
        assert both.fit(X[:, :2], X[:, 2:], EVEN).score(X[:, :2], X[:, 2:]) > 0.5


WEIGHTS = {
    "list": [1, 2, 3],
    "integers": np.array([1, 2, 3]),
    "doubles": np.array([1.0, 2.0, 3.0]),
    "tensor": torch.tensor([1.0, 2.0, 3.0]),
}


class TestWeightsOfClasses:
    @pytest.mark.parametrize("kind", WEIGHTS)
    def test_every_container_trains_the_same_in_the_constructor_and_set_later(self, kind):
        expected = classifier(criterion__weight=WEIGHTS["tensor"]).fit(X, Y).graph_
        given = WEIGHTS[kind]
        assert classifier(criterion__weight=given).fit(X, Y).graph_ == expected
        assert classifier().set_params(criterion__weight=given).fit(X, Y).graph_ == expected
        assert classifier().fit(X, Y).graph_ != expected

    def test_a_grid_searches_them(self):
        grid = {"criterion__weight": [[1, 1, 1], np.array([1, 2, 3])]}
        found = GridSearchCV(classifier(), grid, cv=2, error_score="raise").fit(X, Y)
        assert len(found.best_params_["criterion__weight"]) == 3

    def test_balanced_is_the_weight_of_rows_that_scikit_learn_has_for_it(self):
        rare = np.flatnonzero(Y != 2)[::1].tolist() + np.flatnonzero(Y == 2)[:10].tolist()
        counts = np.bincount(Y[rare])
        weights = (len(rare) / (3 * counts))[Y[rare]]
        expected = classifier().fit(X[rare], Y[rare], weights).graph_
        assert classifier(class_weight="balanced").fit(X[rare], Y[rare]).graph_ == expected
        by_label = {"one": 2.0}
        weights = np.where(WORDS == "one", 2.0, 1.0)
        assert (
            classifier(class_weight=by_label).fit(X, WORDS).graph_
            == classifier().fit(X, WORDS, weights).graph_
        )

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"criterion__weight": [1, 2]}, "has 2 weights, but there are 3 classes"),
            ({"criterion__weight": "many"}, "criterion__weight='many' must be numbers"),
            ({"criterion__weight": [1, -1, 1]}, "at least 0"),
            ({"class_weight": {"four": 1}}, "'four', which is not among"),
            ({"class_weight": "equal"}, "must be 'balanced'"),
        ],
    )
    def test_those_that_make_no_sense_are_named_before_training(self, options, message):
        model = classifier(**options)
        with pytest.raises(InvalidParameterError, match=message):
            model.fit(X, WORDS)


class Saw(Callback):
    def on_epoch_end(self, net, **_):
        self.answers_ = net.predict(X[:5].tolist()), net.predict_proba(X[:5])


@pytest.fixture(params=["words", "whole numbers"])
def labels(request):
    return WORDS if request.param == "words" else Y + 1


class TestLabelsInTraining:
    def test_callbacks_that_predict_get_labels(self, labels):
        model = classifier(callbacks=[("saw", Saw())]).fit(X, labels)
        answers, probabilities = dict(model.callbacks_)["saw"].answers_
        assert set(answers) <= set(labels)
        assert answers.tolist() == model.classes_[probabilities.argmax(axis=1)].tolist()

    @pytest.mark.parametrize("cached", [True, False])
    def test_scores_of_held_out_rows_compare_like_with_like(self, labels, cached):
        scoring = EpochScoring("accuracy", name="own", use_caching=cached, lower_is_better=False)
        held_out = predefined_split(Dataset(X.astype(np.float64)[::3], labels[::3]))
        for split in (ValidSplit(3, stratified=True), held_out):
            model = classifier(max_epochs=15, train_split=split, callbacks=[scoring])
            model.fit(X, labels)
            assert model.history[-1, "own"] > 0.6
            assert model.history[-1, "own"] == pytest.approx(model.history[-1, "valid_acc"])

    def test_one_dimensional_targets_held_out_are_measured_as_those_trained_on(self):
        features, y = load("diabetes")
        held_out = predefined_split(Dataset(features.astype(np.float64), y))
        model = regressor(max_epochs=15, train_split=held_out).fit(features, y)
        train, valid = model.history[-1, ("train_loss", "valid_loss")]
        assert 0.5 * train < valid < 1.5 * train < y.var()

    def test_a_pickle_made_in_training_answers_and_compiles(self, labels, tmp_path):
        saved = Checkpoint(dirname=tmp_path, f_pickle="model.pkl", monitor=None)
        model = classifier(max_epochs=6, callbacks=[saved]).fit(X, labels)
        loaded = pickle.loads((tmp_path / "model.pkl").read_bytes())
        assert not {"training_now_", "rows_now_", "labels_now_"} & vars(loaded).keys()
        assert loaded.predict(X).tolist() == model.predict(X).tolist()
        loaded.compile(use_virtual_lib=True)
        assert loaded.partial_fit(X, labels).graph_ is not None


class TestLosses:
    def test_negative_log_likelihood_takes_a_networks_outputs(self):
        model = classifier(criterion=nn.NLLLoss, max_epochs=20).fit(X, Y)
        assert model.score(X, Y) > 0.8

    @pytest.mark.parametrize("criterion", [nn.NLLLoss, nn.MultiMarginLoss, nn.CrossEntropyLoss])
    def test_probabilities_are_probabilities(self, criterion):
        probabilities = classifier(criterion=criterion).fit(X, Y).predict_proba(X)
        assert (probabilities >= 0).all()
        np.testing.assert_allclose(probabilities.sum(axis=1), 1)

    @pytest.mark.parametrize("lr", [1e9, 1e30])
    def test_a_training_that_leaves_the_numbers_names_epoch_loss_and_learning_rate(self, lr):
        model = classifier(lr=lr, max_epochs=30)
        with pytest.raises(DivergenceError, match=f"in epoch .* at lr={re.escape(repr(lr))}"):
            model.fit(X, Y)
        assert not hasattr(model, "predictor_")

    def test_a_loss_that_is_not_finite_is_never_trained_through(self):
        class Broken(nn.CrossEntropyLoss):
            def forward(self, *arguments):
                return super().forward(*arguments) * float("nan")

        with pytest.raises(DivergenceError, match=r"in epoch 1: the loss is nan, with Broken"):
            classifier(criterion=Broken).fit(X, Y)


@pytest.fixture(scope="module")
def trained():
    return classifier(max_epochs=15).fit(X, Y)


class TestSearches:
    def test_labels_of_another_kind_are_refused(self, trained):
        with pytest.raises(InvalidInputError, match=r"y\[0\] = 'one' is not among the classes"):
            search_p_error(trained, X, WORDS)

    def test_pipelines_are_searched_with_all_their_steps(self):
        whole = make_pipeline(StandardScaler(), classifier(max_epochs=15)).fit(X, Y)
        found = search_p_error(whole, X, Y, max_accuracy_drop=0.2)
        assert found.score == pytest.approx(whole.score(X, Y))
        grid = GridSearchCV(whole, {"neuralnetclassifier__lr": [0.01]}, cv=2).fit(X, Y)
        assert search_p_error(grid, X, Y, max_accuracy_drop=0.5).score == grid.score(X, Y)


class TestNumbers:
    def test_integers_of_any_kind_are_integers(self):
        plain = classifier(batch_size=16, max_epochs=2).fit(X, Y)
        numpys = classifier(
            batch_size=np.int64(16), max_epochs=np.int32(2), module__n_hidden_neurons=np.uint8(4)
        )
        assert numpys.fit(X, Y).graph_ == plain.graph_
        widths = classifier(module__n_layers=3, module__n_hidden_neurons=np.array([4, 3]))
        assert widths.fit(X, Y).module_.hidden_widths == [4, 3]

    @pytest.mark.parametrize(
        ("name", "value"),
        [("batch_size", 0), ("batch_size", 2.5), ("max_epochs", 1.5), ("max_epochs", -1),
         ("lr", 0.0), ("lr", "fast")],
    )  # fmt: skip
    def test_those_that_are_none_are_named_before_training(self, name, value):
        with pytest.raises(InvalidParameterError, match=rf"{name}={value!r} must be"):
            classifier(**{name: value}).fit(X, Y)


class Pairs(torch.utils.data.Dataset):
    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        return self.rows[i]


CONTAINERS = {
    "sliced": (SliceDataset(Dataset(X, Y)), Y),
    "sliced both": (SliceDataset(Dataset(X, Y)), SliceDataset(Dataset(X, Y), idx=1)),
    "tensors": (torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(Y)), None),
    "skorch's": (Dataset(X, Y), None),
    "pairs": (Pairs(list(zip(X, Y, strict=True))), None),
    "features alone": (Pairs(list(X)), Y),
}


class TestContainers:
    @pytest.mark.parametrize("kind", CONTAINERS)
    def test_data_sets_of_any_kind_train_the_same_network(self, kind):
        assert classifier().fit(*CONTAINERS[kind]).graph_ == classifier().fit(X, Y).graph_

    def test_what_can_be_no_matrix_says_what_to_pass(self):
        with pytest.raises(InputTypeError, match=r"X is a dict of \['a', 'b'\]; one array"):
            classifier().fit({"a": X, "b": X}, Y)
        with pytest.raises(InvalidInputError, match="row 0 of Pairs is a ndarray; it must be a p"):
            classifier().fit(Pairs(list(X)), None)

    def test_groups_reach_whoever_splits_and_nobody_else(self):
        groups = np.arange(len(X)) % 5
        scores = cross_val_score(classifier(), X, WORDS, groups=groups, cv=GroupKFold(3))
        assert len(scores) == 3
        model = classifier(train_split=ValidSplit(GroupKFold(3))).fit(X, Y, groups=groups)
        assert "valid_loss" in model.history[-1]


class Binary(QuantizedSkorchEstimatorMixin, skorch.NeuralNetBinaryClassifier):
    pass


class TestOneOutputForTwoClasses:
    @pytest.mark.parametrize("words", [False, True])
    @pytest.mark.parametrize("flat", [False, True])
    def test_skorchs_binary_classifier_gives_two_columns_and_labels(self, words, flat):
        features, y = load_breast_cancer(return_X_y=True)
        y = np.array(["ill", "well"])[y] if words else y
        layers = [nn.BatchNorm1d(30), nn.Linear(30, 6), nn.ReLU(), nn.Linear(6, 1)]
        module = nn.Sequential(*layers, *([nn.Flatten(0)] if flat else []))
        model = Binary(module, lr=0.1, max_epochs=10, verbose=0).fit(features, y)
        assert model.score(features, y) > 0.9
        assert model.classes_.tolist() == sorted(set(y.tolist()))
        probabilities = model.predict_proba(features)
        assert probabilities.shape == (len(features), 2)
        np.testing.assert_allclose(probabilities.sum(axis=1), 1)
        strict = model.set_params(threshold=0.9).predict(features)
        assert strict.tolist() == model.classes_[(probabilities[:, 1] > 0.9).astype(int)].tolist()

    def test_three_classes_are_refused(self):
        module = nn.Sequential(nn.Linear(4, 1))
        with pytest.raises(InvalidInputError, match="tells two classes apart, and y has 3"):
            Binary(module, verbose=0).fit(X, Y)


class TestParametersAlone:
    def fresh(self, trained, tmp_path, **options):
        trained.save_params(f_params=tmp_path / "parameters.pt")
        model = classifier(module__input_dim=4, module__n_outputs=3, **options).initialize()
        model.load_params(f_params=tmp_path / "parameters.pt")
        return model

    def test_with_the_labels_they_make_the_model(self, trained, tmp_path):
        model = self.fresh(trained, tmp_path, classes=[0, 1, 2])
        assert np.array_equal(model.predict(X), trained.predict(X))

    def test_without_them_the_error_says_what_is_missing(self, trained, tmp_path):
        model = self.fresh(trained, tmp_path)
        with pytest.raises(NotFittedError, match=r"not the labels.*classes=\[\.\.\.\]"):
            model.predict(X)
        assert model.fit(X, Y).predict(X).shape == Y.shape


class TestConcreteMLsNames:
    @pytest.mark.parametrize("name", ["module__quant_narrow", "module__power_of_two_scaling"])
    def test_old_options_are_refused_early_with_what_to_do(self, name):
        for make in (lambda: classifier(**{name: True}), lambda: classifier().set_params(
            **{name: True}
        )):  # fmt: skip
            with pytest.raises(InvalidParameterError, match=f"{name} is an option of Concrete ML"):
                make()

    @pytest.mark.parametrize("name", ["verbose", "module__n_w_bits", "epochs"])
    def test_options_of_the_estimator_are_no_options_of_fit(self, name):
        with pytest.raises(InvalidParameterError, match=f"fit takes no {name}"):
            classifier().fit(X, Y, **{name: 1})

    def test_the_kind_of_estimator_is_told_as_it_used_to_be(self):
        assert NeuralNetClassifier._estimator_type == classifier()._estimator_type == "classifier"
        assert NeuralNetRegressor._estimator_type == regressor()._estimator_type == "regressor"

    @pytest.mark.fhe
    def test_a_circuit_for_simulation_only_simulates_with_a_warning(self):
        model = classifier(module__rounding="exact").fit(X, Y)
        model.compile(use_virtual_lib=True, p_error=1e-9)
        with pytest.warns(CipherfitWarning, match="nothing is encrypted"):
            simulated = model.predict(X, execute_in_fhe=True)
        assert np.array_equal(simulated, model.predict(X))
        with pytest.raises(CipherfitError, match="only for simulation"):
            model.predict(X, fhe="execute")

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"module__input_dim": 0}, "number of input dimensions"),
            ({"module__n_layers": 0, "module__input_dim": 9}, "number of layers"),
            ({"module__n_w_bits": 0, "module__n_outputs": 7}, "quantization bitwidth"),
        ],
    )
    def test_invalid_parameters_are_named_before_those_that_disagree_with_the_data(
        self, options, message
    ):
        with pytest.raises(ValueError, match=message):
            classifier(**options).fit(X, Y)


class Seed(QuantizedSkorchEstimatorMixin, skorch.NeuralNetClassifier):
    """An own classifier as the seed's users write it."""

    def __init__(self, *args, **kwargs):
        super().__init__()
        skorch.NeuralNetClassifier.__init__(self, *args, **kwargs)

    @property
    def base_estimator_type(self):
        return skorch.NeuralNetClassifier

    @property
    def n_bits_quant(self):
        return 2

    def fit(self, X, y, **fit_params):
        return super().fit(X.astype(np.float32), y.astype(np.int64), **fit_params)

    def predict(self, X, execute_in_fhe=False):
        probabilities = self.predict_proba(X, execute_in_fhe=execute_in_fhe)
        return self.classes_[np.argmax(probabilities, axis=1)]


@pytest.mark.fhe
def test_an_own_class_of_the_seeds_kind_is_searched_compiled_and_run_in_a_pipeline():
    module = nn.Sequential(nn.Linear(4, 4), nn.Sigmoid(), nn.Linear(4, 3))
    own = Seed(module, criterion=nn.CrossEntropyLoss, max_epochs=30, verbose=0, train_split=None)
    whole = make_pipeline(StandardScaler(), own)
    grid = GridSearchCV(whole, {"seed__lr": [0.1, 0.5]}, cv=2, error_score="raise").fit(X, Y)
    assert grid.score(X, Y) > 0.6
    best = grid.best_estimator_
    rows = best[:-1].transform(X[::50])
    best[-1].compile(rows, p_error=1e-7)
    encrypted = best[-1].predict(rows, execute_in_fhe=True)
    assert encrypted.tolist() == best[-1].predict(rows).tolist()
