"""Measure a training step of a quantized network against its float twin's: same batches, in turns.

Run with `python benches/training_step.py`. One thread; forward, loss, backward and the optimizer's
step. The twin has the same shape and batch normalization, float32 weights and inputs as they are.
Both are trained by Adam as torch has it by default, and by a fused one, as the estimators have it.
Results of a run are kept in benches/README.md.
"""

from __future__ import annotations

import time
import timeit
from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cipherfit._core import WeightQuantizer
from cipherfit.training.float_twin import FloatTwin
from cipherfit.training.linear import QuantLinear
from cipherfit.training.network import SparseQuantNeuralNetImpl

N_CLASSES, N_ROWS = 10, 2000
STEPS, WARM_UP = 600, 200
#: Name, features, hidden neurons, options of the network.
NETWORKS: list[tuple[str, int, int, dict[str, Any]]] = [
    ("64-32-10, w3 a3 acc 8", 64, 32, {}),
    ("784-64-10, w4 a4 acc 10", 784, 64, {"n_w_bits": 4, "n_a_bits": 4, "n_accum_bits": 10}),
]


def step(network: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> float:
    """Train on one batch; return the seconds it took."""
    start = time.perf_counter()
    optimizer.zero_grad()
    nn.functional.cross_entropy(network(x), y, label_smoothing=0.1).backward()
    optimizer.step()
    return time.perf_counter() - start


def steps(n_features: int, n_neurons: int, batch: int, options: dict[str, Any], fused: bool) -> Any:
    """Return the median seconds of a step, of the network and its twin, and those of the mask."""
    torch.manual_seed(0)
    X, y = torch.rand(N_ROWS, n_features), torch.randint(0, N_CLASSES, (N_ROWS,))
    quantized = SparseQuantNeuralNetImpl(
        n_features, 2, N_CLASSES, n_hidden_neurons=n_neurons, **options
    )
    quantized.calibrate(X)
    mask = mask_seconds(quantized.linear_layers[0])
    networks = [quantized, FloatTwin(n_features, [n_neurons], N_CLASSES)]
    adam = partial(torch.optim.Adam, betas=(0.9, 0.99), fused=fused)
    optimizers = [adam(each.parameters()) for each in networks]
    seconds = np.empty((STEPS, 2))
    for turn in seconds:
        rows = torch.randint(0, N_ROWS, (batch,))
        for index, (network, optimizer) in enumerate(zip(networks, optimizers, strict=True)):
            turn[index] = step(network, optimizer, X[rows], y[rows])
    ours, twin = np.median(seconds[WARM_UP:], axis=0)
    return ours, twin, mask


def fastest(call: Callable[[], Any], number: int = 300, rounds: int = 9) -> float:
    """Return the seconds of a call, by the fastest of several rounds."""
    return min(timeit.repeat(call, number=number, repeat=rounds)) / number


def mask_seconds(layer: QuantLinear) -> float:
    """Return what the mask adds to the quantization of a fresh layer's weights."""
    weight, inverse = layer.weight.detach().numpy(), (-layer.log_scale).exp().detach().numpy()
    options = {"shrinks": True, "is_scarce": layer.is_scarce}
    bits = (layer.n_w_bits, layer.n_in_bits, layer.n_accum_bits)
    masked = WeightQuantizer(*bits, layer.rounding_half, **options)
    _, _, neurons = masked.quantize(weight, inverse)
    # The same weights as they come out of the shrinking, of which none is dropped.
    fitted = weight * neurons[0][:, None]
    fitted[np.abs(weight * inverse[:, None]) < neurons[1][:, None]] = 0
    with_mask = WeightQuantizer(*bits, layer.rounding_half, shrinks=False, is_scarce=False)
    without = WeightQuantizer(*bits[:2], 48, 0, shrinks=False, is_scarce=False)
    return fastest(lambda: with_mask.quantize(fitted, inverse)) - fastest(
        lambda: without.quantize(fitted, inverse)
    )


def main() -> None:
    """Print a table of steps, and what the mask takes of them."""
    torch.set_num_threads(1)
    print(
        "| network | rows in a batch | Adam | step, ms | float twin's, ms | ratio | mask, us | "
        "matmul, us |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for (name, n_features, n_neurons, options), batch in product(NETWORKS, (32, 64)):
        x, codes = torch.rand(batch, n_features), torch.rand(n_neurons, n_features)
        matmul = fastest(lambda x=x, codes=codes: x @ codes.T)
        for kind, fused in (("default", False), ("fused", True)):
            ours, twin, mask = steps(n_features, n_neurons, batch, options, fused)
            print(
                f"| {name} | {batch} | {kind} | {ours * 1e3:.2f} | {twin * 1e3:.2f} | "
                f"{ours / twin:.2f} | {mask * 1e6:.1f} | {matmul * 1e6:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
