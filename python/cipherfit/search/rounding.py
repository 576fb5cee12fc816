"""How many low bits each lookup of a trained network may leave unread, chosen by evidence.

Fewer bits read, and approximate rounding, make a lookup faster and coarser. What that costs in
accuracy is simulated on data, and what it saves is read off the circuit that Concrete compiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from cipherfit._core import IntegerGraph
from cipherfit.exceptions import CompilationError, InvalidParameterError, ProofError
from cipherfit.fhe.circuit import DEFAULT_P_ERROR
from cipherfit.fhe.estimate import machine_factor, modelled_seconds
from cipherfit.parameters import fraction
from cipherfit.predictor.p_error import NoisyScore, Trial
from cipherfit.training.lowering import lower
from cipherfit.training.network import MAX_LOOKUP_BITS, SparseQuantNeuralNetImpl

#: Wider lookups are never the fastest.
_WIDEST_TRIED = 8
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
    model : estimator
        The fastest that is within the drop that was allowed: fitted, not compiled.
    chosen : RoundingTrial
        How it rounds.
    before : RoundingTrial
        How the model that was given rounds.
    trials : tuple of RoundingTrial
        All settings within the drop allowed, in the order of the search.
    """

    model: Any
    chosen: RoundingTrial
    before: RoundingTrial
    trials: tuple[RoundingTrial, ...]

    def __str__(self) -> str:
        return f"{self.chosen}\nbefore: {self.before}"


def search_rounding(
    model: Any,
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

    Layer by layer, every width and rounding is simulated; those within the allowed drop are
    compiled, and the fastest stays. With `fine_tune_on`, faster ones that cost too much accuracy
    are trained on with their rounding, and taken where that brings it back.

    Parameters
    ----------
    model : NeuralNetClassifier or NeuralNetRegressor
        Fitted; it stays as it is.
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
        Training rows to fine-tune on. Default: no fine-tuning.
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
        If a parameter is out of range, or the model has no hidden layer of cipherfit's.
    """
    allowed = fraction("max_accuracy_drop", max_accuracy_drop)
    p_error = fraction("p_error", p_error)
    judge = NoisyScore(model, X, y, confidence=confidence, random_state=random_state)
    network = model.module_
    if not isinstance(network, SparseQuantNeuralNetImpl) or network.n_layers < 2:
        raise InvalidParameterError(
            "search_rounding needs a cipherfit network with at least one hidden layer"
        )

    def seconds(graph: IntegerGraph) -> float:
        return machine_factor() * modelled_seconds(graph, p_error)

    setting = _Setting.of(network)
    before = setting.tried(judge.trial(model.graph_, p_error), seconds(model.graph_))
    chosen, borne, too_coarse = before, [before], []
    for layer in range(network.n_layers - 1):
        for candidate in setting.variants(layer, network.n_accum_bits):
            try:
                graph = candidate.lowered(network)
                trial = judge.trial(graph, p_error)
                if trial.drop_bound > allowed:
                    too_coarse.append((candidate, trial, graph))
                    continue
                tried = candidate.tried(trial, seconds(graph))
            except (ProofError, CompilationError):
                continue
            borne.append(tried)
            if tried.seconds_per_row < chosen.seconds_per_row:
                chosen, setting = tried, candidate
    best = model if chosen is before else setting.applied(model)
    if fine_tune_on is not None:
        # The least harmful first: training brings those back most surely.
        for candidate, _, graph in sorted(too_coarse, key=lambda each: each[1].drop)[:_FINE_TUNED]:
            if seconds(graph) > (1 - _WORTHWHILE) * chosen.seconds_per_row:
                continue
            tuned = candidate.applied(model).partial_fit(*fine_tune_on)
            trial = judge.trial(tuned.graph_, p_error)
            if trial.drop_bound > allowed:
                continue
            tried = candidate.tried(trial, seconds(tuned.graph_), fine_tuned=True)
            borne.append(tried)
            if tried.seconds_per_row < chosen.seconds_per_row:
                chosen, best = tried, tuned
    if best is model:
        best = model._uncompiled_copy()
    return RoundingSearch(model=best, chosen=chosen, before=before, trials=tuple(borne))


@dataclass(frozen=True)
class _Setting:
    """Lookup widths and rounding of all hidden layers; rounding counts where bits are dropped."""

    bits: tuple[int, ...]
    widths: tuple[int, ...]
    roundings: tuple[str, ...]

    @classmethod
    def of(cls, network: SparseQuantNeuralNetImpl) -> _Setting:
        hidden = network.linear_layers[:-1]
        widths = tuple(int(layer.n_lookup_bits or MAX_LOOKUP_BITS) + layer.lsbs for layer in hidden)
        bits = tuple(width - layer.lsbs for width, layer in zip(widths, hidden, strict=True))
        return cls(bits, widths, tuple(network.roundings))

    @property
    def kinds(self) -> tuple[str, ...]:
        """How each layer rounds: "none" where no bits are dropped."""
        return tuple(
            rounding if bits < width else "none"
            for bits, width, rounding in zip(self.bits, self.widths, self.roundings, strict=True)
        )

    def variants(self, layer: int, n_accum_bits: int) -> list[_Setting]:
        """Return all other ways to round in one layer, coarse ones last."""
        width = min(self.widths[layer], n_accum_bits)
        ways = [
            (bits, rounding)
            for bits in range(min(width, _WIDEST_TRIED), 0, -1)
            for rounding in (("approximate", "exact") if bits < width else ("approximate",))
        ]
        settings = [
            _Setting(
                _replaced(self.bits, layer, bits),
                self.widths,
                _replaced(self.roundings, layer, rounding),
            )
            for bits, rounding in ways
        ]
        own = (self.bits, self.kinds)
        return [setting for setting in settings if (setting.bits, setting.kinds) != own]

    def tried(self, trial: Trial, seconds: float, fine_tuned: bool = False) -> RoundingTrial:
        return RoundingTrial(self.bits, self.kinds, trial, seconds, fine_tuned)

    def lowered(self, network: SparseQuantNeuralNetImpl) -> IntegerGraph:
        changed = deepcopy(network)
        changed.roundings = list(self.roundings)
        for layer, bits in zip(changed.linear_layers[:-1], self.bits, strict=True):
            layer.n_lookup_bits = bits
        return lower(changed)

    def applied(self, model: Any) -> Any:
        """Return a fitted copy of an estimator that rounds so."""
        rounded = model._with_module(
            model.module_.state_dict(),
            n_lookup_bits=list(self.bits), rounding=list(self.roundings),
        )  # fmt: skip
        rounded._lower_anew()
        return rounded


def _replaced(values: Sequence[Any], index: int, value: Any) -> tuple[Any, ...]:
    return (*values[:index], value, *values[index + 1 :])
