"""Own modules train on with quantized layers, through whatever skorch and scikit-learn do."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import skorch
import torch
from samples import load
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

import cipherfit
from cipherfit import NeuralNetClassifier, QuantizedSkorchEstimatorMixin
from cipherfit.exceptions import (
    CipherfitWarning,
    InvalidParameterError,
    UnsupportedModuleError,
)
from cipherfit.stages import stages_of
from cipherfit.training.aware import AwareNetwork

X, Y = (values.copy() for values in load("digits"))
IMAGES = X.reshape(-1, 1, 8, 8)


class Own(QuantizedSkorchEstimatorMixin, skorch.NeuralNetClassifier):
    pass


class OwnBinary(QuantizedSkorchEstimatorMixin, skorch.NeuralNetBinaryClassifier):
    pass


class OwnRegressor(QuantizedSkorchEstimatorMixin, skorch.NeuralNetRegressor):
    pass


class Small(nn.Sequential):
    def __init__(self):
        super().__init__(
            nn.Conv2d(1, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(),
            nn.Linear(36, 10),
        )  # fmt: skip


class Dense(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(64, 10), nn.ReLU(), nn.Linear(10, 10))


def own(module=Small, **options):
    given = {"criterion": nn.CrossEntropyLoss, "max_epochs": 8, "lr": 0.02, **options}
    return Own(
        module, optimizer=torch.optim.Adam, batch_size=32, iterator_train__shuffle=True,
        train_split=None, verbose=0, **given,
    )  # fmt: skip


@pytest.fixture(scope="module")
def models():
    """One trained in float and quantized, and one trained on with the same few bits."""
    fitted = []
    for qat in (False, True):
        torch.manual_seed(0)
        widths = {"n_w_bits": 2, "n_a_bits": 2, "n_in_bits": 3}
        fitted.append(own(qat=qat, qat_epochs=5, **widths).fit(IMAGES, Y))
    return fitted


def test_with_few_bits_it_is_more_accurate_than_quantization_afterwards(models):
    after, aware = models
    assert isinstance(aware.module_, AwareNetwork)
    assert aware.score(IMAGES, Y) > max(0.87, after.score(IMAGES, Y) + 0.03)
    assert aware.n_bits_quant == after.n_bits_quant == 2
    for model in models:
        codes = [np.abs(stage.weights).max() for stage in stages_of(model.graph_)]
        assert max(codes) == 1
        assert model.graph_.n_bits == 3
    assert len(aware.history) == 8 + 5
    assert aware.history[-1, "train_loss"] < aware.history[8, "train_loss"]


def test_pickles_copies_and_files_answer_the_same(models, tmp_path):
    aware = models[1]
    expected = aware.predict_proba(IMAGES[:50])
    for same in (pickle.loads(pickle.dumps(aware)), copy.deepcopy(aware)):
        assert np.array_equal(same.predict_proba(IMAGES[:50]), expected)
    aware.save(tmp_path / "m")
    assert np.array_equal(cipherfit.load(tmp_path / "m").predict_proba(IMAGES[:50]), expected)


def test_it_trains_on_and_anew(models):
    aware = copy.deepcopy(models[1])
    before = aware.module_
    aware.partial_fit(IMAGES[:200], Y[:200])
    assert aware.module_ is before
    assert aware.graph_ != models[1].graph_
    aware.set_params(qat=False, n_a_bits=5, max_epochs=1).fit(IMAGES[:200], Y[:200])
    assert isinstance(aware.module_, Small)
    assert aware.n_bits_quant == 5


def test_a_trained_module_is_where_training_starts():
    torch.manual_seed(0)
    module = own().fit(IMAGES, Y).module_
    weights = module[0].weight.detach().clone()
    aware = own(module, qat=True, qat_epochs=1, max_epochs=0).fit(IMAGES, Y)
    assert torch.equal(module[0].weight, weights)
    assert len(aware.history) == 1
    assert aware.score(IMAGES, Y) > 0.9


def test_losses_that_take_what_the_module_ends_with():
    torch.manual_seed(0)
    ends = nn.Sequential(Small(), nn.LogSoftmax(dim=1))
    aware = own(ends, criterion=nn.NLLLoss, qat=True, qat_epochs=2, max_epochs=4).fit(IMAGES, Y)
    assert aware.score(IMAGES, Y) > 0.85
    np.testing.assert_allclose(aware.predict_proba(IMAGES[:9]).sum(axis=1), 1)


@pytest.mark.parametrize(
    ("batch_size", "n_rows", "expected"),
    [(32, 200, 29), (8, 200, 8), (128, 200, 29), (-1, 200, 29), (128, 7000, 70), (50, 7000, 50)],
)
def test_batches_are_as_asked_for_where_they_leave_steps_to_train_by(batch_size, n_rows, expected):
    sizes = []

    class Counting(Own):
        def train_step(self, batch, **fit_params):
            sizes.append(len(batch[0]))
            return super().train_step(batch, **fit_params)

    rows = np.resize(np.arange(len(X)), n_rows)
    Counting(
        nn.Sequential(nn.Linear(64, 10)), criterion=nn.CrossEntropyLoss, batch_size=batch_size,
        train_split=None, verbose=0, max_epochs=0, qat=True, qat_epochs=1,
    ).fit(X[rows], Y[rows])  # fmt: skip
    assert max(sizes) == expected


def test_real_targets_of_any_unit_are_learned():
    torch.manual_seed(0)
    features, y = load("diabetes")
    module = nn.Sequential(nn.BatchNorm1d(10), nn.Linear(10, 8), nn.ReLU(), nn.Linear(8, 1))
    standard = ((y - y.mean()) / y.std()).astype(np.float32).reshape(-1, 1)
    options = {"optimizer": torch.optim.Adam, "train_split": None, "verbose": 0}
    OwnRegressor(module, lr=0.02, max_epochs=40, **options).fit(features, standard)
    with torch.no_grad():
        module[3].weight.mul_(1e6)
        module[3].bias.mul_(1e6).add_(5e6)
    targets = 1e6 * standard + 5e6
    after = OwnRegressor(module, max_epochs=0, n_a_bits=2, **options).fit(features, targets)
    aware = OwnRegressor(
        module, max_epochs=0, n_a_bits=2, qat=True, qat_epochs=25, **options
    ).fit(features, targets)  # fmt: skip
    assert aware.score(features, targets) > max(0.4, after.score(features, targets))


def test_options_are_parameters_that_searches_set_and_clones_keep():
    model = own(qat=True, n_w_bits=3)
    assert clone(model).get_params()["qat"] is True
    assert clone(model).n_w_bits == 3
    grid = GridSearchCV(own(max_epochs=1), {"n_a_bits": [3, 5]}, cv=2, error_score="raise")
    grid.fit(IMAGES[:200], Y[:200])
    assert grid.best_estimator_.n_bits_quant == grid.best_params_["n_a_bits"]


def test_weights_of_rows_count():
    torch.manual_seed(0)
    weights = np.where(Y == 3, 50.0, 0.1)
    aware = own(qat=True, qat_epochs=1, max_epochs=1).fit(IMAGES, Y, sample_weight=weights)
    assert (aware.predict(IMAGES) == 3).mean() > 0.2


def test_what_quantization_after_training_prunes_is_told():
    torch.manual_seed(0)
    told = r"sums of layer 0 need \d+ bits and have 7, so \d+ of .* of the rows get another label"
    with pytest.warns(CipherfitWarning, match=told):
        own(n_accum_bits=7, max_epochs=2).fit(IMAGES, Y)


def test_searches_and_pipelines_choose_its_options():
    pipeline = make_pipeline(StandardScaler(), own(Dense, qat=True, qat_epochs=1, max_epochs=2))
    grid = {"own__n_w_bits": [1, 4], "own__qat_lr": [0.001, 0.01], "own__random_state": [0]}
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(X[:400], Y[:400])
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    best, n_bits = search.best_estimator_[-1], search.best_params_["own__n_w_bits"]
    assert np.abs(stages_of(best.graph_)[0].weights).max() == {1: 1, 4: 7}[n_bits]


def test_a_seed_decides_both_parts_and_kinds_of_arrays_do_not():
    options = {"qat": True, "qat_epochs": 1, "max_epochs": 1, "random_state": 3}
    rows, labels = X[:300], Y[:300]
    expected = own(Dense, **options).fit(rows, labels).graph_
    frame = pd.DataFrame(rows, columns=[f"pixel {i}" for i in range(64)])
    for same in (rows.astype(np.float64), frame, rows.tolist(), torch.from_numpy(rows)):
        assert own(Dense, **options).fit(same, labels).graph_ == expected
    assert own(Dense, **{**options, "random_state": 4}).fit(rows, labels).graph_ != expected


def test_weights_of_classes_count():
    options = {"qat": True, "qat_epochs": 1, "max_epochs": 1, "random_state": 0}
    heavy = own(class_weight={3: 100.0}, **options).fit(IMAGES, Y)
    plain = own(**options).fit(IMAGES, Y)
    assert (heavy.predict(IMAGES) == 3).mean() > (plain.predict(IMAGES) == 3).mean() + 0.1
    with pytest.raises(InvalidParameterError, match="OwnRegressor is none; fit takes"):
        OwnRegressor(Dense, class_weight="balanced", verbose=0).fit(X, X[:, :10])


@pytest.mark.parametrize("criterion", [nn.MSELoss, nn.HuberLoss, nn.L1Loss])
def test_several_targets_are_learned_by_any_loss(criterion):
    features, y = load("diabetes")
    targets = np.stack([y, -y], axis=1).astype(np.float32) / 77
    module = nn.Sequential(nn.BatchNorm1d(10), nn.Linear(10, 8), nn.ReLU(), nn.Linear(8, 2))
    model = OwnRegressor(
        module, criterion=criterion, optimizer=torch.optim.Adam, lr=0.02, max_epochs=30, qat=True,
        qat_epochs=10, random_state=0, train_split=None, verbose=0,
    ).fit(features, targets)  # fmt: skip
    assert model.predict(features).shape == targets.shape
    assert model.score(features, targets) > 0.35


class OwnLoss(nn.Module):
    def forward(self, outputs, labels):
        return nn.functional.cross_entropy(outputs, labels).log1p()


def test_one_output_for_two_classes_and_losses_of_ones_own():
    words = np.where(Y < 5, "low", "high")
    options = {"max_epochs": 3, "qat": True, "qat_epochs": 2, "random_state": 0}
    binary = OwnBinary(
        nn.Sequential(nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 1)), lr=0.02, train_split=None,
        optimizer=torch.optim.Adam, verbose=0, **options,
    ).fit(X, words)  # fmt: skip
    assert binary.score(X, words) > 0.8
    np.testing.assert_allclose(binary.predict_proba(X).sum(axis=1), 1)
    assert own(Dense, criterion=OwnLoss, **options).fit(X / 16, Y).score(X / 16, Y) > 0.8


@pytest.mark.parametrize("qat", [False, True])
@pytest.mark.parametrize(
    ("n_outputs", "labels", "message"),
    [
        (12, Y, "Sequential has 12 outputs, and there are 10 classes"),
        (9, Y, "Sequential has 9 outputs, and there are 10 classes"),
        (10, Y % 5, r"10 outputs, and there are 5 classes: \[0, 1, 2, 3, 4\]; give .* classes="),
    ],
)
def test_modules_have_an_output_per_class(qat, n_outputs, labels, message):
    module = nn.Sequential(nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, n_outputs))
    model = own(module, qat=qat, max_epochs=0, qat_epochs=1)
    with pytest.raises(InvalidParameterError, match=message):
        model.fit(X, labels)
    model.set_params(classes=range(n_outputs), max_epochs=1)
    if n_outputs == 10:
        model.fit(X, labels)
        assert model.predict_proba(X).shape == (len(X), n_outputs)


def test_regressors_have_an_output_per_target():
    model = OwnRegressor(nn.Linear(64, 2), max_epochs=1, train_split=None, verbose=0)
    with pytest.raises(InvalidParameterError, match="Linear has 2 outputs, and y has 1 target"):
        model.fit(X, X[:, :1])


def test_modules_with_nothing_to_train_are_told():
    with pytest.raises(UnsupportedModuleError, match="Flatten has no parameters"):
        own(nn.Flatten()).fit(X, Y)
    frozen = nn.Linear(64, 10).requires_grad_(False)
    with pytest.raises(InvalidParameterError, match=r"Linear requires a gradient.*max_epochs=0"):
        own(frozen, max_epochs=2).fit(X, Y)
    assert own(frozen, max_epochs=0).fit(X, Y).graph_.n_lookups == 0


def test_numpy_switches_and_tensors_with_a_gradient_are_as_good():
    rows = torch.tensor(X, requires_grad=True)
    options = {"max_epochs": 0, "qat_epochs": 1, "random_state": 0}
    module = nn.Linear(64, 10)
    one = own(module, qat=np.True_, **options).fit(rows, Y)
    assert one.graph_.digest == own(module, qat=True, **options).fit(X, Y).graph_.digest


@pytest.mark.parametrize("max_epochs", [0, 5])
def test_what_cannot_be_quantized_is_an_error_before_the_first_epoch(max_epochs):
    pooled = nn.Sequential(nn.Conv2d(1, 4, 3), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 10))
    model = own(pooled, qat=True, max_epochs=max_epochs)
    with pytest.raises(UnsupportedModuleError, match="use average pooling"):
        model.fit(IMAGES, Y)
    assert len(model.history) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"qat": 1}, "qat=1 must be True or False"),
        ({"n_w_bits": 0}, r"n_w_bits=0 must be an integer in \[1, 16\]"),
        ({"n_accum_bits": 99}, r"n_accum_bits=99 must be an integer in \[1, 48\]"),
        ({"qat_epochs": 0}, "qat_epochs=0 must be an integer, at least 1"),
        ({"qat_lr": 0.0}, "qat_lr=0.0 must be a number above 0"),
        ({"n_a_bits": [17]}, r"n_a_bits=17 must be an integer in \[1, 16\]"),
        ({"n_w_bits": [3, 3, 3]}, r"n_w_bits: \[3, 3, 3\] has 3 values, .* 2 linear layers"),
        ({"n_in_bits": [3]}, r"n_in_bits=\[3\] must be an integer"),
        ({"n_lookup_bits": 0}, r"n_lookup_bits=0 must be an integer in \[1, 16\]"),
        ({"n_lookup_bits": (5, 5)}, "n_lookup_bits: .* has 2 values, but there is 1 hidden layer"),
        ({"n_w_bits": [4]}, r"n_w_bits: \[4\] has 1 value, but there are 2 linear layers"),
        ({"random_state": "one"}, r"random_state='one' must be an integer in \[0, 2\*\*32 - 1\]"),
        ({"class_weight": {3: -1}}, r"class_weight\[3\]=-1 must be a number, at least 0"),
        ({"rounding": "none"}, "rounding='none' must be 'approximate' or 'exact'"),
        ({"n_lookups": 9}, "n_lookups=9 needs qat=True"),
        ({"n_lookups": 0, "qat": True}, "n_lookups=0 must be an integer, at least 1"),
    ],
)
def test_options_that_cannot_be_are_named_before_training(options, message):
    with pytest.raises(InvalidParameterError, match=message):
        own(**options, callbacks=[("never", NoEpoch())]).fit(IMAGES, Y)


class NoEpoch(skorch.callbacks.Callback):
    def on_epoch_begin(self, net, **kwargs):
        raise AssertionError("an epoch was trained")


@pytest.mark.filterwarnings("ignore:.*are pruned")
@pytest.mark.parametrize("qat", [True, False])
@pytest.mark.parametrize("rounding", ["approximate", "exact"])
def test_lookups_read_as_many_bits_as_named_and_round_as_named(qat, rounding):
    torch.manual_seed(0)
    options = {"n_lookup_bits": np.array([4]), "n_accum_bits": [9, 10], "rounding": rounding}
    graph = own(qat=qat, qat_epochs=1, max_epochs=1, **options).fit(IMAGES, Y).graph_
    hidden, last = stages_of(graph)
    assert hidden.proof.bits - hidden.lookup.lsbs <= 4
    assert hidden.lookup.rounding == rounding
    assert hidden.proof.bits <= 9
    assert last.proof.bits <= 10


def test_the_least_important_lookups_go_while_it_trains():
    torch.manual_seed(0)
    whole = own().fit(IMAGES, Y)
    few = own(whole.module_, qat=True, qat_epochs=8, max_epochs=0, n_lookups=12).fit(IMAGES, Y)
    assert few.graph_.n_lookups <= 12
    assert few.score(IMAGES, Y) > 0.8
    for same in (pickle.loads(pickle.dumps(few)), copy.deepcopy(few)):
        assert same.graph_ == few.graph_
        same.rebuild_predictor()
        assert same.graph_ == few.graph_
    few.partial_fit(IMAGES[:200], Y[:200])
    assert few.graph_.n_lookups <= 12


def test_cipherfits_own_networks_have_no_such_options():
    with pytest.raises(ValueError, match=r"unexpected .*qat"):
        NeuralNetClassifier(qat=True).fit(X, Y)
    assert "qat" not in NeuralNetClassifier().get_params()


def test_the_float_twin_of_a_benchmark_has_the_trained_weights():
    torch.manual_seed(0)
    model = own(qat=True, qat_epochs=2, n_a_bits=8, n_w_bits=8, n_accum_bits=24)
    aware, net = model.fit_benchmark(IMAGES, Y)
    assert (net.predict(IMAGES) == aware.predict(IMAGES)).mean() > 0.97
