"""Callbacks and options of skorch's hold in both phases of a training with `qat=True`."""

from __future__ import annotations

import pickle

import pytest
import skorch
import torch
from samples import load
from skorch.callbacks import (
    Callback,
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    LRScheduler,
    ProgressBar,
)
from skorch.dataset import ValidSplit
from torch import nn
from torch.utils.data import DataLoader

from cipherfit import QuantizedSkorchEstimatorMixin
from cipherfit.estimators.schedule import OneCycle
from cipherfit.training.aware import AwareNetwork

X, Y = (values[:400].copy() for values in load("digits"))
X /= 16


class Own(QuantizedSkorchEstimatorMixin, skorch.NeuralNetClassifier):
    pass


def own(*callbacks, **options):
    torch.manual_seed(0)
    given = {"max_epochs": 3, "qat_epochs": 4, "lr": 0.02, "verbose": 0, **options}
    module = nn.Sequential(nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 10))
    named = [(type(each).__name__, each) for each in callbacks]
    return Own(
        module, criterion=nn.CrossEntropyLoss, optimizer=torch.optim.Adam, qat=True, n_a_bits=3,
        callbacks=named, **given,
    )  # fmt: skip


class Heard(Callback):
    """What was told, in order: a letter each, for which phase."""

    def initialize(self):
        self.told, self.rates, self.held_out, self.weights = "", [], [], []

    def tell(self, net, letter):
        self.told += letter.upper() if isinstance(net.module_, AwareNetwork) else letter

    def on_train_begin(self, net, **kwargs):
        self.tell(net, "(")

    def on_train_end(self, net, **kwargs):
        self.tell(net, ")")

    def on_epoch_begin(self, net, dataset_valid=None, **kwargs):
        self.tell(net, "e")
        self.held_out.append(dataset_valid and list(dataset_valid.indices))

    def on_epoch_end(self, net, **kwargs):
        self.tell(net, ".")
        if isinstance(net.module_, AwareNetwork):
            self.weights.append(net.module_.linear_layers[0].weight.detach().clone())

    def on_batch_begin(self, net, training=False, **kwargs):
        if training:
            self.rates.append(net.optimizer_.param_groups[0]["lr"])

    def on_batch_end(self, net, training=False, **kwargs):
        if not training:
            self.tell(net, "v")


class Stop(Callback):
    """Interrupt a training at a batch of its quantized phase, as a user may."""

    def on_batch_end(self, net, training=False, **kwargs):
        if isinstance(net.module_, AwareNetwork) and len(net.history[-1, "batches"]) == 3:
            raise KeyboardInterrupt


class Spoil(Callback):
    """Leave the last epoch with a network that answers nothing."""

    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) == 7:
            nn.init.zeros_(net.module_.linear_layers[0].weight)


def heard(model):
    return dict(model.callbacks_)["Heard"]


def test_both_phases_are_trainings_that_callbacks_hear_of_and_that_validate():
    scores = EpochScoring("f1_macro", lower_is_better=False, name="f1")
    model = own(Heard(), scores).fit(X, Y)
    assert heard(model).told == "(" + 3 * "ev." + ")" + "(" + 4 * "EV." + ")"
    for name in ("train_loss", "valid_loss", "valid_acc", "f1"):
        assert len(model.history[:, name]) == 7
    assert model.history[:, "epoch"] == list(range(1, 8))
    assert model.history[-1, "valid_loss"] < model.history[3, "valid_loss"]


def test_no_callback_hears_of_a_phase_without_epochs(tmp_path):
    best = [EarlyStopping(load_best=True), Checkpoint(dirname=tmp_path, load_best=True)]
    model = own(Heard(), *best, max_epochs=0).fit(X, Y)
    assert heard(model).told == "(" + 4 * "EV." + ")"


