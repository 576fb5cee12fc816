"""From whatever module was trained to the integer graph that computes the same."""

from __future__ import annotations

import copy
from collections.abc import Callable

from torch import Tensor, nn

from cipherfit._core import IntegerGraph
from cipherfit.exceptions import InvalidParameterError
from cipherfit.limits import MAX_LOOKUP_BITS
from cipherfit.training.aware import AwareNetwork
from cipherfit.training.lowering import lower
from cipherfit.training.network import QuantNetwork, SparseQuantNeuralNetImpl
from cipherfit.training.post_training import Misfit, quantize_module
from cipherfit.training.ranges import Relevance


def integer_graph(
    module: nn.Module,
    features: Tensor | None,
    n_bits: int,
    by: Relevance | None = None,
    *,
    shape: tuple[int, ...] | None = None,
    n_w_bits: int | None = None,
    n_in_bits: int | None = None,
    n_accum_bits: int | None = None,
    on_misfit: Callable[[Misfit], None] | None = None,
) -> tuple[IntegerGraph, nn.Sequential]:
    """Return a trained module's graph, and what follows it on the client.

    Parameters
    ----------
    module : nn.Module
        A `QuantNetwork`, which is lowered as it is, or a float module, which is quantized first.
    features : torch.Tensor of shape (n_samples, n_features) or None
        Rows to quantize a float module by.
    n_bits : int
        Bits of its activations. An attribute `n_accum_bits` of the module says how many its
        accumulators may have, where it is not given.
    by : Relevance, optional
        Targets and weights of the rows.
    shape : tuple of int, optional
        What shape of a row a float module gets. Default: (n_features,).
    n_w_bits, n_in_bits, n_accum_bits : int, optional
        Bits of a float module's weights and inputs (default: `n_bits`) and accumulators.
    on_misfit : callable, optional
        What is told of each layer of a float module that is pruned to fit.

    Returns
    -------
    graph : IntegerGraph
        The proven network.
    epilogue : nn.Sequential
        Modules from its outputs on, such as a softmax; empty behind cipherfit's own networks.

    Raises
    ------
    InvalidParameterError
        If a float module comes without rows.
    """
    module.eval()
    if isinstance(module, SparseQuantNeuralNetImpl):
        module.enable_pruning()
        module.make_pruning_permanent()
    if isinstance(module, AwareNetwork):
        # It runs on the client, wherever the network was trained.
        return lower(module), copy.deepcopy(module.epilogue).cpu()
    if isinstance(module, QuantNetwork):
        return lower(module), nn.Sequential()
    if features is None:
        raise InvalidParameterError(
            f"{type(module).__name__} is quantized by data: give the rows that it was trained on"
        )
    # The widest that compiles: pruning after training costs more accuracy than it saves.
    widest = max(MAX_LOOKUP_BITS, 2 * n_bits + 8)
    if n_accum_bits is None:
        n_accum_bits = int(getattr(module, "n_accum_bits", widest))
    network, epilogue = quantize_module(
        module,
        features,
        n_bits=n_bits,
        n_accum_bits=n_accum_bits,
        n_w_bits=n_w_bits,
        n_in_bits=n_in_bits,
        by=by,
        shape=shape,
        on_misfit=on_misfit,
    )
    return lower(network), epilogue
