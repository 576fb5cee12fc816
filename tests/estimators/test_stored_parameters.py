"""Files of parameters restore the network that they are of, or say what would."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import skorch
import torch
from samples import load
from skorch.callbacks import Callback, Checkpoint
from torch import nn

from cipherfit import QuantizedSkorchEstimatorMixin
from cipherfit.exceptions import CipherfitWarning, NotFittedError, SerializationError

X, Y = (values[:300].copy() for values in load("digits"))
X /= 16
WHOLE = r"Keep such a network whole: save\(path\) and cipherfit.load\(path\)"


class Own(QuantizedSkorchEstimatorMixin, skorch.NeuralNetClassifier):
    pass


class Normalized(nn.Sequential):
    def __init__(self, n_hidden=8):
        super().__init__(
            nn.Linear(64, n_hidden), nn.BatchNorm1d(n_hidden), nn.ReLU(), nn.Linear(n_hidden, 10)
        )


def own(**options):
    given = {"max_epochs": 2, "qat": True, "qat_epochs": 2, "n_a_bits": 3, **options}
    return Own(
        Normalized, criterion=nn.CrossEntropyLoss, optimizer=torch.optim.Adam, lr=0.02, verbose=0,
        train_split=None, random_state=0, **given,
    )  # fmt: skip


@pytest.fixture(scope="module")
def aware():
    return own().fit(X, Y)


@pytest.mark.parametrize("safe", [False, True])
def test_parameters_restore_the_network_that_they_are_of(aware, tmp_path, safe):
    model = pickle.loads(pickle.dumps(aware))
    model.save_params(tmp_path / "p", use_safetensors=safe)
    if not safe:
        model.save_params(f_optimizer=tmp_path / "o", f_history=str(tmp_path / "h"))
    model.partial_fit(X, Y)
    assert model.graph_ != aware.graph_
    options = {} if safe else {"f_optimizer": tmp_path / "o", "f_history": str(tmp_path / "h")}
    model.load_params(tmp_path / "p", use_safetensors=safe, **options)
    assert model.graph_ == aware.graph_
    assert np.array_equal(model.predict_proba(X), aware.predict_proba(X))


def test_a_pickled_network_trains_on(aware):
    model = pickle.loads(pickle.dumps(aware)).partial_fit(X, Y)
    assert len(model.history) == 2 + 2 + 2
    assert model.history[-1, "train_loss"] < aware.history[-1, "train_loss"]


def test_parameters_of_another_network_are_refused_with_what_to_use(aware, tmp_path):
    aware.save_params(tmp_path / "p", f_optimizer=tmp_path / "o")
    in_float = own().initialize()
    for files in ({"f_params": tmp_path / "p"}, {"f_optimizer": tmp_path / "o"}):
        with pytest.raises(SerializationError, match=f"trained with qat=True.*{WHOLE}"):
            in_float.load_params(**files)
    for other in (own(n_w_bits=2, max_epochs=1), own(max_epochs=3)):
        other.fit(X, Y)
        with pytest.raises(SerializationError, match=f"of another network.*{WHOLE}"):
            other.load_params(tmp_path / "p")
    in_float.save_params(tmp_path / "f")
    with pytest.raises(SerializationError, match=r"of the module in float.*call initialize\(\)"):
        pickle.loads(pickle.dumps(aware)).load_params(tmp_path / "f")


def test_parameters_of_a_float_module_want_rows_to_be_quantized_by(tmp_path):
    trained = own(qat=False).fit(X, Y)
    trained.save_params(tmp_path / "p")
    model = own(qat=False).initialize()
    model.load_params(tmp_path / "p")
    with pytest.raises(NotFittedError, match=r"call partial_fit\(X, y\) with max_epochs=0"):
        model.predict(X)
    model.set_params(max_epochs=0).partial_fit(X, Y)
    assert model.graph_ == trained.graph_


class Stop(Callback):
    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) == 3:
            raise KeyboardInterrupt


def test_a_checkpoint_of_the_float_module_does_not_stand_in_for_the_quantized_one(tmp_path):
    checkpoint = Checkpoint("train_loss_best", dirname=tmp_path, load_best=True)
    model = own(callbacks=[("stop", Stop()), ("checkpoint", checkpoint)])
    with pytest.warns(CipherfitWarning, match="the network stays as it is"):
        model.fit(X, Y)
    assert model.score(X, Y) > 0.2
