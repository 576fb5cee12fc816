"""Measure Concrete ML on the digits CNN; run by importing.py in an environment that has it.

The network is trained on from the same float weights with Brevitas, for as many epochs as ours, and
compiled with lookups that round approximately.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from dataclasses import dataclass
from typing import Any

import brevitas.nn as qnn
import numpy as np
import torch
from concrete import fhe
from concrete.ml import __version__
from concrete.ml.torch.compile import compile_brevitas_qat_model
from torch import nn


@dataclass(frozen=True)
class Setting:
    """Bits of weights and activations, those that lookups read, and how often they err."""

    n_w_bits: int
    n_a_bits: int
    n_lookup_bits: int
    p_error: float

    def __str__(self) -> str:
        return (
            f"w{self.n_w_bits} a{self.n_a_bits}, rounded to {self.n_lookup_bits} bits, "
            f"p_error {self.p_error:g}"
        )


#: Its most accurate, and its fastest that are about as accurate as ours.
SETTINGS = (Setting(4, 4, 5, 0.05), Setting(3, 3, 5, 0.05))
#: What these were chosen from, by rows of training that were held out.
CANDIDATES = tuple(
    Setting(n_w_bits, n_a_bits, n_lookup_bits, 0.05)
    for n_w_bits, n_a_bits in ((4, 4), (3, 3), (3, 2), (2, 2))
    for n_lookup_bits in (5, 4, 3)
)
IN_BITS = 4
BATCH_ROWS = 32


class QuantizedCnn(nn.Module):
    """The digits CNN of importing.py, with Brevitas's quantizers."""

    def __init__(self, setting: Setting) -> None:
        super().__init__()
        act = {"bit_width": setting.n_a_bits, "return_quant_tensor": True}
        weights = {"weight_bit_width": setting.n_w_bits}
        self.inputs = qnn.QuantIdentity(bit_width=IN_BITS, return_quant_tensor=True)
        self.first = qnn.QuantConv2d(1, 8, 3, bias=False, **weights)
        self.first_norm, self.first_codes = nn.BatchNorm2d(8), qnn.QuantReLU(**act)
        self.second = qnn.QuantConv2d(8, 16, 3, bias=False, **weights)
        self.second_norm, self.second_codes = nn.BatchNorm2d(16), qnn.QuantReLU(**act)
        self.pool, self.pooled = nn.AvgPool2d(2), qnn.QuantIdentity(**act)
        self.last = qnn.QuantLinear(64, 10, bias=True, **weights)

    @torch.no_grad()
    def start_from(self, state: dict[str, torch.Tensor]) -> None:
        """Take the weights of the float network; batch normalization swallows biases."""
        for name, place in (("first", 0), ("second", 3)):
            getattr(self, name).weight.copy_(state[f"{place}.weight"])
            norm = getattr(self, f"{name}_norm")
            norm.load_state_dict({part: state[f"{place + 1}.{part}"] for part in norm.state_dict()})
            norm.running_mean.sub_(state[f"{place}.bias"])
        self.last.weight.copy_(state["8.weight"])
        self.last.bias.copy_(state["8.bias"])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits of images."""
        x = self.first_codes(self.first_norm(self.first(self.inputs(x))))
        x = self.second_codes(self.second_norm(self.second(x)))
        pooled = self.pooled(self.pool(x.value))
        outputs: torch.Tensor = self.last(torch.flatten(pooled, 1))
        return outputs


def trained(setting: Setting, data: dict[str, Any], options: argparse.Namespace) -> QuantizedCnn:
    """Return the network, trained on from float weights."""
    torch.manual_seed(options.seed)
    model = QuantizedCnn(setting)
    model.start_from({
        name.removeprefix("float."): torch.as_tensor(each)
        for name, each in data.items() if name.startswith("float.")
    })  # fmt: skip
    x, y = torch.as_tensor(data["X_train"]), torch.as_tensor(data["y_train"])
    optimizer = torch.optim.Adam(model.parameters(), lr=options.lr, betas=(0.9, 0.99))
    n_batches = -(-len(x) // BATCH_ROWS)
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, options.lr, total_steps=n_batches * options.epochs
    )
    for _ in range(options.epochs):
        for rows in torch.randperm(len(x)).split(BATCH_ROWS):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x[rows]), y[rows], label_smoothing=0.1)
            loss.backward()
            optimizer.step()
            cycle.step()
    return model.eval()


def measured(
    model: QuantizedCnn, setting: Setting, data: dict[str, Any], options: argparse.Namespace
) -> dict[str, Any]:
    """Compile, simulate all rows, and run some encrypted one by one."""
    X_test, y_test = data["X_test"], data["y_test"]
    rounding = {"n_bits": setting.n_lookup_bits, "method": fhe.Exactness.APPROXIMATE}
    module = compile_brevitas_qat_model(
        model, data["X_train"], rounding_threshold_bits=rounding, p_error=setting.p_error
    )
    result = {
        "setting": f"Concrete ML {__version__}, {setting}",
        "clear": _accuracy(module, X_test, y_test, "disable"),
        "simulated": _accuracy(module, X_test, y_test, "simulate"),
        "lookups": int(module.fhe_circuit.programmable_bootstrap_count),
    }
    if options.rows:
        module.fhe_circuit.keygen()
        times, right = [], []
        for row, label in zip(X_test[: options.rows], data["y_test"], strict=False):
            began, busy = time.perf_counter(), time.process_time()
            right.append(bool(module.forward(row[None], fhe="execute").argmax() == label))
            times.append((time.perf_counter() - began, time.process_time() - busy))
        seconds, cpu = np.median(times, axis=0)
        result |= {"seconds": seconds, "cpu": cpu, "right": sum(right), "rows": options.rows}
    return result


def _accuracy(module: Any, X: Any, y: Any, how: str) -> float:
    return float((module.forward(X, fhe=how).argmax(axis=1) == y).mean())


def main() -> None:
    """Print a line of JSON for each setting."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", help="npz file with both parts, and the float network's weights")
    parser.add_argument("--candidates", action="store_true", help="all settings")
    parser.add_argument("--rows", type=int, default=0, help="encrypted rows of each setting")
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--lr", type=float, required=True)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    with np.load(options.data) as file:
        data = dict(file)
    models: dict[tuple[int, int], QuantizedCnn] = {}
    for setting in CANDIDATES if options.candidates else SETTINGS:
        widths = (setting.n_w_bits, setting.n_a_bits)
        if widths not in models:
            models[widths] = trained(setting, data, options)
        print(json.dumps(measured(models[widths], setting, data, options)), flush=True)


if __name__ == "__main__":
    main()
