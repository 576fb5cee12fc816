"""How many low bits each lookup of a trained network may leave unread, chosen by evidence.

Fewer bits read, and approximate rounding, make a lookup faster and coarser. What that costs in
accuracy is simulated on data, and what it saves is read off the circuit that Concrete compiles.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from cipherfit._core import IntegerGraph
from cipherfit.estimators.protocol import Estimator
from cipherfit.exceptions import CompilationError, InvalidParameterError, ProofError
from cipherfit.fhe.circuit import DEFAULT_P_ERROR
from cipherfit.fhe.estimate import machine_factor, modelled_seconds
from cipherfit.pages.fragments import panel, share, table
from cipherfit.parameters import fraction
from cipherfit.predictor.p_error import NoisyScore, Trial
from cipherfit.predictor.predictor import Predictor
from cipherfit.predictor.protocols import predictor_of, unwrapped
from cipherfit.search.setting import GraphRounder, NetworkRounder, Rounder, Setting
from cipherfit.training.network import SparseQuantNeuralNetImpl

#: Faster settings that are fine-tuned, and what part of the time each must save.
_FINE_TUNED, _WORTHWHILE = 2, 0.05


@dataclass(frozen=True)
class RoundingTrial:
    """One way to round in each hidden layer, and what it gives.

    Parameters
    ----------
    lookup_bits : tuple of int
        Top bits of an accumulator that a lookup reads, per hidden layer.
    rounding : tuple of {"none", "approximate", "exact"}
        How the others are rounded away.
    trial : Trial
        The score under simulated errors, and its drop from the model's score without any.
    seconds_per_row : float
        Modelled seconds per encrypted row on this machine.
    fine_tuned : bool
        Whether the network was trained on with this rounding.
    """

    lookup_bits: tuple[int, ...]
    rounding: tuple[str, ...]
    trial: Trial
    seconds_per_row: float
    fine_tuned: bool = False

    def __str__(self) -> str:
        layers = ", ".join(
            f"{bits} bits ({kind} rounding)"
            for bits, kind in zip(self.lookup_bits, self.rounding, strict=True)
        )
        return (
            f"lookups of {layers}{', fine-tuned' if self.fine_tuned else ''}: "
            f"{self.seconds_per_row:.3g} s per encrypted row (modelled), the score falls by "
            f"{self.trial.drop:.4f}, and by at most {self.trial.drop_bound:.4f}"
        )


@dataclass(frozen=True)
class RoundingSearch:
    """The result of `search_rounding`; printed, it is a statement.

    Parameters
    ----------
    model : estimator or Predictor
        The fastest that is within the drop that was allowed: fitted, not compiled, and of the kind
        that was given; of a pipeline, its last step.
    chosen : RoundingTrial
        How it rounds.
    before : RoundingTrial
        How the model that was given rounds.
    trials : tuple of RoundingTrial
        All settings within the drop allowed, in the order of the search.
    """

    model: Estimator | Predictor
    chosen: RoundingTrial
    before: RoundingTrial
    trials: tuple[RoundingTrial, ...]

    def __str__(self) -> str:
        return f"{self.chosen}\nbefore: {self.before}"

    def _repr_html_(self) -> str:
        """Describe it as HTML, for notebooks."""
        slowest = max(tried.seconds_per_row for tried in self.trials)
        rows = [
            (
                " ".join(self._names(tried)),
                ", ".join(map(str, tried.lookup_bits)),
                ", ".join(tried.rounding) + (" (fine-tuned)" if tried.fine_tuned else ""),
                f"{tried.seconds_per_row:.3g}",
                f"{tried.trial.drop:.4f}, at most {tried.trial.drop_bound:.4f}",
                share(tried.seconds_per_row / slowest),
            )
            for tried in self.trials
        ]
        columns = (
            "", "lookup bits", "rounding", "s per row (modelled)", "the score falls by", "time"
        )  # fmt: skip
        return panel("RoundingSearch: how hidden layers may round", table(columns, rows))

    def _names(self, tried: RoundingTrial) -> list[str]:
        named = {"chosen": self.chosen, "before": self.before}
        return [name for name, each in named.items() if each == tried]


def search_rounding(
    model: Estimator | Predictor,
    X: Any,
    y: Any = None,
    *,
    max_accuracy_drop: float = 0.01,
    p_error: float = DEFAULT_P_ERROR,
    confidence: float = 0.95,
    fine_tune_on: tuple[Any, Any] | None = None,
    random_state: int = 0,
) -> RoundingSearch:
    """Choose the lookup width and the rounding of every hidden layer for the least latency.

    Layer by layer that is encrypted, every width and rounding is simulated; those within the
    allowed drop are compiled, and the fastest stays. With `fine_tune_on`, faster ones that cost too
    much accuracy are trained on with their rounding, and taken where that brings it back.

    Parameters
    ----------
    model : NeuralNetClassifier, NeuralNetRegressor or Predictor
        Fitted, also as the last step of a pipeline; it stays as it is. The tables of an estimator
        are made anew from its network, those of a predictor from its graph.
    X : array-like of shape (n_samples, n_features)
        Rows like those to come, held out from training where possible.
    y : array-like of shape (n_samples,) or (n_samples, n_targets), optional
        Their labels or targets. Default: what the model predicts without errors.
    max_accuracy_drop : float in (0, 1), default=0.01
        By how much accuracy, or R2, may fall below that without errors of the model given.
    p_error : float in (0, 1), default=0.01
        Error probability of a lookup; compile the result with the same.
    confidence : float in (0, 1), default=0.95
        With what confidence it may not fall by more.
    fine_tune_on : tuple of (X, y), optional
        Training rows to fine-tune an estimator on. Default: no fine-tuning.
    random_state : int, default=0
        Seed of the simulated errors.

    Returns
    -------
    RoundingSearch
        With the new model, and what it was chosen by. Where nothing faster is within the drop,
        the model rounds as before.

    Raises
    ------
    NotFittedError
        If the model is not fitted.
    InvalidParameterError
        If a parameter is out of range, if the model has no hidden layer of cipherfit's, or if a
        predictor is to be fine-tuned.
    """
    allowed = fraction("max_accuracy_drop", max_accuracy_drop)
    p_error = fraction("p_error", p_error)
    whole = model
    model, X = unwrapped(model, X)
    predictor = predictor_of(model)
    judge = NoisyScore(predictor, X, y, confidence=confidence, random_state=random_state)
    rounder = _rounder_of(model)
    if fine_tune_on is not None and not isinstance(rounder, NetworkRounder):
        raise InvalidParameterError("fine_tune_on needs an estimator: a predictor can't train")
    search = _Search(rounder, judge, p_error, allowed)
    before = search.start(predictor.graph)
    search.descend()
    if isinstance(rounder, NetworkRounder) and fine_tune_on is not None:
        rows, labels = fine_tune_on
        search.fine_tune(rounder, unwrapped(whole, rows)[1], labels)
    return RoundingSearch(search.result(), search.chosen, before, tuple(search.borne))


def _rounder_of(model: Estimator | Predictor) -> Rounder:
    if isinstance(model, Predictor):
        if model.graph.n_lookups:
            return GraphRounder(model)
    else:
        network = model.module_
        if isinstance(network, SparseQuantNeuralNetImpl) and len(network.encrypted_layers) > 1:
            return NetworkRounder(model, network)
    raise InvalidParameterError(
        "search_rounding needs a cipherfit network with at least one encrypted hidden layer"
    )


@dataclass
class _Search:
    """The settings tried so far, and the best of them."""

    rounder: Rounder
    judge: NoisyScore
    p_error: float
    allowed: float
    borne: list[RoundingTrial] = field(default_factory=list)
    too_coarse: list[tuple[Setting, Trial, IntegerGraph]] = field(default_factory=list)
    tuned: Estimator | None = None

    def start(self, graph: IntegerGraph) -> RoundingTrial:
        """Judge the model as it rounds now."""
        self.setting = self.first = self.rounder.setting()
        trial = self.judge.trial(graph, self.p_error)
        self.chosen = _tried(self.setting, trial, self._seconds(graph))
        self.borne.append(self.chosen)
        return self.chosen

    def descend(self) -> None:
        """Take, layer by layer, the fastest setting that the score bears."""
        for layer in range(len(self.setting.bits)):
            for candidate in self.setting.variants(layer):
                with suppress(ProofError, CompilationError):
                    self._try(candidate)

    def fine_tune(self, rounder: NetworkRounder, X: Any, y: Any) -> None:
        """Train on with faster settings that were too coarse, the least harmful first."""
        for candidate, _, graph in sorted(self.too_coarse, key=lambda each: each[1].drop)[
            :_FINE_TUNED
        ]:
            if self._seconds(graph) > (1 - _WORTHWHILE) * self.chosen.seconds_per_row:
                continue
            tuned = rounder.applied(candidate)
            tuned.partial_fit(X, y)
            trial = self.judge.trial(tuned.predictor_.graph, self.p_error)
            if trial.drop_bound > self.allowed:
                continue
            seconds = self._seconds(tuned.predictor_.graph)
            tried = _tried(candidate, trial, seconds, fine_tuned=True)
            self.borne.append(tried)
            if tried.seconds_per_row < self.chosen.seconds_per_row:
                self.chosen, self.tuned = tried, tuned

    def result(self) -> Estimator | Predictor:
        """Return the model that rounds as chosen."""
        if self.tuned is not None:
            return self.tuned
        return self.rounder.applied(None if self.setting is self.first else self.setting)

    def _try(self, candidate: Setting) -> None:
        graph = self.rounder.lowered(candidate)
        trial = self.judge.trial(graph, self.p_error)
        if trial.drop_bound > self.allowed:
            self.too_coarse.append((candidate, trial, graph))
            return
        tried = _tried(candidate, trial, self._seconds(graph))
        self.borne.append(tried)
        if tried.seconds_per_row < self.chosen.seconds_per_row:
            self.chosen, self.setting = tried, candidate

    def _seconds(self, graph: IntegerGraph) -> float:
        return machine_factor() * modelled_seconds(graph, self.p_error)


def _tried(
    setting: Setting, trial: Trial, seconds: float, *, fine_tuned: bool = False
) -> RoundingTrial:
    return RoundingTrial(setting.bits, setting.kinds, trial, seconds, fine_tuned)
