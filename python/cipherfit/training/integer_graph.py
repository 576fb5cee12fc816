"""From whatever module was trained to the integer graph that computes the same."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

from torch import Tensor, nn

from cipherfit._core import IntegerGraph
from cipherfit.exceptions import InvalidParameterError
from cipherfit.limits import MAX_LOOKUP_BITS
from cipherfit.training.aware import AwareNetwork
from cipherfit.training.lowering import lower
from cipherfit.training.network import QuantNetwork, SparseQuantNeuralNetImpl
from cipherfit.training.post_training import Misfit, quantize_module
from cipherfit.training.ranges import Relevance
from cipherfit.training.widths import NamedWidths, PerLayer


def integer_graph(
    module: nn.Module,
    features: Tensor | None,
    n_bits: int,
    by: Relevance | None = None,
    *,
    shape: tuple[int, ...] | None = None,
    widths: NamedWidths | None = None,
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
        Bits of its activations, where none are named. An attribute `n_accum_bits` of the module
        says how many its accumulators may have, where that is not named.
    by : Relevance, optional
        Targets and weights of the rows.
    shape : tuple of int, optional
        What shape of a row a float module gets. Default: (n_features,).
    widths : NamedWidths, optional
        What is named of a float module's widths, and how its lookups round.
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
    widths = widths or NamedWidths()
    n_bits = widths.widest_activations or n_bits
    # The widest that compiles: pruning after training costs more accuracy than it saves.
    widest = int(getattr(module, "n_accum_bits", max(MAX_LOOKUP_BITS, 2 * n_bits + 8)))
    network, epilogue = quantize_module(
        module,
        features,
        n_bits=n_bits if widths.n_a_bits is None else widths.n_a_bits,
        n_accum_bits=_or_all(widths.n_accum_bits, widest),
        n_w_bits=widths.n_w_bits,
        n_in_bits=widths.n_in_bits,
        n_lookup_bits=widths.n_lookup_bits,
        rounding=widths.rounding,
        by=by,
        shape=shape,
        on_misfit=on_misfit,
    )
    return lower(network), epilogue


def _or_all(named: PerLayer, default: int) -> int | list[int]:
    """Return what is named for all layers or for each, with a default for what is not."""
    if isinstance(named, Sequence):
        return [default if each is None else each for each in named]
    return default if named is None else named
