"""What encrypts for a predictor: the seam between it and the back ends.

A predictor knows back ends by name and by these protocols only, and imports one when it is first
asked to encrypt: what answers in clear needs none of them installed.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from cipherfit._core import IntegerGraph


class Circuit(Protocol):
    """A compiled graph."""

    @property
    def p_error(self) -> float:
        """Probability that one lookup errs."""

    @property
    def configuration(self) -> Any:
        """The options that it was compiled with; `fhe_execution` tells whether it can encrypt."""


class Backend(Protocol):
    """Compiles graphs, and runs rows encrypted: `cipherfit.fhe` is one."""

    def compile_graph(
        self,
        graph: IntegerGraph,
        *,
        configuration: Any = None,
        p_error: float | None = None,
        artifacts: Any = None,
        show_mlir: bool = False,
        simulation_only: bool = False,
        warn_of_size: bool = True,
    ) -> Any:
        """Return the circuit of a graph."""

    def run_encrypted(
        self, circuit: Any, codes: NDArray[np.uint16], *, progress: bool | None = None
    ) -> NDArray[np.int64]:
        """Encrypt, run and decrypt codes (n_samples, n_features): (n_samples, n_outputs)."""

    def estimate_circuit(self, circuit: Any, graph: IntegerGraph) -> Any:
        """Return what encrypted rows cost."""

    def modelled_seconds(self, graph: IntegerGraph, p_error: float | None = None) -> float:
        """Return seconds per encrypted row, on the machine of the latency model."""


def concrete() -> Backend:
    """Return the back end that runs lookups: Concrete (TFHE)."""
    return cast(Backend, import_module("cipherfit.fhe"))
