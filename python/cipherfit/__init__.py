"""Quantized, pruned neural networks that are proven to fit, and run on encrypted data.

Names are imported when they are first used: graphs and predictors need NumPy and safetensors,
estimators need torch, skorch and scikit-learn, and encrypted lookups need Concrete.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cipherfit import exceptions as exceptions
    from cipherfit._core import Certificate as Certificate
    from cipherfit._core import IntegerGraph as IntegerGraph
    from cipherfit._core import accumulator_mask as accumulator_mask
    from cipherfit.costs import FheEstimate as FheEstimate
    from cipherfit.estimators.base import (
        QuantizedSkorchEstimatorMixin as QuantizedSkorchEstimatorMixin,
    )
    from cipherfit.estimators.classifier import NeuralNetClassifier as NeuralNetClassifier
    from cipherfit.estimators.fixed_module import (
        FixedTypeSkorchNeuralNet as FixedTypeSkorchNeuralNet,
    )
    from cipherfit.estimators.regressor import NeuralNetRegressor as NeuralNetRegressor
    from cipherfit.exceptions import CipherfitError as CipherfitError
    from cipherfit.fhe.circuit import compile_graph as compile_graph
    from cipherfit.interchange.onnx_export import to_onnx as to_onnx
    from cipherfit.interchange.qonnx_export import to_qonnx as to_qonnx
    from cipherfit.interchange.qonnx_import import from_qonnx as from_qonnx
    from cipherfit.interchange.sklearn_import import from_sklearn as from_sklearn
    from cipherfit.limits import MAXIMUM_TLU_BIT_WIDTH as MAXIMUM_TLU_BIT_WIDTH
    from cipherfit.planning import ClusterPlan as ClusterPlan
    from cipherfit.planning import plan_cluster as plan_cluster
    from cipherfit.predictor.artifact import ClientModel as ClientModel
    from cipherfit.predictor.artifact import load_client as load_client
    from cipherfit.predictor.backend import run_encrypted as run_encrypted
    from cipherfit.predictor.p_error import PErrorSearch as PErrorSearch
    from cipherfit.predictor.p_error import search_p_error as search_p_error
    from cipherfit.predictor.predictor import Predictor as Predictor
    from cipherfit.predictor.saving import load as load
    from cipherfit.predictor.saving import save as save
    from cipherfit.report.displays.accuracy import (
        EncryptedAccuracyDisplay as EncryptedAccuracyDisplay,
    )
    from cipherfit.report.displays.certificate import CertificateDisplay as CertificateDisplay
    from cipherfit.report.displays.front import LatencyFrontDisplay as LatencyFrontDisplay
    from cipherfit.report.html import write_report as write_report
    from cipherfit.search.design import Design as Design
    from cipherfit.search.design import DesignSearch as DesignSearch
    from cipherfit.search.network import design_network as design_network
    from cipherfit.search.rounding import RoundingSearch as RoundingSearch
    from cipherfit.search.rounding import search_rounding as search_rounding
    from cipherfit.serve.client import Client as Client
    from cipherfit.training.lowering import lower as lower
    from cipherfit.training.network import SparseQuantNeuralNetImpl as SparseQuantNeuralNetImpl

__version__ = "0.1.0"

#: The module that each name is imported from.
_HOMES = {
    "MAXIMUM_TLU_BIT_WIDTH": "limits",
    "Certificate": "_core",
    "CertificateDisplay": "report.displays.certificate",
    "CipherfitError": "exceptions",
    "Client": "serve.client",
    "ClientModel": "predictor.artifact",
    "ClusterPlan": "planning",
    "Design": "search.design",
    "DesignSearch": "search.design",
    "EncryptedAccuracyDisplay": "report.displays.accuracy",
    "FheEstimate": "costs",
    "FixedTypeSkorchNeuralNet": "estimators.fixed_module",
    "IntegerGraph": "_core",
    "LatencyFrontDisplay": "report.displays.front",
    "NeuralNetClassifier": "estimators.classifier",
    "NeuralNetRegressor": "estimators.regressor",
    "PErrorSearch": "predictor.p_error",
    "Predictor": "predictor.predictor",
    "QuantizedSkorchEstimatorMixin": "estimators.base",
    "RoundingSearch": "search.rounding",
    "SparseQuantNeuralNetImpl": "training.network",
    "accumulator_mask": "_core",
    "compile_graph": "fhe.circuit",
    "design_network": "search.network",
    "from_qonnx": "interchange.qonnx_import",
    "from_sklearn": "interchange.sklearn_import",
    "load": "predictor.saving",
    "load_client": "predictor.artifact",
    "lower": "training.lowering",
    "plan_cluster": "planning",
    "run_encrypted": "predictor.backend",
    "save": "predictor.saving",
    "search_p_error": "predictor.p_error",
    "search_rounding": "search.rounding",
    "to_onnx": "interchange.onnx_export",
    "to_qonnx": "interchange.qonnx_export",
    "write_report": "report.html",
}
#: Modules that are names of the package, too.
_MODULES = ("exceptions", "qnn", "twin")

__all__ = [*sorted(_HOMES), "__version__", "exceptions"]


def __getattr__(name: str) -> Any:
    """Import a name when it is first used."""
    if name in _MODULES:
        return import_module(f"cipherfit.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"cipherfit.{_HOMES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """List the names that are not imported yet, too."""
    return sorted({*globals(), *__all__, *_MODULES})
