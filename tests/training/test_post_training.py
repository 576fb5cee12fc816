"""A trained float module of one's own is quantized from data, proven and run like the rest."""

from __future__ import annotations

import numpy as np
import pytest
import skorch
import torch
from samples import load
from sklearn.base import clone
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.nn import functional as F  # noqa: N812

from cipherfit import QuantizedSkorchEstimatorMixin, lower
from cipherfit.exceptions import ProofError, UnsupportedModuleError
from cipherfit.training import post_training
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


class Hidden(nn.Module):
    """An elementwise function of one's own between two linear layers."""

    def __init__(self, function, width=12):
        super().__init__()
        self.first, self.last = nn.Linear(4, width), nn.Linear(width, 2)
        self.function = function

    def forward(self, X, mask=None, **kwargs):
        return 3 - 4 * torch.sigmoid(self.last(self.function(self.first(X.float()))))


@pytest.mark.parametrize(
    "function",
    [
        lambda z: 0.5 * F.relu(z),
        lambda z: 1 - torch.exp(-F.relu(z)),
        lambda z: torch.clamp(z, 0, 6),
        lambda z: z / 2,
        lambda z: z**2,
        lambda z: torch.where(z > 0, z, 0.1 * z),
        lambda z: F.relu(z) + 0.1 * z,
        lambda z: z * torch.sigmoid(z),
        nn.PReLU(12),
        nn.BatchNorm1d(12, momentum=None),
        nn.ReLU(inplace=True),
    ],
)
@pytest.mark.parametrize("n_bits", [8, 12])
def test_an_elementwise_function_of_ones_own_is_lowered_as_a_whole(function, n_bits):
    X, _ = load("iris")
    features = torch.tensor(X - X.mean(axis=0))
    module = Hidden(function)
    module.train()(features)
    with torch.no_grad():
        expected = module.eval()(features).numpy()
    network, epilogue = quantize_module(
        module, features, n_bits=n_bits, n_accum_bits=2 * n_bits + 8
    )
    graph = lower(network)
    assert graph.n_lookups <= 12
    outputs = epilogue(torch.from_numpy(graph.run(features.numpy()))).numpy()
    assert r2_score(expected, outputs) > 0.99


def test_activations_that_are_not_defined_everywhere_are_refused_by_name():
    features = torch.linspace(-1, 1, 40).repeat(4, 1).T
    module = Hidden(lambda z: torch.sqrt(z))
    with pytest.raises(UnsupportedModuleError, match="what follows layer first gives NaN"):
        quantize_module(module, features, n_bits=4, n_accum_bits=16)
    with torch.no_grad():
        # Features that are never large together, as the proof has to assume they might be.
        features = torch.eye(4).repeat(10, 1)
        module.first.weight.fill_(-1)
        module.first.bias.fill_(1.5)
    with pytest.raises(UnsupportedModuleError, match="is NaN for inputs that neuron 0 can get"):
        lower(quantize_module(module, features, n_bits=4, n_accum_bits=16)[0])


def test_what_only_another_neuron_could_get_need_not_be_defined():
    torch.manual_seed(0)
    features = torch.rand(200, 4)
    # The table of the second neuron is the longer one, and its end is out of the first one's reach.
    module = Hidden(lambda z: torch.sqrt(torch.tensor([20.0, 60.0]) - z), width=2)
    with torch.no_grad():
        module.first.weight.copy_(torch.tensor([[10.0, 1.0, 1.0, 1.0], [1.0] * 4]))
    graph = lower(quantize_module(module, features, n_bits=4, n_accum_bits=16)[0])
    first, second = graph.to_dict()["layers"][1]["tables"]
    assert len(first) < len(second)


class Squeezed(Plain):
    def forward(self, x):
        return self.layers(x).squeeze(-1)


