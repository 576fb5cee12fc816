"""The learning rate rises to its peak, falls to zero, and is given back."""

from __future__ import annotations

import numpy as np
import pytest
from samples import load
from skorch.callbacks import Callback, Checkpoint, EarlyStopping, LoadInitState, TrainEndCheckpoint
from skorch.dataset import ValidSplit

from cipherfit import NeuralNetClassifier
from cipherfit.estimators.schedule import OneCycle


class RateLog(Callback):
    """Note the rate of every training step."""

    def on_train_begin(self, net, **kwargs):
        self.rates = []

    def on_grad_computed(self, net, named_parameters=None, **kwargs):
        self.rates.append(net.optimizer_.param_groups[-1]["lr"])


def trained(*callbacks, **options):
    log = RateLog()
    X, y = load("iris")
    options = {
        "max_epochs": 10,
        "lr": 0.1,
        "batch_size": 40,
        "iterator_train__min_batches": 1,
    } | options
    model = NeuralNetClassifier(
        module__n_hidden_neurons=3, callbacks=[("log", log), *callbacks], **options
    )
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


def is_whole_cycle(rates, peak=0.1):
    return rates[0] < 0.1 * peak and rates.max() == pytest.approx(peak) and rates[-1] < 0.01 * peak


@pytest.mark.parametrize("kind", [Checkpoint, TrainEndCheckpoint])
def test_training_on_from_a_checkpoint_of_a_finished_one_is_a_cycle_of_its_own(kind, tmp_path):
    saved = kind(monitor=None, dirname=tmp_path) if kind is Checkpoint else kind(dirname=tmp_path)
    first, _ = trained(("saved", saved))
    resumed, rates = trained(("load", LoadInitState(saved)))
    assert is_whole_cycle(rates)
    assert len(resumed.history) == 20
    assert resumed.graph_ != first.graph_


def test_loaded_parameters_train_on_at_the_estimators_own_rates(tmp_path):
    saved = Checkpoint(monitor=None, dirname=tmp_path)
    model, _ = trained(("saved", saved))
    model.load_params(checkpoint=saved)
    assert model.optimizer_.param_groups[0]["lr"] < 0.01 * 0.1, "nothing to guard against"
    for rate in (0.1, 0.03):
        model.set_params(lr=rate)
        model.load_params(checkpoint=saved)
        model.partial_fit(*load("iris"))
        assert is_whole_cycle(np.array(dict(model.callbacks)["log"].rates), rate)


class Break(Callback):
    """End a training, as a crash would, after some epochs."""

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == 4:
            raise RuntimeError("power cut")


def test_a_training_cut_short_goes_on_where_its_checkpoint_stands(tmp_path):
    saved = Checkpoint(monitor=None, dirname=tmp_path)
    with pytest.raises(RuntimeError, match="power cut"):
        trained(("saved", saved), ("break", Break()))
    _, whole = trained()
    _, rates = trained(("load", LoadInitState(saved)))
    assert rates[0] == pytest.approx(whole[4 * 4])
    assert (np.diff(rates) < 0).all()
    assert rates[-1] < 0.01 * 0.1


def test_a_training_that_stopped_early_trains_on_in_a_cycle_of_its_own():
    stop = EarlyStopping(monitor="train_loss", patience=2, threshold=1e9, threshold_mode="abs")
    model, rates = trained(("stop", stop))
    assert len(rates) < 10 * 4
    model.set_params(callbacks__stop__patience=1000)
    model.partial_fit(*load("iris"))
    assert is_whole_cycle(np.array(dict(model.callbacks)["log"].rates))


def test_rates_of_parameter_groups_survive_a_checkpoint(tmp_path):
    groups = {"optimizer__param_groups": [("features.1.*", {"lr": 0.02})], "optimizer__lr": 0.2}
    saved = Checkpoint(monitor=None, dirname=tmp_path)
    trained(("saved", saved), **groups)
    model, rates = trained(("load", LoadInitState(saved)), **groups)
    assert [group["lr"] for group in model.optimizer_.param_groups] == [0.02, 0.2]
    assert is_whole_cycle(rates, 0.2)
