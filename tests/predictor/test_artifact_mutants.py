"""Files of models and clients that were changed are refused, or answer like any others."""

from __future__ import annotations

import numpy as np
import pytest
from core_graphs import random_parts
from hypothesis import given
from hypothesis import strategies as st
from model_files import client_bytes, example_bytes, parts_of
from samples import fitted, load
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from cipherfit import ClientModel, IntegerGraph, Predictor
from cipherfit.exceptions import CipherfitError
from cipherfit.predictor import container
from cipherfit.predictor.pipelines import preparation_of
from cipherfit.predictor.saving import loads
from cipherfit.predictor.targets import RealTargets


@pytest.fixture(scope="module")
def files():
    """Files of each kind, and what each of them answers."""
    X = load("iris")[0][:20]
    own = fitted("iris").predictor_
    scaled = own.with_preparation(preparation_of([("scaler", StandardScaler().fit(X))]))
    coded = np.arange(4.0)[:, None] % 3
    encoder = preparation_of([("encoder", OneHotEncoder().fit(coded))])
    graph = IntegerGraph.from_layers(**random_parts(0, (3, 4, 2)))
    encoded = Predictor(graph, RealTargets(2, False), preparation=encoder)
    sums = fitted("iris", n_layers=1).graph_.simulate(np.arange(80).reshape(20, 4))
    return [
        (example_bytes(), loads, [[0.5, 0.25]]),
        (own.to_bytes(), loads, X),
        (scaled.to_bytes(), loads, X),
        (encoded.to_bytes(), loads, coded),
        (client_bytes(), ClientModel.from_bytes, (X, sums)),
    ]


def answers_of(model, X):
    if isinstance(model, ClientModel):
        return [*model.encode(X[0]).tolist(), *model.answer_proba(X[1]).tolist()]
    return np.asarray(model.predict(X)).tolist()


def mutant(data: bytes, random: np.random.Generator) -> bytes:
    """Return bytes with some changed, cut, doubled or put in."""
    changed = bytearray(data)
    for _ in range(random.integers(1, 4)):
        at = int(random.integers(len(changed) + 1))
        length = int(random.integers(1, 9))
        match random.integers(5):
            case 0 if at < len(changed):
                changed[at] ^= 1 << int(random.integers(8))
            case 1:
                del changed[at:]
            case 2:
                del changed[at : at + length]
            case 3:
                changed[at:at] = changed[at : at + length]
            case _:
                changed[at:at] = random.bytes(length)
    return bytes(changed)


#: What values of metadata are replaced by.
HOSTILE = [None, True, -1, 0, 2**63, 1e308, -0.0, "", "graph", [], {}, [[]], {"dtype": "O"}]


def altered(value: object, random: np.random.Generator) -> object:
    """Return plain values with one of them, somewhere inside, replaced, dropped or doubled."""
    if isinstance(value, dict) and value and random.random() < 0.9:
        key = list(value)[random.integers(len(value))]
        return {**value, key: altered(value[key], random)}
    if isinstance(value, list) and value and random.random() < 0.9:
        at = int(random.integers(len(value)))
        match random.integers(3):
            case 0:
                return value[:at] + value[at + 1 :]
            case 1:
                return value[:at] + value[at : at + 1] + value[at:]
        return [*value[:at], altered(value[at], random), *value[at + 1 :]]
    if type(value) is int and random.random() < 0.5:
        return value + int(random.integers(-3, 4))
    if type(value) is float and random.random() < 0.5:
        return value * float(random.normal())
    return HOSTILE[random.integers(len(HOSTILE))]


def altered_entry(document: dict, random: np.random.Generator) -> tuple[str, object]:
    key = list(document)[random.integers(len(document))]
    return key, altered(document[key], random)


@given(seed=st.integers(0, 2**63))
def test_a_mutant_of_a_file_is_refused_or_the_same(files, seed):
    random = np.random.default_rng(seed)
    for data, read, _ in files:
        for _ in range(20):
            changed = mutant(data, random)
            if changed == data:
                continue
            with pytest.raises(CipherfitError):
                read(changed)


@given(seed=st.integers(0, 2**63))
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_forged_file_is_refused_or_answers_like_any_other(files, seed):
    random = np.random.default_rng(seed)
    for data, read, X in files:
        kind, document, tensors = parts_of(data)
        for _ in range(10):
            forged = {**document, **dict([altered_entry(document, random)])}
            try:
                answers_of(read(container.encode(kind, forged, tensors)), X)
            except CipherfitError:
                continue
