"""Post-processing by name is what torch computes under that name, and never overflows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import nn

from cipherfit.estimators.postprocessing import steps_of_module, steps_of_option
from cipherfit.exceptions import InvalidParameterError
from cipherfit.predictor.postprocessing import FUNCTIONS, Step, before_shares, post_process

MODULES = {
    "softmax": nn.Softmax(dim=1),
    "log_softmax": nn.LogSoftmax(dim=-1),
    "sigmoid": nn.Sigmoid(),
    "tanh": nn.Tanh(),
    "relu": nn.ReLU(),
    "softplus": nn.Softplus(),
    "clip": nn.Hardtanh(-1.5, 0.5),
    "affine": nn.BatchNorm1d(3).eval(),
}
VALUES = arrays(np.float64, (4, 3), elements=st.floats(-800, 800))


@pytest.mark.parametrize("name", MODULES)
@given(values=VALUES)
def test_a_module_becomes_the_step_of_its_name_and_computes_the_same(name, values):
    module = MODULES[name].double()
    if name == "affine":
        with torch.no_grad():
            module.running_mean.copy_(torch.tensor([0.5, -2.0, 3.0]))
            module.running_var.copy_(torch.tensor([2.0, 0.1, 1.0]))
    steps = steps_of_module(nn.Sequential(nn.Dropout(), module, nn.Identity()), 3)
    assert [step.name for step in steps] == [name]
    with torch.no_grad():
        expected = module(torch.from_numpy(values)).numpy()
    np.testing.assert_allclose(post_process(values, steps), expected, rtol=1e-9, atol=1e-12)


def test_functions_without_a_name_stay_torchs():
    class Doubled(nn.Module):
        def forward(self, x):
            return 2 * x

    values = np.arange(6.0).reshape(2, 3)
    assert np.array_equal(post_process(values, steps_of_module(Doubled(), 3)), 2 * values)
    assert np.array_equal(post_process(values, steps_of_option(torch.neg, None)), -values)


@pytest.mark.parametrize(
    ("criterion", "outputs", "expected"),
    [
        (nn.CrossEntropyLoss(), [[0.0, np.log(3)]], [[0.25, 0.75]]),
        (nn.BCEWithLogitsLoss(), [[np.log(3)]], [[0.25, 0.75]]),
        (nn.BCELoss(), [[0.75]], [[0.25, 0.75]]),
        (nn.MSELoss(), [[7.0, -1.0]], [[7.0, -1.0]]),
    ],
)
def test_the_loss_says_how_outputs_become_probabilities(criterion, outputs, expected):
    np.testing.assert_allclose(post_process(outputs, steps_of_option("auto", criterion)), expected)
    assert np.array_equal(post_process(outputs, steps_of_option(None, criterion)), outputs)


def test_what_is_no_function_is_refused():
    with pytest.raises(InvalidParameterError, match="predict_nonlinearity='sofmax'"):
        steps_of_option("sofmax", nn.MSELoss())
    with pytest.raises(InvalidParameterError, match="'sofmax' must be one of affine, clip"):
        Step("sofmax")


@pytest.mark.parametrize("name", sorted(set(FUNCTIONS) - {"affine", "clip", "exp"}))
def test_the_largest_and_smallest_outputs_give_finite_values(name):
    extremes = np.array([[1e4, -1e4, 0.0]])
    assert np.isfinite(Step(name)(extremes)).all()


def test_labels_of_one_class_versus_the_rest_come_from_scores_before_their_probabilities():
    halved = [
        Step("clip", {"low": -1.0, "high": 1.0}),
        Step("affine", {"scale": 0.5, "shift": 0.5}),
    ]
    first = Step("tanh")
    assert before_shares([Step("sigmoid"), Step("shares")]) == []
    assert before_shares([first, *halved, Step("shares")]) == [first]
    for others in ([Step("softmax")], [Step("sigmoid"), Step("two_columns")], [np.negative], []):
        assert before_shares(others) == others
