"""A trained float module of one's own is quantized from data, proven and run like the rest."""

from __future__ import annotations

import numpy as np
import pytest
import skorch
import torch
from samples import load
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.nn import functional as F  # noqa: N812

from cipherfit import QuantizedSkorchEstimatorMixin, lower
from cipherfit.exceptions import UnsupportedModuleError
from cipherfit.training.post_training import quantize_module


class Deep(nn.Module):
    """Batch normalization of inputs, functions and modules, and a softmax at the end."""

    def __init__(self, input_dim=4, width=12, n_outputs=3):
        super().__init__()
        self.norm = nn.BatchNorm1d(input_dim)
        self.first = nn.Sequential(nn.Linear(input_dim, width), nn.BatchNorm1d(width))
        self.drop = nn.Dropout(0.1)
        self.second = nn.Linear(width, width)
        self.act = nn.Sigmoid()
        self.last = nn.Linear(width, n_outputs)

    def forward(self, x):
        x = F.relu(self.first(self.norm(torch.flatten(x, 1))))
        x = self.act(self.second(self.drop(x)))
        return F.softmax(self.last(x), dim=1)


class Plain(nn.Module):
    def __init__(self, input_dim=4, width=12, n_outputs=1):
        super().__init__()
        layers = nn.Linear(input_dim, width), nn.Tanh(), nn.Linear(width, n_outputs)
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        return self.layers(x)


class Classifier(QuantizedSkorchEstimatorMixin, skorch.NeuralNetClassifier):
    """A custom classifier, as its user would write it."""


class Regressor(QuantizedSkorchEstimatorMixin, skorch.NeuralNetRegressor):
    """A custom regressor, as its user would write it."""


OPTIONS = {
    "optimizer": torch.optim.Adam,
    "lr": 0.01,
    "max_epochs": 40,
    "batch_size": 32,
    "iterator_train__shuffle": True,
    "train_split": None,
    "verbose": 0,
}


def trained(module, X, y, steps=300):
    torch.manual_seed(0)
    features, labels = torch.tensor(X, dtype=torch.float32), torch.tensor(y)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
    for _ in range(steps):
        rows = torch.randint(0, len(features), (64,))
        optimizer.zero_grad()
        F.nll_loss(torch.log(module(features[rows]) + 1e-9), labels[rows]).backward()
        optimizer.step()
    return module.eval(), features


@pytest.mark.parametrize(("n_bits", "agreement"), [(3, 0.85), (4, 0.85), (6, 0.92), (16, 0.99)])
@pytest.mark.parametrize("name", ["iris", "wine", "digits"])
def test_more_bits_come_closer_to_the_float_module(name, n_bits, agreement):
    X, y = load(name)
    module, features = trained(Deep(X.shape[1], 16, len(np.unique(y))), X, y)
    network, epilogue = quantize_module(
        module, features, n_bits=n_bits, n_accum_bits=max(16, 2 * n_bits + 8)
    )
    outputs = epilogue(torch.from_numpy(lower(network).run(X.astype(np.float32)))).numpy()
    assert np.allclose(outputs.sum(axis=1), 1)
    with torch.no_grad():
        expected = module(features).numpy()
    assert (outputs.argmax(axis=1) == expected.argmax(axis=1)).mean() >= agreement


def test_the_graph_equals_the_quantized_network_on_every_row():
    X, y = load("wine")
    module, features = trained(Deep(13, 16, 3), X, y)
    network, _ = quantize_module(module, features, n_bits=4, n_accum_bits=12)
    graph = lower(network)
    assert graph.prove().max_accumulator_bits <= 12
    outputs = graph.run(X.astype(np.float32))
    assert np.allclose(network(features.double()).numpy(), outputs, rtol=1e-12, atol=1e-12)


def test_the_module_itself_stays_as_it_is():
    X, y = load("iris")
    module, features = trained(Deep(), X, y)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    quantize_module(module, features, n_bits=3, n_accum_bits=10)
    after = module.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


class Residual(Plain):
    def forward(self, x):
        return self.layers(x) + x


class SoftmaxInside(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(4, 4), nn.Softmax(dim=1), nn.Linear(4, 3))


class ActivationFirst(nn.Sequential):
    def __init__(self):
        super().__init__(nn.ReLU(), nn.Linear(4, 3))


class Branching(Plain):
    def forward(self, x):
        return self.layers(x) if x.sum() > 0 else x


class NothingLinear(nn.Sequential):
    def __init__(self):
        super().__init__(nn.ReLU())


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Residual, "used by several layers"),
        (SoftmaxInside, "layer 1 is not elementwise"),
        (ActivationFirst, "layer 0 comes before the first linear layer"),
        (Branching, "can't be traced"),
        (NothingLinear, "comes before the first linear layer"),
    ],
)
def test_a_module_that_is_no_chain_is_refused_by_the_name_of_its_layer(module, message):
    with pytest.raises(UnsupportedModuleError, match=message):
        quantize_module(module(), torch.rand(10, 4), n_bits=3, n_accum_bits=8)


def test_a_custom_classifier_works_in_a_pipeline_and_a_grid_search():
    X, y = load("iris")
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    torch.manual_seed(0)
    model = Classifier(Deep, criterion=nn.NLLLoss, **OPTIONS)
    pipeline = make_pipeline(StandardScaler(), model).fit(X, names)
    assert pipeline.score(X, names) > 0.9
    assert model.n_bits_quant == 4
    search = GridSearchCV(
        make_pipeline(StandardScaler(), clone(model)),
        {"classifier__module__width": [4, 12], "classifier__max_epochs": [20]},
        cv=2,
    )
    assert search.fit(X, names).best_score_ > 0.7


def test_n_bits_quant_may_be_chosen_by_the_subclass():
    class Coarse(Classifier):
        n_bits_quant = 2

    X, y = load("iris")
    model = Coarse(Deep, criterion=nn.NLLLoss, **OPTIONS).fit(X, y)
    assert model.graph_.n_bits == 2


@pytest.mark.fhe
def test_a_custom_regressor_answers_on_encrypted_rows_as_in_clear():
    X, y = load("diabetes")
    torch.manual_seed(0)
    model = Regressor(Plain, module__input_dim=10, **OPTIONS)
    model.fit(20 * X, (y - y.mean()) / y.std())
    assert model.score(20 * X, (y - y.mean()) / y.std()) > 0.35
    model.compile(p_error=1e-6)
    # Far apart, so that no other answer would do.
    ordered = 20 * X[np.argsort(model.predict(20 * X).ravel())]
    rows = ordered[[0, 1, -2, -1]]
    assert np.ptp(model.predict(rows)) > 2
    encrypted = model.predict(rows, execute_in_fhe=True)
    # Approximate rounding moves a hidden code by one step, of some fifteen, now and then.
    assert np.abs(encrypted - model.predict(rows)).max() < 0.5


def test_fit_benchmark_of_a_custom_module_gives_the_trained_float_module():
    X, y = load("iris")
    torch.manual_seed(0)
    model, net = Classifier(Deep, criterion=nn.NLLLoss, **OPTIONS).fit_benchmark(X, y)
    assert type(net) is skorch.NeuralNetClassifier
    assert (net.predict(X.astype(np.float32)) == model.predict(X)).mean() > 0.9
