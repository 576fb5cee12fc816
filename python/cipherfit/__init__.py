"""Quantized, pruned neural networks that are proven to fit, and run on encrypted data."""

import warnings as _warnings

with _warnings.catch_warnings():
    # Concrete's namespace package announces its use of pkg_resources to every user of ours.
    _warnings.filterwarnings("ignore", message=".*pkg_resources")
    from cipherfit import exceptions
    from cipherfit._core import Certificate, IntegerGraph, accumulator_mask
    from cipherfit.exceptions import CipherfitError
    from cipherfit.fhe.circuit import compile_graph, run_encrypted
    from cipherfit.fhe.estimate import FheEstimate
    from cipherfit.interchange.onnx_export import to_onnx
    from cipherfit.predictor.p_error import PErrorSearch, search_p_error
    from cipherfit.qnn import (
        MAXIMUM_TLU_BIT_WIDTH,
        FixedTypeSkorchNeuralNet,
        NeuralNetClassifier,
        NeuralNetRegressor,
        QuantizedSkorchEstimatorMixin,
        SparseQuantNeuralNetImpl,
    )
    from cipherfit.search.design import Design, DesignSearch
    from cipherfit.search.network import design_network
    from cipherfit.search.rounding import RoundingSearch, search_rounding
    from cipherfit.training.lowering import lower

__version__ = "0.1.0"

__all__ = [
    "MAXIMUM_TLU_BIT_WIDTH",
    "Certificate",
    "CipherfitError",
    "Design",
    "DesignSearch",
    "FheEstimate",
    "FixedTypeSkorchNeuralNet",
    "IntegerGraph",
    "NeuralNetClassifier",
    "NeuralNetRegressor",
    "PErrorSearch",
    "QuantizedSkorchEstimatorMixin",
    "RoundingSearch",
    "SparseQuantNeuralNetImpl",
    "__version__",
    "accumulator_mask",
    "compile_graph",
    "design_network",
    "exceptions",
    "lower",
    "run_encrypted",
    "search_p_error",
    "search_rounding",
    "to_onnx",
]
