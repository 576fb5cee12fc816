"""The last layer, solved: what the graph computes, and never worse than it says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from samples import calibrated_network, load
from torch import nn

from cipherfit import SparseQuantNeuralNetImpl, lower
from cipherfit.training.head import (
    head_codes,
    is_all_that_is_trained,
    solve_cross_entropy,
    solve_squared_error,
)

WIDE = {"n_w_bits": 8, "n_a_bits": 8, "n_in_bits": 8, "n_accum_bits": 24}


def linear(name, **options):
    """Return a calibrated network without hidden layers, its inputs and targets."""
    X, y = load(name)
    x = torch.tensor(X)
    is_classes = name != "diabetes"
    n_outputs = int(y.max()) + 1 if is_classes else 1
    network = SparseQuantNeuralNetImpl(X.shape[1], 1, n_outputs, **{**WIDE, **options})
    network.calibrate(x, None if is_classes else torch.tensor(y)[:, None])
    return network, x, y


def assert_graph_is_torch(network, x):
    graph = lower(network.eval())
    with torch.no_grad():
        outputs = network(x.double()).numpy()
    np.testing.assert_allclose(graph.run(x.numpy()), outputs, rtol=1e-12, atol=1e-10)


@pytest.mark.parametrize(
    ("w", "accum"),
    [(1, 9), (1, 40), (2, 12), (3, 9), (3, 12), (8, 9), (8, 12), (8, 40), (16, 17), (16, 40)],
)
def test_the_graph_of_a_solved_layer_is_torch_at_every_mix_of_widths(w, accum):
    n_in_bits = min(8, accum - w)
    widths = {"n_w_bits": w, "n_a_bits": n_in_bits, "n_in_bits": n_in_bits, "n_accum_bits": accum}
    network, x, y = linear("wine", **widths)
    solve_cross_entropy(network, x, y)
    assert_graph_is_torch(network, x)
    assert lower(network).prove().max_accumulator_bits <= accum


def test_the_loss_told_is_torchs_with_weights_of_classes_and_smoothing():
    network, x, y = linear("wine")
    by_class = np.array([1.0, 3.0, 0.5])
    found = solve_cross_entropy(network, x, y, class_weight=by_class, label_smoothing=0.2)
    criterion = nn.CrossEntropyLoss(torch.tensor(by_class), label_smoothing=0.2)
    with torch.no_grad():
        loss = float(criterion(network.eval()(x.double()), torch.tensor(y)))
    # torch divides by the weights of the rows' own classes, ours by what all classes count.
    counted = (0.8 * by_class[y] + 0.2 * by_class.mean()).sum() / by_class[y].sum()
    assert found.rounded * counted == pytest.approx(loss, rel=1e-6)
    assert found.rounded == pytest.approx(found.real, rel=0.01)
    assert found.real < found.constant
    assert found.lost < 0.01


def test_the_squared_error_told_is_that_of_the_outputs_in_their_unit():
    network, x, y = linear("diabetes")
    found = solve_squared_error(network, x, y)
    with torch.no_grad():
        error = float(((network.eval()(x.double())[:, 0].numpy() - y) ** 2).mean() / y.var())
    assert found.rounded == pytest.approx(error, rel=1e-5)
    assert found.constant == pytest.approx(1.0)
    assert found.lost < 0.01


@pytest.mark.parametrize("name", ["wine", "diabetes"])
def test_widths_that_are_too_narrow_are_told_by_what_they_lose(name):
    solve = solve_squared_error if name == "diabetes" else solve_cross_entropy
    lost = [solve(*linear(name, n_w_bits=w)).lost for w in (2, 8)]
    assert lost[0] > 0.02 > 100 * abs(lost[1])


def with_fixed_hidden_layers(**options):
    """Return a network whose hidden layers are random and fixed, inputs, and classes."""
    network, x = calibrated_network(6, 3, 3, rows=300, n_accum_bits=12, n_lookup_bits=4, **options)
    for layer in network.features[:-1]:
        layer.requires_grad_(False)
    with torch.no_grad():
        classes = (x[:, :3] + x[:, 3:]).argmax(dim=1).numpy()
    return network, x, classes


@pytest.mark.parametrize("rounding", ["exact", "approximate"])
def test_codes_at_the_head_are_those_of_the_graph(rounding):
    network, x, _ = with_fixed_hidden_layers(rounding=rounding)
    codes = head_codes(network, x)
    with torch.no_grad():  # a head that shows what comes in
        head = network.linear_layers[-1]
        head.weight.copy_(torch.eye(*head.weight.shape))
        head.log_scale.fill_(0)
        head.settled.fill_(True)
    shown = lower(network).run(x.numpy())
    step, centre = head.input_step, head.bias.detach().numpy()
    expected = (shown - centre) / step + head.max_in_code / 2
    np.testing.assert_allclose(codes[:, : len(centre)], expected, atol=1e-5)
    assert np.ptp(codes[:, : len(centre)], axis=0).any()


def test_a_head_behind_fixed_layers_is_solved_and_nothing_else_changes():
    network, x, classes = with_fixed_hidden_layers()
    assert is_all_that_is_trained(network)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    untrained = (network(x).argmax(dim=1).numpy() == classes).mean()
    found = solve_cross_entropy(network, x, classes)
    assert_graph_is_torch(network, x)
    assert (network(x).argmax(dim=1).numpy() == classes).mean() > untrained + 0.1
    assert found.rounded < found.constant
    head = f"features.{len(network.features) - 1}."
    for name, value in network.state_dict().items():
        written = name.startswith(head) or name.endswith(("in_low", "in_high"))
        assert written or torch.equal(value, before[name]), name


def test_a_network_with_a_hidden_layer_to_train_is_no_head_alone():
    network, _ = calibrated_network(6, 2, 3)
    assert not is_all_that_is_trained(network)
    network, _, _ = linear("iris")
    assert is_all_that_is_trained(network)
    network.linear_layers[-1].weight.requires_grad_(False)
    assert not is_all_that_is_trained(network)


def test_rows_without_weight_count_for_nothing():
    network, x, y = linear("iris")
    rows = (np.arange(len(y)) % 3 > 0).astype(float)
    solve_cross_entropy(network, x, y, sample_weight=rows)
    weighted = lower(network)
    kept = rows > 0
    solve_cross_entropy(network, x[torch.tensor(kept)], y[kept])
    np.testing.assert_allclose(
        weighted.run(x.numpy()), lower(network).run(x.numpy()), rtol=1e-6, atol=1e-6
    )
