"""Convolutions and pooling are the sparse layers that torch computes, on integers to the last."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import skorch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import load
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from torch import nn
from torch.nn import functional as F  # noqa: N812

from cipherfit import QuantizedSkorchEstimatorMixin
from cipherfit.exceptions import InvalidInputError, UnsupportedModuleError
from cipherfit.training.aware import aware_network
from cipherfit.training.lowering import lower
from cipherfit.training.post_training import quantize_module
from cipherfit.training.tracing import check_supported, trace
from cipherfit.training.widths import NamedWidths


@st.composite
def convolutions(draw):
    """A convolution of integers in one or two dimensions, and the shape of a row."""
    n_dims = draw(st.sampled_from([1, 2]))
    groups = draw(st.sampled_from([1, 2]))
    channels, outputs = (groups * draw(st.integers(1, 2)) for _ in range(2))
    kernel = tuple(draw(st.integers(1, 3)) for _ in range(n_dims))
    dilation = tuple(draw(st.integers(1, 2)) for _ in range(n_dims))
    stride = tuple(draw(st.integers(1, 2)) for _ in range(n_dims))
    padding = tuple(draw(st.integers(0, 2)) for _ in range(n_dims))
    mode = draw(st.sampled_from(["zeros", "circular", "reflect"]))
    size = tuple(3 + d * (k - 1) for d, k in zip(dilation, kernel, strict=True))
    kind = nn.Conv1d if n_dims == 1 else nn.Conv2d
    module = kind(
        channels, outputs, kernel, stride, padding, dilation, groups,
        draw(st.booleans()), padding_mode=mode,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randint(-7, 8, parameter.shape, generator=generator))
    return module, (channels, *size)


@settings(max_examples=60)
@given(convolutions())
def test_a_convolution_is_the_matrix_that_torch_multiplies_by(drawn):
    module, shape = drawn
    chain = trace(nn.Sequential(module, nn.Flatten()), int(np.prod(shape)), shape)
    assert len(chain.layers) == 1
    rows = torch.randint(0, 16, (20, *shape), generator=torch.Generator().manual_seed(0)).double()
    layer = chain.layers[0]
    computed = F.linear(rows.flatten(1), layer.weight, layer.bias)
    assert torch.equal(computed, module.double()(rows).flatten(1))


POOLS = {
    "average": (nn.AvgPool2d(2), 2.0**2),
    "overlapping": (nn.AvgPool2d(4, 2, padding=2), 4.0**2),
    "adaptive": (nn.AdaptiveAvgPool2d((2, 4)), 4.0 * 2),
    "whole": (nn.AdaptiveAvgPool2d(1), 8.0**2),
}


@pytest.mark.parametrize("name", POOLS)
def test_average_pooling_is_a_sum_of_whole_numbers(name):
    pool, area = POOLS[name]
    chain = trace(nn.Sequential(pool, nn.Flatten()), 128, (2, 8, 8))
    rows = torch.randint(0, 16, (20, 2, 8, 8), generator=torch.Generator().manual_seed(0)).double()
    weight = chain.layers[0].weight * area
    assert torch.equal(weight, weight.round())
    assert torch.equal(rows.flatten(1) @ weight.T, (pool(rows) * area).flatten(1))


def cnn(activation=nn.ReLU, *, pool=nn.AvgPool2d):
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), activation(), pool(2),
        nn.Conv2d(3, 4, 3), activation(), nn.Dropout(0.1), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(4, 10),
    )  # fmt: skip


def test_pooling_and_batch_normalization_are_no_layers_of_their_own():
    chain = trace(cnn(), 64, (1, 8, 8))
    assert [layer.name for layer in chain.layers] == ["0", "3 and 4", "7 and 9"]
    assert [tuple(layer.weight.shape) for layer in chain.layers] == [(192, 64), (16, 192), (10, 16)]


def test_linear_layers_without_anything_between_them_are_one():
    two = nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3), nn.Dropout(), nn.Linear(3, 4)).eval()
    chain = trace(two, 5)
    assert [layer.name for layer in chain.layers] == ["0 and 3"]
    rows = torch.randn(9, 5)
    computed = F.linear(rows.double(), chain.layers[0].weight, chain.layers[0].bias)
    torch.testing.assert_close(computed.float(), two(rows))


class Meant(nn.Module):
    """Pools by a mean over rows and columns, as many networks' forward does."""

    def __init__(self):
        super().__init__()
        self.convolutions = cnn()[:7]
        self.last = nn.Linear(4, 10)

    def forward(self, x):
        return self.last(self.convolutions(x.flip(3)).mean([2, 3]))


def test_a_mean_over_positions_is_average_pooling_and_saves_the_same_lookups():
    torch.manual_seed(0)
    meant = Meant().eval()
    pooled = nn.Sequential(*meant.convolutions, nn.AdaptiveAvgPool2d(1), nn.Flatten(), meant.last)
    rows = torch.tensor(load("digits")[0][:100])
    mirrored = rows.reshape(-1, 8, 8).flip(2).flatten(1)
    shape = (1, 8, 8)
    for quantized in (
        lambda module, x: quantize_module(module, x, n_bits=5, n_accum_bits=16, shape=shape)[0],
        lambda module, x: aware_network(module, x, NamedWidths(), n_bits=5, shape=shape),
    ):
        one, other = lower(quantized(meant, rows)), lower(quantized(pooled, mirrored))
        assert one.n_lookups == other.n_lookups
        np.testing.assert_array_equal(one.run(rows.numpy()), other.run(mirrored.numpy()))


