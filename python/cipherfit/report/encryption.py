"""What encryption costs, what it rests on, and what it does to answers."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cipherfit._core import BfvSpecs, IntegerGraph
from cipherfit.predictor.backend import (
    backend_for,
    backend_of,
    imported,
    output_bits_of,
    run_encrypted,
    specs_of,
)
from cipherfit.predictor.p_error import NoisyScore
from cipherfit.predictor.predictor import Predictor
from cipherfit.predictor.targets import ClassTargets, Targets
from cipherfit.report.data import Fact, KeyFacts, Security
from cipherfit.report.intervals import share
from cipherfit.report.measured import Encrypted, Errors, Interval
from cipherfit.report.quality import score
from cipherfit.report.words import number, power_of_two, size
from cipherfit.stages import client_part

if TYPE_CHECKING:
    from cipherfit.fhe.parameters import KeyParameters

Codes = NDArray[np.uint16]

#: What `compile` takes by default.
_DEFAULT_P_ERROR = 0.01
#: Test rows that are simulated with errors.
_MOST_ROWS = 20_000
#: Widest moduli in bits of the Homomorphic Encryption Standard (2018, table 1), by degree: ternary
#: secrets, 128 bits of classical security.
_WIDEST_MODULI = {1024: 27, 2048: 54, 4096: 109, 8192: 218, 16384: 438, 32768: 881}
_KEYS = {
    "ciphertexts": "what clients encrypt",
    "bootstrapping": "bootstrapping key",
    "keyswitching": "key switching key",
    "packing": "packing key",
}


@dataclass
class OnCodes:
    """A predictor whose rows are quantized already.

    Parameters
    ----------
    predictor : Predictor
        What answers.
    graph : IntegerGraph
        Its graph.
    targets : Targets
        Its targets.
    """

    predictor: Predictor
    graph: IntegerGraph
    targets: Targets

    def quantize_input(self, X: Any) -> Codes:
        """Return the codes, as they are given."""
        return np.asarray(X, dtype=np.uint16)

    def code_chunks(self, X: Any) -> Iterator[Codes]:
        """Yield the codes, as they are given."""
        yield self.quantize_input(X)

    def answer(self, accumulators: Any, graph: IntegerGraph | None = None) -> NDArray[Any]:
        """Return predictions of accumulators (n_samples, n_outputs)."""
        return self.predictor.answer(accumulators, graph)


def circuit_of(predictor: Predictor) -> Any:
    """Return what encrypts: the compiled circuit, or where that is a matter of milliseconds, BFV's.

    None where it is not compiled, or for simulation only.
    """
    circuit = predictor.circuit
    if circuit is None and backend_for(predictor.graph) == "bfv":
        circuit = imported("bfv").compile_graph(predictor.graph)
    if circuit is not None and not circuit.configuration.fhe_execution:
        return None
    return circuit


def errors_of(predictor: Predictor, circuit: Any, codes: Codes | None, truth: Any) -> Errors:
    """Return what errors of lookups do to the score of test rows, by simulation.

    Parameters
    ----------
    predictor : Predictor
        The model.
    circuit : circuit or None
        As `circuit_of` returns it.
    codes : ndarray of shape (n_samples, n_features), optional
        Codes of test rows.
    truth : array-like of shape (n_samples,) or (n_samples, n_targets), optional
        Their labels or targets.
    """
    graph, n_lookups = predictor.graph, predictor.graph.n_lookups
    if not n_lookups:
        return Errors(0.0, False, 0)
    p_error = _DEFAULT_P_ERROR if circuit is None else float(circuit.p_error)
    plain = Errors(p_error, circuit is None, n_lookups)
    if codes is None or truth is None:
        return plain
    some, labels = codes[:_MOST_ROWS], np.asarray(truth)[:_MOST_ROWS]
    judge = NoisyScore(
        OnCodes(predictor, graph, predictor.targets), some, labels,
        n_output_bits=None if circuit is None else output_bits_of(circuit),
    )  # fmt: skip
    trial = judge.trial(graph, p_error)
    low, high = trial.score_interval
    return Errors(
        p_error,
        circuit is None,
        n_lookups,
        drop=trial.drop,
        drop_bound=trial.drop_bound if math.isfinite(trial.drop_bound) else None,
        score=Interval((low + high) / 2, low, min(high, 1.0)),
        n_rows=judge.n_rows,
        n_passes=judge.n_passes,
    )


def run_rows(predictor: Predictor, circuit: Any, codes: Codes, truth: Any) -> Encrypted:
    """Run rows encrypted, one by one, and compare them with those in clear.

    Parameters
    ----------
    predictor : Predictor
        The model.
    circuit : circuit
        As `circuit_of` returns it.
    codes : ndarray of shape (n_samples, n_features)
        Codes of the rows.
    truth : array-like of shape (n_samples,) or (n_samples, n_targets), optional
        Their labels or targets.
    """
    layers = client_part(predictor.graph)
    inputs = codes if layers is None else layers.simulate(codes).astype(np.uint16)
    circuit.keygen()
    sums, times = [], []
    for row in inputs:
        start = time.perf_counter()
        sums.append(run_encrypted(circuit, row[None], progress=False))
        times.append(time.perf_counter() - start)
    encrypted, clear = np.concatenate(sums), predictor.graph.simulate(codes)
    answers, expected = predictor.answer(encrypted), predictor.answer(clear)
    same = (answers == expected).reshape(len(codes), -1).all(axis=1)
    scores: tuple[Interval | None, Interval | None] = (None, None)
    if truth is not None and isinstance(predictor.targets, ClassTargets):
        labels = np.asarray(truth)[: len(codes)]
        scores = tuple(score(predictor.targets, labels, each) for each in (answers, expected))  # type: ignore[assignment]
    return Encrypted(
        n_rows=len(codes),
        same=share(int(same.sum()), len(codes)),
        score=scores[0],
        clear_score=scores[1],
        sums_off=int(np.abs(encrypted - clear).max()),
        seconds=float(np.median(times)),
    )


def security_of(circuit: Any) -> Security:
    """Return the parameters that a circuit encrypts with, and what they are held to."""
    if backend_of(circuit) == "bfv":
        return _bfv(circuit.parameters)
    return _tfhe(specs_of(circuit), circuit)


def _bfv(specs: BfvSpecs) -> Security:
    bits = math.log2(specs.modulus)
    widest = _WIDEST_MODULI.get(specs.degree)
    claim = (
        f"128 bits against classical computers: at degree {specs.degree} the Homomorphic "
        f"Encryption Standard allows moduli of up to {widest} bits, and this has {bits:.1f}"
        if widest is not None and bits <= widest
        else "not known: the Homomorphic Encryption Standard has no such degree and modulus"
    )
    return Security(
        scheme="BFV (ring learning with errors)",
        claim=claim,
        check="Modulus and noise are proven: no sum can come out wrong, for any input.",
        facts=(
            Fact("degree of the ring", str(specs.degree), "N; keys are ternary"),
            Fact("ciphertext modulus", f"{bits:.1f} bits", " x ".join(map(str, specs.primes))),
            Fact("plaintext modulus", power_of_two(specs.sum_bits), "holds every proven sum"),
            Fact(
                "flooding",
                f"{specs.flooding_bits} bits",
                "statistical bits with which an answer to one row hides the weights, beyond its "
                "sums",
            ),
        ),
        keys=(),
    )


def _tfhe(specs: bytes, circuit: Any) -> Security:
    from cipherfit.fhe.parameters import parameters_of
    from cipherfit.fhe.security import check_security

    check_security(specs)
    level = circuit.configuration.security_level
    keys = tuple(
        KeyFacts(
            name=_KEYS[key.name],
            dimension=key.dimension,
            noise=key.noise_bits,
            least_noise=key.least_noise_bits,
            form=_form(key),
        )
        for key in parameters_of(specs)
    )
    return Security(
        scheme="TFHE (learning with errors), parameters chosen by Concrete",
        claim=f"{int(level.value)} bits against classical computers, as Concrete was asked for",
        check="For this report the noise of every key was held to what the lattice estimator asks "
        "for at its dimension (binary secrets, 128 bits): none is below.",
        facts=(
            Fact("bootstrapping keys", size(circuit.size_of_bootstrap_keys), "of each client"),
            Fact("key switching keys", size(circuit.size_of_keyswitch_keys), "of each client"),
            Fact("secret keys", size(circuit.size_of_secret_keys), "never leave the client"),
            Fact("p_error", number(float(circuit.p_error), 3), "of one lookup"),
        ),
        keys=keys,
    )


def _form(key: KeyParameters) -> str:
    """Say how a key is made up."""
    parts = []
    if key.glwe_dimension is not None:
        plural = "" if key.glwe_dimension == 1 else "s"
        parts.append(f"{key.glwe_dimension} polynomial{plural} of degree {key.polynomial_size}")
    if key.n_levels is not None:
        parts.append(f"decomposed in {key.n_levels} x {key.base_bits} bits")
    return ", ".join(parts)
