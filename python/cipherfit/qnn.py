"""Scikit-learn interface for quantized neural networks, under the names of Concrete ML's module.

.. include:: ../../docs/migration.md
"""

from cipherfit.circuit import MAXIMUM_TLU_BIT_WIDTH
from cipherfit.classifier import NeuralNetClassifier
from cipherfit.estimator import QuantizedSkorchEstimatorMixin
from cipherfit.fixed_type import FixedTypeSkorchNeuralNet
from cipherfit.network import SparseQuantNeuralNetImpl
from cipherfit.regressor import NeuralNetRegressor

__all__ = [
    "MAXIMUM_TLU_BIT_WIDTH",
    "FixedTypeSkorchNeuralNet",
    "NeuralNetClassifier",
    "NeuralNetRegressor",
    "QuantizedSkorchEstimatorMixin",
    "SparseQuantNeuralNetImpl",
]