@pytest.mark.parametrize("activation", [nn.ReLU, nn.SiLU])
def test_the_integer_graph_of_a_convolutional_network_equals_the_quantized_network(activation):
    torch.manual_seed(0)
    X, _ = load("digits")
    rows = torch.tensor(X[:100])
    module = cnn(activation).eval()
    network, epilogue = quantize_module(module, rows, n_bits=5, n_accum_bits=16, shape=(1, 8, 8))
    assert len(epilogue) == 0
    graph = lower(network)
    outputs = graph.run(rows.numpy())
    np.testing.assert_allclose(network(rows.double()).numpy(), outputs, rtol=1e-9, atol=1e-9)
    with torch.no_grad():
        real = module(rows.reshape(-1, 1, 8, 8)).numpy()
    assert np.corrcoef(real.ravel(), outputs.ravel())[0, 1] > 0.98


REFUSED = {
    "largest": (lambda: cnn(pool=nn.MaxPool2d), r"layer 3 is not elementwise.*use average pooling"),
    "group norm": (
        lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.GroupNorm(1, 2), nn.Conv2d(2, 1, 3)),
        "layer 1 is not elementwise.*use batch normalization",
    ),
    "other shape": (
        lambda: nn.Sequential(nn.Conv2d(3, 2, 3)),
        r"forward fails on rows of shape \(1, 8, 8\), in layer 0",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_chain_of_convolutions_says_what_to_use_instead(name):
    module, message = REFUSED[name]
    with pytest.raises(UnsupportedModuleError, match=message):
        check_supported(module(), 64, (1, 8, 8))


class Skipping(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 1, 3, padding=1), nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x):
        h = self.first(x).relu()
        return self.second(h) + h


def test_a_residual_connection_is_refused_by_name():
    with pytest.raises(UnsupportedModuleError, match=r"add joins .* only chains can be lowered"):
        check_supported(Skipping(), 64, (1, 8, 8))


class Own(QuantizedSkorchEstimatorMixin, skorch.NeuralNetClassifier):
    n_bits_quant = 5


def own(module, **options):
    options = {"max_epochs": 6, "lr": 0.02, **options}
    return Own(
        module, criterion=nn.CrossEntropyLoss, optimizer=torch.optim.Adam, batch_size=64,
        iterator_train__shuffle=True, train_split=None, verbose=0, **options,
    )  # fmt: skip


def test_images_go_through_an_estimator_in_their_shape():
    torch.manual_seed(0)
    X, y = load("digits")
    images = X.reshape(-1, 1, 8, 8)
    model = own(cnn()).fit(images, y)
    assert model.row_shape_ == (1, 8, 8)
    assert model.n_features_in_ == 64
    score = model.score(images, y)
    assert score > 0.7
    flat = X.copy()
    assert np.array_equal(model.predict(images), model.predict(flat))
    assert np.array_equal(model.predict_proba(images), model.predictor_.predict_proba(images))
    _, net = own(cnn(), max_epochs=1).fit_benchmark(images, y)
    assert net.predict(images).shape == y.shape
    for wrong in (X.reshape(-1, 8, 8, 1), X.reshape(-1, 8, 8)):
        with pytest.raises(InvalidInputError, match=r"trained on rows of shape \(1, 8, 8\)"):
            model.predict(wrong)
    with pytest.raises(InvalidInputError, match="expecting 64 features"):
        model.predict(images[..., 1:].reshape(len(X), -1))
    reshape = FunctionTransformer(lambda rows: rows.reshape(-1, 1, 8, 8))
    whole = make_pipeline(reshape, own(cnn(), max_epochs=1)).fit(X, y)
    assert whole.predict(X).shape == y.shape


def test_containers_of_images_train_the_same_network():
    X, y = load("digits")
    images = X[:200].reshape(-1, 1, 8, 8)
    graphs = []
    for given_X, given_y in [
        (images, y[:200]),
        (torch.from_numpy(images), y[:200]),
        (images.tolist(), y[:200]),
        (skorch.dataset.Dataset(images, y[:200]), None),
    ]:
        torch.manual_seed(0)
        graphs.append(own(cnn(), max_epochs=1).fit(given_X, given_y).graph_)
    assert all(one == other for one, other in itertools.pairwise(graphs))


def test_a_module_that_makes_the_shape_itself_takes_flat_rows():
    torch.manual_seed(0)
    X, y = load("digits")
    model = own(nn.Sequential(nn.Unflatten(1, (1, 8, 8)), cnn()), max_epochs=1).fit(X, y)
    assert not hasattr(model, "row_shape_")
    with pytest.raises(InvalidInputError, match="trained on flat rows"):
        model.predict(X.reshape(-1, 1, 8, 8))


@pytest.mark.fhe
def test_encrypted_images_get_the_classes_of_the_clear_ones():
    torch.manual_seed(0)
    X, y = load("digits")
    images = X.reshape(-1, 1, 8, 8)
    small = nn.Sequential(
        nn.AvgPool2d(2), nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 10)
    )
    model = own(small, max_epochs=3).fit(images, y)
    assert model.graph_.n_lookups <= 8
    model.compile(p_error=1e-9)
    assert np.array_equal(model.predict(images[:2], fhe="execute"), model.predict(images[:2]))
