"""The learning rate rises to its peak, falls to zero, and is given back."""

from __future__ import annotations

import numpy as np
import pytest
from samples import load
from skorch.callbacks import Callback
from skorch.dataset import ValidSplit

from cipherfit import NeuralNetClassifier
from cipherfit.estimators.schedule import OneCycle


class RateLog(Callback):
    """Note the rate of every training step."""

    def on_train_begin(self, net, **kwargs):
        self.rates = []

    def on_grad_computed(self, net, named_parameters=None, **kwargs):
        self.rates.append(net.optimizer_.param_groups[0]["lr"])


def trained(**options):
    log = RateLog()
    X, y = load("iris")
    options = {
        "max_epochs": 10,
        "lr": 0.1,
        "batch_size": 40,
        "iterator_train__min_batches": 1,
    } | options
    model = NeuralNetClassifier(module__n_hidden_neurons=3, callbacks=[("log", log)], **options)
    return model.fit(X, y), np.array(log.rates)


def test_the_rate_rises_to_the_peak_and_anneals_to_nearly_zero():
    _, rates = trained()
    assert len(rates) == 10 * 4
    peak = int(rates.argmax())
    assert rates[0] == pytest.approx(0.04 * 0.1)
    assert rates[peak] == pytest.approx(0.1)
    assert peak == 0.2 * len(rates)
    assert (np.diff(rates[: peak + 1]) > 0).all()
    assert (np.diff(rates[peak:]) < 0).all()
    assert 0 < rates[-1] < 0.01 * 0.1


@pytest.mark.parametrize("batch_size", [1, 40, 150, 1000, -1])
def test_any_batch_size_walks_through_the_whole_cycle(batch_size):
    _, rates = trained(batch_size=batch_size, max_epochs=20)
    assert rates.max() == pytest.approx(0.1, rel=0.05)
    assert rates[-1] < 0.1 * 0.1


def test_rows_held_out_for_validation_do_not_stretch_the_cycle():
    _, rates = trained(train_split=ValidSplit(5, stratified=True), max_epochs=20)
    assert len(rates) == 20 * 3
    assert rates[-1] < 0.01 * 0.1


def test_a_warm_start_begins_a_cycle_of_its_own():
    model, first = trained(warm_start=True)
    model.fit(*load("iris"))
    second = dict(model.callbacks)["log"].rates
    np.testing.assert_allclose(second, first)


def test_the_peak_rate_is_given_back_after_training():
    model, _ = trained()
    assert model.optimizer_.param_groups[0]["lr"] == 0.1


def test_the_schedule_can_be_turned_off():
    _, rates = trained(callbacks__lr_schedule=None)
    assert np.unique(rates).tolist() == [0.1]


def test_warmup_can_be_left_out():
    assert OneCycle(warmup=0.0).factor(0.0) == 1.0
    assert OneCycle(warmup=0.0).factor(1.0) == pytest.approx(0.0)