@pytest.mark.parametrize("weighted", [False, True])
def test_a_regressor_whose_module_ends_with_squeeze_trains_as_one_that_does_not(weighted):
    X, y = load("diabetes")
    y = ((y - y.mean()) / y.std()).astype(np.float32)
    weights = {"sample_weight": np.ones(len(y))} if weighted else {}
    predictions = []
    for module in (Plain, Squeezed):
        torch.manual_seed(0)
        model = Regressor(module, module__input_dim=10, **{**OPTIONS, "max_epochs": 5})
        predictions.append(model.fit(20 * X, y, **weights).predict(20 * X))
    assert predictions[1].shape == y.shape
    assert np.array_equal(*predictions)


class Guide(Deep):
    """A forward as skorch's guide writes it."""

    def forward(self, X, mask=None, **kwargs):
        return super().forward(X.to(torch.float32).view(X.size(0), -1))


def test_a_forward_as_skorchs_guide_writes_it_trains_to_the_same_network():
    X, y = load("iris")
    graphs = []
    for module in (Deep, Guide):
        torch.manual_seed(0)
        model = Classifier(module, criterion=nn.NLLLoss, **{**OPTIONS, "max_epochs": 3})
        graphs.append(model.fit(X, y).graph_)
    assert graphs[0] == graphs[1]
    assert [step.name for step in model.predictor_.post_processing] == ["softmax"]


class BatchStatistics(nn.Sequential):
    def __init__(self):
        norm = nn.BatchNorm1d(8, track_running_stats=False)
        super().__init__(nn.Linear(4, 8), norm, nn.ReLU(), nn.Linear(8, 3))


class Noisy(Deep):
    def forward(self, x):
        return super().forward(x + torch.randn_like(x))


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Residual, "used by several layers"),
        (SoftmaxInside, "layer 1 is not elementwise"),
        (ActivationFirst, "layer 0 comes before the first linear layer"),
        (Branching, "can't be traced"),
        (BatchStatistics, "layer 1 makes a row's output depend on the other rows"),
        (Noisy, "layer randn_like is random"),
    ],
)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_what_is_not_supported_is_refused_before_the_first_epoch(module, message, method):
    X, y = load("iris")
    model = Classifier(module, criterion=nn.CrossEntropyLoss, **OPTIONS)
    with pytest.raises(UnsupportedModuleError, match=message):
        getattr(model, method)(X, y)
    assert len(model.history) == 0


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


def test_of_many_rows_layers_are_fitted_to_some(monkeypatch):
    seen = []
    fit = post_training._quantize_linear

    def watched(weight, codes, real, *widths):
        seen.append(len(codes))
        return fit(weight, codes, real, *widths)

    monkeypatch.setattr(post_training, "_MOST_ROWS", 60)
    monkeypatch.setattr(post_training, "_quantize_linear", watched)
    X, y = load("iris")
    torch.manual_seed(0)
    fitted = Classifier(Plain(n_outputs=3), criterion=nn.CrossEntropyLoss, **OPTIONS)
    for weights in (None, np.where(np.arange(len(y)) % 3 == 0, 0.01, 1)):
        seen.clear()
        fitted.fit(X, y, sample_weight=weights)
        assert seen == [50, 50]
        assert fitted.score(X, y) > 0.9


def test_layers_that_do_not_fit_are_told_or_refused_with_the_bits_they_need():
    torch.manual_seed(0)
    module, x = nn.Sequential(nn.Linear(40, 3), nn.ReLU(), nn.Linear(3, 2)), torch.rand(90, 40)
    told = []
    quantize_module(module, x, n_bits=4, n_accum_bits=8, on_misfit=told.append)
    assert [each.layer for each in told] == ["0"]
    needed = told[0].bits_needed
    assert 0 < told[0].n_pruned < told[0].n_weights <= 120
    for n_bits in (needed, needed - 1):
        told.clear()
        quantize_module(module, x, n_bits=4, n_accum_bits=n_bits, on_misfit=told.append)
        assert len(told) == (n_bits < needed)
    network, _ = quantize_module(module, x, n_bits=4, n_accum_bits=needed, prunes=False)
    assert lower(network).prove().max_accumulator_bits <= needed
    with pytest.raises(ProofError, match=f"layer 0 need {needed} bits, and have at most 8"):
        quantize_module(module, x, n_bits=4, n_accum_bits=8, prunes=False)
