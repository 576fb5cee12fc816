"""What skorch offers to those who train works here: schedules, stopping, callbacks, devices."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from samples import load
from sklearn.exceptions import NotFittedError
from skorch.callbacks import Checkpoint, EarlyStopping, EpochScoring, LRScheduler
from skorch.dataset import ValidSplit

from cipherfit import NeuralNetClassifier, NeuralNetRegressor

ESTIMATORS = {"iris": NeuralNetClassifier, "diabetes": NeuralNetRegressor}
both = pytest.mark.parametrize("name", ESTIMATORS)


def estimator(name, **options):
    return ESTIMATORS[name](
        **{"module__n_hidden_neurons": 4, "max_epochs": 4, "random_state": 0, **options}
    )


def agrees_with_module(model, X):
    with torch.no_grad():
        outputs = model.module_(torch.tensor(X).double()).numpy()
    return np.allclose(model.graph_.run(X), outputs, rtol=1e-12, atol=1e-9)


@both
def test_defaults_work_without_arguments_and_are_the_same_for_both(name):
    model = ESTIMATORS[name]()
    common = ("lr", "max_epochs", "batch_size", "iterator_train__shuffle", "train_split", "verbose")
    other = NeuralNetClassifier().get_params()
    assert {key: model.get_params()[key] for key in common} == {key: other[key] for key in common}
    X, y = load(name)
    assert model.set_params(max_epochs=2).fit(X, y).predict(X).shape == y.shape


@both
def test_a_learning_rate_scheduler_replaces_the_default_one(name):
    schedule = LRScheduler("StepLR", step_size=1, gamma=0.1)
    model = estimator(name, callbacks=[("steps", schedule)], lr=0.01).fit(*load(name))
    assert model.history[:, "event_lr"] == pytest.approx([1e-2, 1e-3, 1e-4, 1e-5])


@both
def test_early_stopping_stops_and_its_best_weights_are_those_of_the_graph(name):
    X, y = load(name)
    options = {"patience": 2, "threshold": 1e9, "sink": lambda text: None}
    best, last = (
        estimator(
            name,
            max_epochs=50,
            train_split=ValidSplit(4),
            callbacks=[EarlyStopping(load_best=load_best, **options)],
        ).fit(X, y)
        for load_best in (True, False)
    )
    assert len(best.history) == len(last.history) < 10
    assert best.graph_ != last.graph_
    assert agrees_with_module(best, X)


@both
@pytest.mark.parametrize("callback", [EarlyStopping(), Checkpoint()])
def test_callbacks_that_watch_held_out_rows_ask_for_some(name, callback):
    with pytest.raises(ValueError, match=r"monitors 'valid_.*train_split="):
        estimator(name, callbacks=[callback]).fit(*load(name))


@both
def test_checkpoints_load_back_into_module_and_graph(name, tmp_path):
    X, y = load(name)
    checkpoint = Checkpoint(dirname=tmp_path, monitor=None)
    model = estimator(name, callbacks=[checkpoint]).fit(X, y)
    model.save_params(f_params=tmp_path / "weights.pt")
    trained = model.graph_
    other = estimator(name, random_state=1).fit(X, y)
    assert other.graph_ != trained
    other.load_params(f_params=tmp_path / "weights.pt")
    assert other.graph_ == trained
    assert agrees_with_module(other, X)
    other.load_params(checkpoint=checkpoint)
    assert agrees_with_module(other, X)


@both
def test_scores_and_losses_of_every_epoch_are_in_the_history(name):
    metric = "accuracy" if name == "iris" else "r2"
    scoring = EpochScoring(metric, lower_is_better=False, on_train=True, name="score")
    model = estimator(name, callbacks=[scoring], train_split=ValidSplit(5)).fit(*load(name))
    assert len(model.history) == 4
    table = np.array(model.history[:, ("train_loss", "valid_loss", "score")])
    assert np.isfinite(table).all()
    assert (table[-1] < table[0])[:2].all()
    assert table[-1, 2] > table[0, 2]
    model.fit(*load(name))
    assert len(model.history) == 4


@both
def test_verbose_prints_a_table_of_epochs_and_the_default_nothing(name, capsys):
    estimator(name).fit(*load(name))
    assert capsys.readouterr().out == ""
    estimator(name, verbose=1).fit(*load(name))
    assert "train_loss" in capsys.readouterr().out


@both
def test_new_module_parameters_leave_a_trained_model_untrained(name):
    X, y = load(name)
    model = estimator(name).fit(X, y)
    graph = model.graph_
    model.set_params(lr=0.1)
    assert model.graph_ is graph
    model.set_params(module__n_a_bits=2)
    with pytest.raises(NotFittedError, match="needs to be calibrated"):
        model.predict(X)
    assert model.fit(X, y).n_bits_quant == 2


@both
def test_random_state_decides_the_graph_and_nothing_else(name):
    X, y = load(name)
    torch.manual_seed(5)
    before, of_numpy = torch.random.get_rng_state(), np.random.get_state()  # noqa: NPY002
    first = estimator(name, random_state=3).fit(X, y).graph_
    assert torch.equal(torch.random.get_rng_state(), before)
    np.testing.assert_equal(np.random.get_state(), of_numpy)  # noqa: NPY002
    torch.manual_seed(6)
    assert estimator(name, random_state=3).fit(X, y).graph_ == first
    assert estimator(name, random_state=4).fit(X, y).graph_ != first
    generator = np.random.RandomState(3)
    assert estimator(name, random_state=generator).fit(X, y).graph_ == first


@both
def test_the_number_of_torchs_threads_changes_neither_the_graph_nor_by_training(name):
    graphs = []
    for n_threads in (1, 2):
        torch.set_num_threads(n_threads)
        graphs.append(estimator(name).fit(*load(name)).graph_)
        assert torch.get_num_threads() == n_threads
    torch.set_num_threads(1)
    assert graphs[0] == graphs[1]


@both
def test_a_device_that_is_not_there_is_named(name, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"device='cuda'.*device='cpu'"):
        estimator(name, device="cuda").fit(*load(name))


@both
@pytest.mark.parametrize("order", [1, -1])
def test_the_order_of_rows_is_kept_in_predictions(name, order):
    X, y = load(name)
    model = estimator(name).fit(X, y)
    rows = np.random.default_rng(0).permutation(len(X))[::order]
    assert np.array_equal(model.predict(X[rows]), model.predict(X)[rows])
    one_by_one = np.concatenate([model.predict(row[None]) for row in X[rows[:9]]])
    assert np.array_equal(one_by_one, model.predict(X[rows[:9]]))


@both
@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW, torch.optim.RMSprop])
def test_other_optimizers_train(name, optimizer):
    model = estimator(name, optimizer=optimizer, optimizer__weight_decay=1e-4).fit(*load(name))
    losses = model.history[:, "train_loss"]
    assert losses[-1] < losses[0]


@both
def test_a_batch_of_all_rows_or_of_one_trains(name):
    X, y = load(name)
    for size in (-1, 1, 7, 10**6):
        model = estimator(name, batch_size=size, max_epochs=4, lr=0.02).fit(X[::8], y[::8])
        losses = model.history[:, "train_loss"]
        assert min(losses[1:]) < losses[0]


@both
def test_the_html_view_names_the_estimator_at_every_stage(name):
    model = estimator(name)
    assert ESTIMATORS[name].__name__ in model._repr_html_()
    assert "SparseQuantNeuralNetImpl" in model.fit(*load(name))._repr_html_()
