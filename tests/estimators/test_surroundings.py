"""What a program has set in torch and NumPy neither changes a network nor is changed by one."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from samples import load
from skorch import NeuralNetClassifier as SkorchClassifier
from torch import nn

from cipherfit import (
    NeuralNetClassifier,
    NeuralNetRegressor,
    QuantizedSkorchEstimatorMixin,
    SparseQuantNeuralNetImpl,
)


class Perceptron(nn.Module):
    """A float module of one's own, with draws in training."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(4, 6), nn.ReLU(), nn.BatchNorm1d(6), nn.Dropout(0.1), nn.Linear(6, 3)
        )

    def forward(self, x):
        return self.layers(x)


class Own(QuantizedSkorchEstimatorMixin, SkorchClassifier):
    """Quantizes a float module after training."""


def own(seed=0):
    torch.manual_seed(0)
    model = Own(
        Perceptron, criterion=nn.CrossEntropyLoss, max_epochs=2, verbose=0, train_split=None
    )
    model.random_state = seed
    return model


def quantized(seed=0):
    return NeuralNetClassifier(
        module__n_hidden_neurons=4,
        module__activation_function=nn.PReLU,
        criterion__weight=torch.tensor([1.0, 2.0, 1.0], device="cpu"),
        max_epochs=3,
        random_state=seed,
    )


def regressor(seed=0):
    return NeuralNetRegressor(module__n_hidden_neurons=4, max_epochs=2, random_state=seed)


every = pytest.mark.parametrize("build", [quantized, regressor, own])


@contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
        assert torch.get_default_dtype() == dtype
    finally:
        torch.set_default_dtype(before)


@contextmanager
def default_device(device):
    torch.set_default_device(device)
    try:
        yield
        assert torch.empty(0).device.type == device
    finally:
        torch.set_default_device(None)


@contextmanager
def deterministic_algorithms():
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


@contextmanager
def coarse_products():
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        yield
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def warnings_as_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


SURROUNDINGS = {
    "float64": lambda: default_dtype(torch.float64),
    "float16": lambda: default_dtype(torch.float16),
    "meta device": lambda: default_device("meta"),
    "NumPy raises": lambda: np.errstate(all="raise"),
    "no gradients": lambda: torch.set_grad_enabled(False),
    "inference mode": torch.inference_mode,
    "deterministic algorithms": deterministic_algorithms,
    "coarse products": coarse_products,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "warnings as errors": warnings_as_errors,
}


@every
@pytest.mark.parametrize("name", SURROUNDINGS)
def test_a_network_is_the_same_in_whatever_surroundings(build, name):
    X, y = load("iris")
    expected = build().fit(X, y).partial_fit(X, y)
    with SURROUNDINGS[name]():
        model = build().fit(X, y).partial_fit(X, y)
        predicted = model.predict(X)
    assert model.graph_ == expected.graph_
    assert np.array_equal(predicted, expected.predict(X))
    assert {parameter.dtype for parameter in model.module_.parameters()} == {torch.float32}


@pytest.mark.parametrize("name", ["float64", "meta device", "no gradients"])
def test_a_network_alone_has_its_own_precision_and_place(name):
    with SURROUNDINGS[name]():
        network = SparseQuantNeuralNetImpl(4, 2, 3, activation_function=nn.PReLU)
    for parameter in network.parameters():
        assert parameter.dtype == torch.float32
        assert parameter.device.type == "cpu"
    assert network.input_quantizer.scale.dtype == torch.float64


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_values_that_under_or_overflow_on_the_way_raise_nothing(scale):
    rng = np.random.default_rng(0)
    y = np.arange(200) % 2
    X = np.c_[y * 200.0, rng.normal(size=(200, 2))] * scale
    with np.errstate(all="raise"):
        model = NeuralNetClassifier(
            module__n_hidden_neurons=3, max_epochs=10, lr=0.1, criterion__label_smoothing=0.0
        ).fit(X, y)
        far = 1e4 * np.abs(model.predictor_.graph.to_dict()["output"]["scale"]).max()
        assert np.isfinite(model.predict_proba(X)).all()
        assert model.post_processing(np.array([[-far, far], [0.0, 1e6]])).min() == 0
        X[0, 1] = 1e-300  # becomes 0 in float32
        model.predict(X)


@every
def test_fits_in_several_threads_give_the_network_of_one_alone(build):
    X, y = load("iris")
    alone = [build(seed).fit(X, y).graph_ for seed in (0, 1)]
    models = [build(index % 2) for index in range(6)]
    others = [quantized(None) for _ in range(2)]  # draw from the numbers that all threads share
    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(each.fit, X, y) for each in models + others]:
            future.result()
    assert [model.graph_ for model in models] == 3 * alone


@every
def test_random_numbers_and_threads_are_as_they_were(build):
    X, y = load("iris")
    model = build()
    torch.set_num_threads(2)
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    model.fit(X, y).partial_fit(X, y)
    model.fit_benchmark(X, y)
    if build is not own:
        model.prune(X, y, 0.3)
    model.predict(X)
    assert torch.equal(torch.rand(3), expected)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda seed: build(seed).fit(X, y), range(2)))
        assert set(pool.map(lambda _: torch.get_num_threads(), range(4))) == {2}
    assert torch.get_num_threads() == 2
