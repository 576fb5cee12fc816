"""Real data sets, estimators trained on them, and networks with random parameters."""

from __future__ import annotations

import functools

import numpy as np
import torch
from sklearn import datasets
from torch import nn

from cipherfit import NeuralNetClassifier, NeuralNetRegressor, SparseQuantNeuralNetImpl

LOADERS = {
    "iris": datasets.load_iris,
    "wine": datasets.load_wine,
    "breast_cancer": datasets.load_breast_cancer,
    "digits": datasets.load_digits,
    "diabetes": datasets.load_diabetes,
}


@functools.cache
def load(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return features (float32, read-only) and targets of a data set that scikit-learn ships."""
    X, y = LOADERS[name](return_X_y=True)
    X = X.astype(np.float32)
    X.setflags(write=False)
    y.setflags(write=False)
    return X, y


@functools.cache
def fitted(
    name: str, n_layers: int = 2, n_hidden: int = 8, epochs: int = 10, **module: object
) -> NeuralNetClassifier | NeuralNetRegressor:
    """Return an estimator trained on a data set, the same one for the same arguments.

    Tests that change it (`compile` does) work on a deep copy.
    """
    torch.manual_seed(0)
    X, y = load(name)
    kind = NeuralNetRegressor if name == "diabetes" else NeuralNetClassifier
    options = {f"module__{key}": value for key, value in module.items()}
    if n_layers > 1:
        options["module__n_hidden_neurons"] = n_hidden
    model = kind(module__n_layers=n_layers, max_epochs=epochs, lr=0.02, **options)
    return model.fit(X, y)


def calibrated_network(
    input_dim: int = 6,
    n_layers: int = 3,
    n_outputs: int = 3,
    *,
    seed: int = 0,
    spread: float = 1.0,
    rows: int = 64,
    **options: object,
) -> tuple[SparseQuantNeuralNetImpl, torch.Tensor]:
    """Return a network with random weights and statistics, in evaluation mode, and random inputs.

    A larger `spread` makes the parameters more extreme.
    """
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    options = {"n_hidden_neurons": 5, **options} if n_layers > 1 else options
    network = SparseQuantNeuralNetImpl(input_dim, n_layers, n_outputs, **options)
    x = torch.randn(rows, input_dim, generator=generator)
    network.calibrate(x)
    with torch.no_grad():
        for parameter in network.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(0.3 * spread * noise)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm1d):
                shape = module.running_mean.shape
                module.running_mean.add_(0.3 * spread * torch.randn(shape, generator=generator))
                module.running_var.mul_(torch.rand(shape, generator=generator) + 0.1)
    return network.eval(), x
