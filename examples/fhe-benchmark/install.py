"""Put a network into a clone of the FHE benchmark's harness, and MNIST where the harness looks.

    python install.py HARNESS --network networks/random.cipherfit --mnist mnist.npz

replaces `submission` and `scripts` in the clone, as submitters do, and leaves the rest as it is.
The harness reads MNIST with torchvision, which takes the original files where they lie already.
"""

import argparse
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
#: Where each kind of step has the harness look for MNIST, in folders that torchvision names.
ROOTS = ["harness/mnist/data", *(f"datasets/{s}" for s in ("single", "small", "medium", "large"))]
FILES = {
    "X_train": "train-images-idx3-ubyte",
    "y_train": "train-labels-idx1-ubyte",
    "X_test": "t10k-images-idx3-ubyte",
    "y_test": "t10k-labels-idx1-ubyte",
}
_UBYTE = 0x08


def main(arguments: list[str] | None = None) -> None:
    """Install what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("harness", type=Path, metavar="HARNESS", help="folder of the clone")
    parser.add_argument("--network", type=Path, required=True, metavar="FILE", help=".cipherfit")
    parser.add_argument("--mnist", type=Path, metavar="FILE", help="npz file of MNIST")
    options = parser.parse_args(arguments)
    install(options.harness, options.network)
    if options.mnist is not None:
        lay_out(options.mnist, options.harness)


def install(harness: Path, network: Path) -> None:
    """Replace the submission of a clone by the steps beside this file, and a network."""
    for name in ("submission", "scripts"):
        shutil.rmtree(harness / name, ignore_errors=True)
        shutil.copytree(HERE / name, harness / name)
    for suffix in (".cipherfit", ".client"):
        shutil.copy(network.with_suffix(suffix), harness / f"submission/network{suffix}")


def lay_out(mnist: Path, harness: Path) -> None:
    """Write MNIST's original files once, and link to them wherever the harness looks."""
    first, *others = [harness / root / "MNIST/raw" for root in ROOTS]
    first.mkdir(parents=True, exist_ok=True)
    with np.load(mnist) as arrays:
        for name, file in FILES.items():
            (first / file).write_bytes(idx(arrays[name]))
    for folder in others:
        folder.mkdir(parents=True, exist_ok=True)
        for file in FILES.values():
            link = folder / file
            link.unlink(missing_ok=True)
            link.hardlink_to(first / file)


def idx(array: Any) -> bytes:
    """Return an array of bytes in MNIST's own format: type, dimensions, lengths, elements."""
    if array.dtype != np.uint8:
        raise SystemExit(f"MNIST has elements of uint8, and this file {array.dtype}")
    header = struct.pack(f">HBB{array.ndim}I", 0, _UBYTE, array.ndim, *array.shape)
    return header + array.tobytes()


if __name__ == "__main__":
    main()
