"""Which back end encrypts, and that a predictor is the same to its user whichever it is."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from core_graphs import random_features, random_parts

from cipherfit import IntegerGraph, Predictor, run_encrypted
from cipherfit.bfv import BfvCircuit
from cipherfit.exceptions import CompilationError, InvalidParameterError
from cipherfit.predictor.backend import backend_for
from cipherfit.predictor.targets import RealTargets


def predictor(sizes=(6, 4, 3), n_client_layers=0, **options):
    parts = random_parts(1, sizes, n_client_layers=n_client_layers)
    graph = IntegerGraph.from_layers(**parts)
    made = Predictor(graph, RealTargets(graph.n_outputs, flat=False), **options)
    return made, random_features(parts, 20).astype(np.float32)


@pytest.mark.parametrize(
    ("sizes", "n_client_layers", "options", "expected"),
    [
        ((6, 3), 0, {}, "bfv"),
        ((6, 4, 3), 1, {}, "bfv"),
        ((6, 4, 3), 0, {}, "concrete"),
        ((6, 5, 4, 3), 1, {}, "concrete"),
        ((6, 3), 0, {"show_mlir": True}, "concrete"),
        ((6, 3), 0, {"configuration": None, "use_virtual_lib": False}, "bfv"),
    ],
)
def test_bfv_is_taken_where_no_lookup_is_encrypted_and_no_option_of_concretes_is_named(
    sizes, n_client_layers, options, expected
):
    graph = predictor(sizes, n_client_layers)[0].graph
    assert backend_for(graph, options=options) == expected
    assert backend_for(graph, "concrete", options=options) == "concrete"


def test_a_back_end_that_can_not_or_is_not_says_what_to_do():
    made, _ = predictor()
    with pytest.raises(CompilationError, match=r"this one has 4: .*module__n_client_layers"):
        made.compile(backend="bfv")
    with pytest.raises(InvalidParameterError, match="backend='seal' must be 'auto', 'concrete' or"):
        made.compile(backend="seal")
    with pytest.raises(InvalidParameterError, match=r"flooding_bits=40 is for backend='bfv'"):
        made.compile(flooding_bits=40)
    linear, _ = predictor((6, 3))
    with pytest.raises(InvalidParameterError, match="use_virtual_lib are options of Concrete's"):
        linear.compile(backend="bfv", use_virtual_lib=True)
    with pytest.raises(InvalidParameterError, match="flooding_bits"):
        linear.compile(flooding_bits=65)


@pytest.mark.parametrize(("sizes", "n_client_layers"), [((6, 3), 0), ((6, 5, 4, 3), 2)])
def test_encrypted_answers_are_those_in_clear(sizes, n_client_layers):
    made, X = predictor(sizes, n_client_layers)
    circuit = made.compile(p_error=0.1, backend="auto")
    assert isinstance(circuit, BfvCircuit)
    assert np.array_equal(made.predict(X, fhe="execute"), made.predict(X))
    assert np.array_equal(made.predict(X, fhe="simulate"), made.predict(X))
    assert np.array_equal(made.predict(X[3], fhe="execute"), made.predict(X[3:4]))
    client = made.graph.split()[0] if n_client_layers else None
    codes = made.graph.quantize(X)
    between = codes if client is None else client.simulate(codes).astype(np.uint16)
    assert np.array_equal(run_encrypted(circuit, between), made.graph.simulate(codes))


@pytest.mark.fhe
def test_lookups_behind_client_layers_are_encrypted_by_concrete():
    made, X = predictor((6, 5, 3, 2), 1)
    circuit = made.compile(p_error=1e-9)
    assert not isinstance(circuit, BfvCircuit)
    assert np.array_equal(made.predict(X[:2], fhe="execute"), made.predict(X[:2]))
    estimate = made.estimate_fhe()
    assert (estimate.backend, estimate.n_lookups) == ("concrete", 3)


@pytest.mark.fhe
def test_both_back_ends_give_the_same():
    made, X = predictor((6, 3))
    answers = []
    for backend in ("concrete", "bfv"):
        made.compile(backend=backend, p_error=None)
        answers.append(made.predict(X[:3], fhe="execute"))
        assert made.estimate_fhe().backend == backend
    assert np.array_equal(*answers)
    assert made.estimate_fhe(backend="concrete").backend == "concrete"
    assert made.estimate_fhe().backend == "bfv"


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda made: pickle.loads(pickle.dumps(made))])
def test_a_copy_compiles_again_as_it_was_with_keys_of_its_own(copied):
    made, X = predictor((6, 3))
    made.compile(flooding_bits=30).keygen()
    other = copied(made)
    secret = made.circuit.client.serialize_secret_key()
    assert secret[-32:] not in pickle.dumps(made)
    assert isinstance(other.circuit, BfvCircuit)
    assert other.circuit.configuration.flooding_bits == 30
    assert not other.circuit.client.has_keys
    assert np.array_equal(other.predict(X, fhe="execute"), made.predict(X))


@pytest.mark.parametrize(
    ("client_layers", "told"),
    [
        ("random", "client layers are random, all trained weights secret"),
        ("learned", "client layers are learned: THEIR WEIGHTS ARE PUBLIC"),
        (None, "client layers are not known to be random: THEIR WEIGHTS ARE PUBLIC"),
    ],
)
def test_a_predictor_says_what_every_client_holds(client_layers, told):
    made, _ = predictor((6, 4, 3), 1, client_layers=client_layers)
    assert told in repr(made)
    assert told in repr(made.with_graph(made.graph))
    assert "client layers" not in repr(predictor(client_layers=client_layers)[0])


def test_without_lookups_neither_concrete_nor_torch_is_needed(tmp_path):
    made, X = predictor((6, 4, 3), 1)
    (tmp_path / "graph").write_bytes(made.graph.to_bytes())
    np.save(tmp_path / "X.npy", X)
    program = textwrap.dedent("""
        import sys
        for name in ("concrete", "torch", "skorch", "sklearn", "scipy", "tqdm"):
            sys.modules[name] = None
        from pathlib import Path
        import numpy as np
        from cipherfit import IntegerGraph, Predictor
        from cipherfit.exceptions import MissingDependencyError
        from cipherfit.predictor.targets import RealTargets

        graph = IntegerGraph.from_bytes(Path("graph").read_bytes())
        made = Predictor(graph, RealTargets(graph.n_outputs, flat=False))
        made.compile()
        print(made.estimate_fhe())
        X = np.load("X.npy")
        assert np.array_equal(made.predict(X, fhe="execute"), made.predict(X))
        try:
            made.compile(backend="concrete")
        except MissingDependencyError as error:
            print(error)
    """)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "bfv: N=2048" in done.stdout
    assert "encrypted lookups need concrete-python" in done.stdout
    assert "backend='bfv'" in done.stdout
