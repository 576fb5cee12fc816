"""Scikit-learn interface for quantized neural networks, under the names of Concrete ML's module.

.. include:: ../../docs/migration.md
"""

from cipherfit.estimators.base import QuantizedSkorchEstimatorMixin
from cipherfit.estimators.classifier import NeuralNetClassifier
from cipherfit.estimators.fixed_module import FixedTypeSkorchNeuralNet
from cipherfit.estimators.regressor import NeuralNetRegressor
from cipherfit.limits import MAXIMUM_TLU_BIT_WIDTH
from cipherfit.training.network import SparseQuantNeuralNetImpl

__all__ = [
    "MAXIMUM_TLU_BIT_WIDTH",
    "FixedTypeSkorchNeuralNet",
    "NeuralNetClassifier",
    "NeuralNetRegressor",
    "QuantizedSkorchEstimatorMixin",
    "SparseQuantNeuralNetImpl",
]
