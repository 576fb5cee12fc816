from __future__ import annotations

import inspect
import pickle

import pytest
from sklearn.exceptions import NotFittedError as SklearnNotFittedError

from cipherfit import exceptions
from cipherfit.exceptions import CipherfitError, ProofError

STANDARD_KINDS = {
    "CipherfitError": Exception,
    "CipherfitWarning": UserWarning,
    "CompilationError": RuntimeError,
    "DivergenceError": ArithmeticError,
    "ForkedProcessError": RuntimeError,
    "GraphError": ValueError,
    "InputTypeError": TypeError,
    "InvalidInputError": ValueError,
    "InvalidParameterError": ValueError,
    "KeyStoreError": ValueError,
    "MissingDependencyError": ImportError,
    "NotCompiledError": ValueError,
    "NotFittedError": SklearnNotFittedError,
    "ProofError": ValueError,
    "SecurityError": ValueError,
    "SerializationError": ValueError,
    "ServiceError": ConnectionError,
    "UnansweredRowsError": RuntimeError,
    "UnsupportedModuleError": ValueError,
}


def test_every_exception_is_listed():
    defined = {
        name
        for name in dir(exceptions)
        if inspect.isclass(value := getattr(exceptions, name))
        and value.__module__ == exceptions.__name__
    }
    assert defined == set(exceptions.__all__) == set(STANDARD_KINDS)


@pytest.mark.parametrize(("name", "kind"), STANDARD_KINDS.items())
def test_each_exception_is_also_the_standard_kind_and_survives_pickling(name, kind):
    error = getattr(exceptions, name)("what is wrong")
    assert isinstance(error, kind)
    assert isinstance(error, CipherfitError | UserWarning)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error) == "what is wrong"


def test_a_failed_proof_keeps_its_numbers_when_pickled():
    error = ProofError("too wide", 2, 3, -(10**30), 10**30, 101, 8)
    copy = pickle.loads(pickle.dumps(error))
    assert vars(copy) == vars(error)
    assert (copy.layer, copy.neuron, copy.bits_needed, copy.bits_allowed) == (2, 3, 101, 8)
    assert (copy.low, copy.high) == (-(10**30), 10**30)
    assert str(copy) == "too wide"
