"""What a network computes beside its parameters, in one digest."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor, nn

from cipherfit.training.calls import Steps, leaves
from cipherfit.training.linear import QuantLinear


def digest_of(network: nn.Module) -> Tensor:
    """Return a digest of what parameters and buffers of a network don't tell.

    That are its layers' widths, how they round, and the functions between them with their
    constants, such as those of a batch normalization that a float module was trained with.

    Parameters
    ----------
    network : nn.Module
        A network of quantized layers and `Steps`.

    Returns
    -------
    torch.Tensor of shape (32,), uint8
        SHA-256.
    """
    hashed = hashlib.sha256()
    for module in network.modules():
        hashed.update(type(module).__name__.encode())
        if isinstance(module, QuantLinear):
            widths = (module.n_w_bits, module.n_in_bits, module.n_accum_bits, module.n_lookup_bits)
            hashed.update(repr(widths).encode())
        elif isinstance(module, Steps):
            for call in module.calls.values():
                hashed.update(call.target.encode())
                for leaf in leaves((call.args, call.kwargs)):
                    hashed.update(_bytes_of(leaf))
        elif hasattr(module, "n_bits"):
            hashed.update(str(module.n_bits).encode())
        hashed.update(repr(getattr(module, "roundings", None)).encode())
    return torch.frombuffer(bytearray(hashed.digest()), dtype=torch.uint8)


def _bytes_of(constant: object) -> bytes:
    if isinstance(constant, Tensor):
        return bytes(constant.detach().cpu().contiguous().numpy().tobytes())
    return b"" if isinstance(constant, torch.device) else repr(constant).encode()