def test_the_quantized_phase_has_a_cycle_of_its_own_and_batches_of_32_rows():
    steps = LRScheduler("StepLR", step_size=1, gamma=0.5)
    for callbacks in ([steps], [OneCycle()], []):
        model = own(Heard(), *callbacks, qat_lr=0.003, train_split=None).fit(X, Y)
        rates = heard(model).rates
        first, second = rates[: 3 * 4], rates[3 * 4 :]
        assert len(second) == 4 * 13
        assert max(second) == pytest.approx(0.003, rel=0.01)
        assert second[0] < 0.001 > second[-1]
        if callbacks == [steps]:
            assert first == 4 * [0.02] + 4 * [0.01] + 4 * [0.005]
        assert model.optimizer_.param_groups[0]["lr"] == 0.003


def test_rows_held_out_are_the_same_in_both_phases():
    model = own(Heard(), train_split=ValidSplit(0.3)).fit(X, Y)
    held_out = heard(model).held_out
    assert len(held_out) == 7
    assert all(rows == held_out[0] for rows in held_out)
    model.fit(X, Y)
    assert heard(model).held_out[0] != held_out[0]


def test_early_stopping_ends_a_phase_and_its_best_network_stays():
    stopping = EarlyStopping("train_loss", patience=1, threshold=0.9, load_best=True)
    model = own(Heard(), stopping, qat_epochs=9).fit(X, Y)
    assert heard(model).told == "(ev.ev.)(EV.EV.)"
    first, second = heard(model).weights
    assert torch.equal(model.module_.linear_layers[0].weight, first)
    assert not torch.equal(first, second)


def test_an_interrupt_keeps_the_network_as_it_is_then():
    model = own(Heard(), Stop()).fit(X, Y)
    assert heard(model).told == "(" + 3 * "ev." + ")(E)"
    assert isinstance(model.module_, AwareNetwork)
    assert model.predict(X).shape == (400,)


def test_a_checkpoint_is_the_best_of_the_quantized_phase(tmp_path):
    monitored = {"monitor": "valid_loss_best", "dirname": tmp_path}
    checkpoint = Checkpoint(load_best=True, f_pickle="model.pkl", **monitored)
    model = own(checkpoint, Spoil(), qat_lr=0.01).fit(X, Y)
    saved = [epoch for epoch in model.history if epoch["event_cp"]]
    assert saved[-1]["epoch"] > 3
    assert model.score(X, Y) > 0.5
    pickled = pickle.loads((tmp_path / "model.pkl").read_bytes())
    assert isinstance(pickled.module_, AwareNetwork)
    assert pickled.predict(X).shape == (400,)
    assert not {"split_now_", "listeners_now_"} & vars(pickled).keys()


def test_the_table_of_epochs_says_where_the_phases_meet(capsys):
    own(LRScheduler("StepLR", step_size=1), ProgressBar(), verbose=1).fit(X, Y)
    printed = capsys.readouterr().out
    assert printed.count("valid_loss") == 2
    assert "Training on for 4 epochs, quantization-aware." in printed


def test_batches_that_are_named_are_used():
    sizes = []

    class Loader(DataLoader):
        def __iter__(self):
            for batch in super().__iter__():
                sizes.append(len(batch[1]))
                yield batch

    own(train_split=None, iterator_train=Loader, batch_size=100, max_epochs=0).fit(X, Y)
    assert sizes == 4 * 4 * [100]


def test_training_goes_on_with_the_quantized_network():
    model = own(Heard(), train_split=None).fit(X, Y)
    network, graph = model.module_, model.graph_
    model.partial_fit(X, Y)
    assert model.module_ is network
    assert model.graph_ != graph
    assert heard(model).told.endswith(")(" + 4 * "E." + ")")
    model.set_params(warm_start=True).fit(X, Y)
    assert model.module_ is network
    assert len(model.history) == 3 + 3 * 4
    model.set_params(warm_start=False).fit(X, Y)
    assert model.module_ is not network
    assert len(model.history) == 3 + 4
