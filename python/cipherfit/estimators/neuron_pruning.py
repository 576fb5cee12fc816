"""Structured pruning: remove whole neurons, which is what saves lookups and so encrypted latency.

A neuron's importance is the share of the next layer's variance that it contributes on the training
data: its codes' variance times the squared weights that read it, relative to each reader's variance
(compare Molchanov et al., 2019, arXiv:1906.10771, who estimate the same loss of removal by
gradients). The least important go, and the network trains on from what is left.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
import torch
from sklearn.base import clone, is_classifier
from sklearn.model_selection import train_test_split
from torch import Tensor

from cipherfit.estimators.protocol import Estimator, uncompiled_copy, with_module
from cipherfit.exceptions import InvalidParameterError
from cipherfit.parameters import integer, real
from cipherfit.training.linear import QuantLinear
from cipherfit.training.network import BatchNorm, SparseQuantNeuralNetImpl
from cipherfit.training.quantizers import ActivationQuantizer

#: Part of the rows that the search for the smallest network within a tolerance holds out.
_HELD_OUT = 0.2


def prune_neurons(
    model: Estimator,
    X: Any,
    y: Any,
    fraction: float | None = None,
    *,
    n_lookups: int | None = None,
    tolerance: float | None = None,
    **fit_params: Any,
) -> Any:
    """Return a smaller estimator: parameters as of the estimators' `prune`."""
    network = model.module_
    if not isinstance(network, SparseQuantNeuralNetImpl) or len(network.encrypted_layers) < 2:
        raise InvalidParameterError(
            "prune needs a cipherfit network with at least one hidden layer, which is not the "
            "client's: its neurons are no lookups"
        )
    if sum(given is not None for given in (fraction, n_lookups, tolerance)) != 1:
        raise InvalidParameterError("give exactly one of fraction, n_lookups and tolerance")
    if tolerance is not None:
        n_kept = _smallest_within(model, X, y, real("tolerance", tolerance), fit_params)
    elif n_lookups is not None:
        n_kept = integer(
            "n_lookups", n_lookups, len(network.encrypted_layers) - 1,
            what="number of lookups", why="one per encrypted hidden layer",
        )  # fmt: skip
    else:
        before = model.predictor_.graph.n_lookups
        n_kept = before - int(real("fraction", fraction, 0.0, 1.0) * before)
    return _pruned_to(model, X, y, n_kept, fit_params)


@torch.no_grad()
def neuron_importance(network: SparseQuantNeuralNetImpl, x: Tensor) -> list[Tensor]:
    """Return the importance of every neuron of each encrypted hidden layer.

    Parameters
    ----------
    network : SparseQuantNeuralNetImpl
        A trained network.
    x : torch.Tensor of shape (n_samples, input_dim)
        Representative inputs.

    Returns
    -------
    list of torch.Tensor of shape (n_neurons,)
        Not negative; about 1 in sum over a layer, times its number of readers.
    """
    importances, values = [], x.double()
    exact = deepcopy(network).double().eval()
    for module in exact.features:
        outputs = module(values)
        if isinstance(module, QuantLinear) and module in exact.encrypted_layers[1:]:
            # A reader that never varies is no reason to keep what it reads.
            spread = outputs.var(dim=0, unbiased=False)
            real = module.weight_codes() * (module.input_step * module.log_scale.exp())[:, None]
            share = torch.where(spread > 0, 1 / spread, torch.zeros_like(spread)) @ real.square()
            importances.append(share * values.var(dim=0, unbiased=False))
        values = outputs
    return importances


def _pruned_to(model: Estimator, X: Any, y: Any, n_kept: int, fit_params: dict[str, Any]) -> Any:
    """Return a copy with at most so many lookups, trained on."""
    network = model.module_
    if model.predictor_.graph.n_lookups <= n_kept:
        return uncompiled_copy(model)
    features = torch.as_tensor(
        model.predictor_.features.check(X), device=next(network.parameters()).device
    )
    kept = _most_important(neuron_importance(network, features), n_kept)
    widths = network.hidden_widths[: network.n_client_layers] + [len(neurons) for neurons in kept]
    n_learned = network.n_client_layers - len(network.random_layers)
    of_client = [torch.arange(layer.out_features) for layer in network.linear_layers[:n_learned]]
    state = _kept_state(network, of_client + kept)
    smaller = with_module(model, state, n_hidden_neurons=widths)
    return smaller.partial_fit(X, y, **fit_params)


def _most_important(importances: list[Tensor], n_kept: int) -> list[Tensor]:
    """Return the neurons that stay, in their order: in every layer its best, then the best of all.

    A layer's importances count relative to their sum, so that layers compare.
    """
    scores = [values / values.sum().clamp(min=1e-30) for values in importances]
    for values in scores:
        values[values.argmax()] += 1.0
    # Stable, so that ties fall to the same neurons everywhere.
    order = torch.cat(scores).argsort(descending=True, stable=True)[: max(n_kept, len(scores))]
    chosen = torch.zeros(sum(map(len, scores)), dtype=torch.bool, device=order.device)
    chosen[order] = True
    parts = torch.split(chosen, [len(values) for values in scores])
    return [part.nonzero()[:, 0] for part in parts]


def _kept_state(network: SparseQuantNeuralNetImpl, kept: list[Tensor]) -> dict[str, Tensor]:
    """Return the state of the network that has only the neurons kept, of each layer that trains."""
    state = {name: value.clone() for name, value in network.state_dict().items()}
    hidden = iter(kept)
    inputs: Tensor | None = None
    neurons: Tensor | None = None
    for name, module in network.features.named_children():
        prefix = f"features.{name}."
        if isinstance(module, QuantLinear):
            neurons, inputs = next(hidden, None), neurons
            for part in ("in_low", "in_high", "weight"):
                if inputs is not None:
                    state[prefix + part] = state[prefix + part][..., inputs]
        if isinstance(module, (QuantLinear, BatchNorm, ActivationQuantizer)) and (
            neurons is not None
        ):
            rows = ("weight", "log_scale", "bias", "running_mean", "running_var", "log_step")
            for part in (*rows, "offset"):
                if prefix + part in state:
                    state[prefix + part] = state[prefix + part][neurons]
    return state


def _smallest_within(
    model: Estimator, X: Any, y: Any, tolerance: float, fit_params: dict[str, Any]
) -> int:
    """Return the least number of lookups whose held-out score is within a tolerance.

    The model itself has seen every row, so the search trains its equal on four fifths of them.
    """
    if fit_params:
        raise InvalidParameterError(
            f"prune(tolerance=...) splits the rows itself and takes no {', '.join(fit_params)}"
        )
    features = model.predictor_.features.check(X)
    labels = np.asarray(y)
    seen, unseen, y_seen, y_unseen = train_test_split(
        features,
        labels,
        test_size=_HELD_OUT,
        random_state=0,
        stratify=labels if is_classifier(model) and _splits(labels) else None,
    )
    whole = clone(model).fit(seen, y_seen)
    least = whole.score(unseen, y_unseen) - tolerance
    low, high = len(model.module_.encrypted_layers) - 1, int(whole.predictor_.graph.n_lookups)
    while low < high:
        middle = (low + high) // 2
        if _pruned_to(whole, seen, y_seen, middle, {}).score(unseen, y_unseen) >= least:
            high = middle
        else:
            low = middle + 1
    return high


def _splits(labels: Any) -> bool:
    """Tell whether every class has rows enough to be on both sides of a split."""
    _, counts = np.unique(labels, return_counts=True)
    return bool(counts.min() >= 2 and len(labels) * _HELD_OUT >= len(counts))
