"""Which functions may follow a neuron: those of one number, and no others."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cipherfit.exceptions import InvalidParameterError
from cipherfit.training.activations import build_activation, is_elementwise


class Negated(nn.ReLU):
    def forward(self, x):
        return -super().forward(x)


class Steep(nn.LeakyReLU):
    def __init__(self):
        super().__init__(negative_slope=0.5)


@pytest.mark.parametrize("kind", [nn.ReLU, nn.PReLU, nn.GELU, nn.Sigmoid, Negated, Steep])
def test_a_class_of_elementwise_functions_is_built(kind):
    activation = build_activation(kind)
    assert type(activation) is kind
    assert activation.training
    assert build_activation(kind) is not activation


class Summed(nn.Module):
    def forward(self, x):
        return x + x.sum(dim=-1, keepdim=True)


class AcrossRows(nn.Module):
    def forward(self, x):
        return x - x[:1]


class ByPlace(nn.Module):
    """Elementwise, but another function in every column."""

    def forward(self, x):
        return x * torch.arange(1, x.shape[1] + 1)


class Widened(nn.Module):
    def forward(self, x):
        return torch.cat([x, x], dim=1)


class Pair(nn.Module):
    def forward(self, x):
        return x, x


class Failing(nn.Module):
    def forward(self, x):
        raise RuntimeError("no")


NOT_ELEMENTWISE = [nn.Softmax, Summed, AcrossRows, ByPlace, Widened, Pair, Failing]


@pytest.mark.filterwarnings("ignore:Implicit dimension choice")
@pytest.mark.parametrize("kind", NOT_ELEMENTWISE)
def test_a_function_of_more_than_its_own_input_is_refused_by_name(kind):
    assert not is_elementwise(kind())
    with pytest.raises(InvalidParameterError, match=f"{kind.__name__} is not elementwise"):
        build_activation(kind)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (nn.Threshold, "Threshold can't be built without arguments"),
        ("relu", "'relu' can't be built"),
        (lambda: torch.relu, "gives a builtin_function_or_method; a torch.nn.Module"),
    ],
)
def test_what_gives_no_module_is_refused_with_the_reason(given, message):
    with pytest.raises(InvalidParameterError, match=message):
        build_activation(given)


@pytest.mark.parametrize("training", [True, False])
def test_a_look_at_an_activation_leaves_its_mode_and_parameters(training):
    activation = nn.PReLU().train(training)
    assert is_elementwise(activation)
    assert activation.training is training
    assert activation.weight.grad is None
    assert not is_elementwise(Failing().train(training))


def test_what_is_random_in_training_alone_counts_as_it_is_in_evaluation():
    assert is_elementwise(nn.Dropout(0.5))
    assert is_elementwise(nn.RReLU())
