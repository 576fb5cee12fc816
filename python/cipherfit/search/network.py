"""Search for the most accurate network within an encrypted latency, or the fastest near the best.

Bits, layers, client layers, rounding and the error probability are sampled by Optuna's
multi-objective TPE (Ozaki et al., 2022, doi:10.1613/jair.1.13188). Encrypted hidden neurons follow
from the budget: as many as fit, by the cost of the circuit that is compiled. Accuracy is that of
the trained integer graph under simulated errors, on rows held out.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.utils.multiclass import type_of_target
from tqdm.auto import tqdm

from cipherfit._core import IntegerGraph
from cipherfit.estimators.fixed_module import FixedTypeSkorchNeuralNet
from cipherfit.estimators.protocol import Estimator
from cipherfit.exceptions import (
    CompilationError,
    InvalidInputError,
    InvalidParameterError,
    MissingDependencyError,
    ProofError,
)
from cipherfit.fhe.estimate import machine_factor
from cipherfit.parameters import integer, real
from cipherfit.predictor.backend import backend_for, imported
from cipherfit.predictor.p_error import NoisyScore
from cipherfit.qnn import NeuralNetClassifier, NeuralNetRegressor
from cipherfit.search.design import Design, DesignSearch

#: What is searched by default. `n_layers` are encrypted ones; `size` is a share of the latency
#: allowed, or of `max_neurons`.
SPACE: dict[str, tuple[Any, ...]] = {
    "n_layers": (1, 2, 3),
    "n_w_bits": (2, 3, 4),
    "n_a_bits": (2, 3, 4),
    "n_accum_bits": (5, 6, 7, 8, 9, 10),
    "n_lookup_bits": (4, 5, 6),
    "rounding": ("approximate", "exact"),
    "p_error": (0.001, 0.01, 0.03, 0.1),
    "size": (0.125, 0.25, 0.5, 0.75, 1.0),
}
#: Rows that show what a network costs, which needs no training worth the name.
_PROBE_ROWS, _PROBE_NEURONS = 200, 8
#: TPE proposes good networks again; these don't count, up to so many proposals per network.
_PROPOSALS = 5
#: Folds of which `n_folds` are used, and from how many rows on one is enough.
_FOLDS, _MANY_ROWS = 5, 5000


def design_network(
    X: Any,
    y: Any,
    *,
    max_latency: float | None = None,
    tolerance: float = 0.0,
    estimator: Estimator | None = None,
    client_layers: Sequence[str] = ("none", "random"),
    space: Mapping[str, Sequence[Any]] | None = None,
    max_neurons: int = 64,
    n_trials: int = 40,
    n_folds: int | None = None,
    storage: str | Path | None = None,
    machine: float | None = None,
    random_state: int = 0,
    progress: bool | None = None,
) -> DesignSearch:
    """Find the most accurate network within a latency, or the fastest within a tolerance of it.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Training features.
    y : array-like of shape (n_samples,) or (n_samples, n_targets)
        Labels or targets.
    max_latency : float, optional
        Seconds that an encrypted row may take, as `estimate_fhe` models them. Default: no limit
        but `max_neurons`.
    tolerance : float, at least 0, default=0
        Take the fastest network whose score is at most this far below the best.
    estimator : NeuralNetClassifier or NeuralNetRegressor, optional
        What is trained, with its other parameters (`max_epochs`, ...). Default: one of the two at
        its defaults, by the kind of `y`.
    client_layers : sequence of {"none", "random", "learned"}, default=("none", "random")
        Which kinds of first layers to try that the client computes in clear. All that is trained
        stays secret with the first two; "learned" ones are the most accurate, and public.
    space : mapping of str to sequence, optional
        Values to try instead of the default ones, by name: see `cipherfit.search.network.SPACE`.
    max_neurons : int, default=64
        Most encrypted hidden neurons of a layer.
    n_trials : int, default=40
        Networks to try, those found in `storage` included.
    n_folds : int in [1, 5], optional
        How many fifths of the rows are held out in turn. Default: 3, or 1 from 5000 rows on.
    storage : str or path, optional
        A file that keeps every trial: the same call goes on where it was stopped. Calls with other
        data or options do not mix.
    machine : float, optional
        How much longer than on the machine of the latency model a row takes on the server that
        will run it. Default: measured here (`cipherfit.fhe.estimate.machine_factor`).
    random_state : int, default=0
        Seed of sampling, splits and training. Trials repeat where `machine` is given, too.
    progress : bool, optional
        Whether to show a progress bar. Default: on a terminal only.

    Returns
    -------
    DesignSearch
        With the network fitted on all rows, and all that was tried.

    Raises
    ------
    MissingDependencyError
        If Optuna is not installed.
    InvalidParameterError
        If a parameter is out of range, or no network that was tried is within `max_latency`.
    """
    study = _Study(
        X, y, estimator, _merged(space, client_layers),
        max_latency=_positive("max_latency", max_latency),
        max_neurons=integer("max_neurons", max_neurons, 1),
        n_folds=n_folds, machine=machine, random_state=integer("random_state", random_state, 0),
    )  # fmt: skip
    tolerance = real("tolerance", tolerance)
    designs = study.run(integer("n_trials", n_trials, 1), storage, progress)
    return study.choose(designs, tolerance)


class _Study:
    """The data, the limits and the trials of one search."""

    def __init__(
        self, X: Any, y: Any, estimator: Estimator | None, space: dict[str, tuple[Any, ...]], *,
        max_latency: float | None, max_neurons: int, n_folds: int | None, machine: float | None,
        random_state: int,
    ) -> None:  # fmt: skip
        self.y = np.asarray(y)
        self.X = X if hasattr(X, "iloc") else np.asarray(X)
        if len(self.X) != len(self.y) or len(self.y) < _FOLDS:
            raise InvalidInputError(
                f"X has {len(self.X)} rows and y {len(self.y)}; as many are needed, and at least "
                f"{_FOLDS}"
            )
        if estimator is None:
            continuous = type_of_target(self.y).startswith("continuous")
            estimator = (NeuralNetRegressor if continuous else NeuralNetClassifier)(verbose=0)
        if not isinstance(estimator, FixedTypeSkorchNeuralNet):
            raise InvalidParameterError(
                f"estimator={estimator!r} must be a NeuralNetClassifier or NeuralNetRegressor; of "
                "a pipeline give the last step, and X as the steps before transform it"
            )
        self.estimator = clone(estimator).set_params(random_state=random_state)
        if is_classifier(estimator):
            self.estimator.set_params(classes=np.unique(self.y))
        self.space, self.max_latency, self.max_neurons = space, max_latency, max_neurons
        self.random_state = random_state
        self.machine = _positive("machine", machine) or machine_factor()
        self.given_machine = machine
        if n_folds is None:
            n_folds = 1 if len(self.y) >= _MANY_ROWS else 3
        self.n_folds = integer("n_folds", n_folds, 1, _FOLDS)
        self.probe_rows = np.random.default_rng(random_state).permutation(len(self.y))[:_PROBE_ROWS]
        self.costs: dict[tuple[Any, ...], float] = {}

    def name(self) -> str:
        """Name what a storage must hold to go on: these data, and these options."""
        options = (
            self.estimator.get_params(), self.space, self.max_latency, self.max_neurons,
            self.n_folds, self.given_machine, self.random_state,
        )  # fmt: skip
        # Callbacks are told by their parameters, which are among the options, not by address.
        told = re.sub(r" at 0x[0-9a-fA-F]+", "", repr(options))
        return str(joblib.hash((_content(self.X), _content(self.y), told)))

    def run(self, n_trials: int, storage: Any, progress: bool | None) -> list[Design]:
        try:
            import optuna
            from optuna.storages.journal import JournalFileBackend
        except ImportError as error:
            raise MissingDependencyError(
                "design_network needs Optuna: pip install 'cipherfit[design]'"
            ) from error
        kept = None
        if storage is not None:
            kept = optuna.storages.JournalStorage(JournalFileBackend(str(storage)))
        with _quiet(optuna):
            study = optuna.create_study(
                storage=kept, study_name=self.name(), load_if_exists=True,
                directions=["maximize", "minimize"],
            )  # fmt: skip
            proposed, counted = _progress(study)
            if not proposed:
                # First what is fastest of each kind, so that something is within the latency.
                for kind in self.space["client_layers"]:
                    first = {"n_layers": min(self.space["n_layers"]), "client_layers": kind}
                    study.enqueue_trial(first, skip_if_exists=True)
            with tqdm(
                total=n_trials, initial=min(len(counted), n_trials), desc="networks",
                disable=None if progress is None else not progress,
            ) as bar:  # fmt: skip
                while len(counted) < n_trials and len(proposed) < _PROPOSALS * n_trials:
                    # A sampler of its own for each trial: what was interrupted goes on the same.
                    seed = self.random_state * 100_003 + len(proposed)
                    again = bool(proposed) and "again" in proposed[-1].user_attrs
                    kind = optuna.samplers.RandomSampler if again else optuna.samplers.TPESampler
                    study.sampler = kind(seed=seed)
                    self._try(study, optuna.trial.TrialState.FAIL)
                    proposed, counted = _progress(study)
                    bar.update(len(counted) - bar.n)
        return [
            Design(**trial.user_attrs["design"]) for trial in counted[:n_trials] if trial.values
        ]

    def _try(self, study: Any, failed: Any) -> None:
        trial = study.ask()
        try:
            choice = {
                name: trial.suggest_categorical(name, values) for name, values in self.space.items()
            }
            known = [
                each.user_attrs["design"] for each in study.trials
                if each.values and self._is_same(each.params, choice)
            ]  # fmt: skip
            design = Design(**known[0]) if known else self._design(choice)
        except (InvalidParameterError, ProofError, CompilationError) as error:
            trial.set_user_attr("error", str(error))
            study.tell(trial, state=failed)
        except BaseException:
            study.tell(trial, state=failed)
            raise
        else:
            if known:
                trial.set_user_attr("again", True)
            trial.set_user_attr("design", vars(design))
            study.tell(trial, [design.score, design.seconds_per_row])

    def _is_same(self, one: dict[str, Any], other: dict[str, Any]) -> bool:
        """Tell whether two choices mean the same network."""
        if self._parameters(one) != self._parameters(other):
            return False
        names = ("p_error", "size") if one["n_layers"] > 1 else ()
        return all(one[name] == other[name] for name in names)

    def _design(self, choice: dict[str, Any]) -> Design:
        """Train and judge the network of a sampled choice."""
        size, p_error = choice["size"], choice["p_error"]
        if choice["n_layers"] == 1:
            p_error = min(self.space["p_error"])  # without lookups the rarest errors are free
        parameters = self._parameters(choice)
        if choice["n_layers"] > 1:
            n_neurons = self._n_neurons(parameters, p_error, size)
            parameters["module__n_hidden_neurons"] = _widths(parameters, n_neurons)
        splitter = StratifiedKFold if is_classifier(self.estimator) else KFold
        folds = splitter(_FOLDS, shuffle=True, random_state=self.random_state)
        scores, costs, lookups = [], [], []
        for number, (seen, unseen) in enumerate(folds.split(self.X, self.y)):
            if number == self.n_folds:
                break
            model = self._fitted(parameters, seen)
            judge = NoisyScore(model.predictor_, _rows(self.X, unseen), self.y[unseen])
            scores.append(judge.score - judge.trial(model.predictor_.graph, p_error).drop)
            costs.append(self._seconds(model.predictor_.graph, p_error))
            lookups.append(model.predictor_.graph.n_lookups)
        spread = np.std(scores, ddof=1) / math.sqrt(len(scores)) if len(scores) > 1 else math.nan
        return Design(
            parameters, p_error, float(np.mean(scores)), float(spread), float(max(costs)),
            max(lookups),
        )  # fmt: skip

    def _parameters(self, choice: dict[str, Any]) -> dict[str, Any]:
        """Return what the choice means; bits that can't go together are widened or cut."""
        chosen = {"n_layers": choice["n_layers"]}
        if choice["client_layers"] != "none":
            chosen["n_layers"] += 1
            chosen["n_client_layers"] = 1
            chosen["client_layers"] = choice["client_layers"]
        if choice["n_layers"] > 1:  # without lookups widths cost nothing, and have their defaults
            chosen.update({name: choice[name] for name in ("n_w_bits", "n_a_bits")})
            least = choice["n_w_bits"] + choice["n_a_bits"]
            chosen["n_accum_bits"] = max(choice["n_accum_bits"], least)
            chosen["n_lookup_bits"] = min(choice["n_lookup_bits"], chosen["n_accum_bits"])
            if chosen["n_lookup_bits"] < chosen["n_accum_bits"]:
                chosen["rounding"] = choice["rounding"]
        return {f"module__{name}": value for name, value in chosen.items()}

    def _n_neurons(self, parameters: dict[str, Any], p_error: float, size: float) -> int:
        """Return how many neurons per layer fit a share of the latency, or of the most allowed."""
        if self.max_latency is None:
            return max(1, round(size * self.max_neurons))
        budget = size * self.max_latency
        n_neurons = min(_PROBE_NEURONS, self.max_neurons)
        seconds = self._probe(parameters, p_error, n_neurons)
        for _ in range(3):
            # What a row costs grows by the lookup, from next to nothing.
            n_neurons = min(max(1, int(n_neurons * budget / seconds)), self.max_neurons)
            seconds = self._probe(parameters, p_error, n_neurons)
            if 0.85 * budget <= seconds <= budget or n_neurons in (1, self.max_neurons):
                break
        while seconds > budget and n_neurons > 1:
            n_neurons -= 1
            seconds = self._probe(parameters, p_error, n_neurons)
        return n_neurons

    def _probe(self, parameters: dict[str, Any], p_error: float, n_neurons: int) -> float:
        """Return seconds per row of a network that has hardly been trained."""
        parameters = {**parameters, "module__n_hidden_neurons": _widths(parameters, n_neurons)}
        key = (repr(parameters), p_error)
        if key not in self.costs:
            model = self._fitted({**parameters, "max_epochs": 1}, self.probe_rows)
            self.costs[key] = self._seconds(model.predictor_.graph, p_error)
        return self.costs[key]

    def _fitted(self, parameters: dict[str, Any], rows: Any) -> Estimator:
        model: Estimator = clone(self.estimator)
        model.set_params(**parameters)
        model.fit(_rows(self.X, rows), self.y[rows])
        return model

    def _seconds(self, graph: IntegerGraph, p_error: float) -> float:
        backend = imported(backend_for(graph))
        return self.machine * backend.modelled_seconds(graph, p_error)

    def choose(self, designs: list[Design], tolerance: float) -> DesignSearch:
        """Fit the fastest design near the best on all rows, or the next where it got too slow."""
        limit = math.inf if self.max_latency is None else self.max_latency
        feasible = [design for design in designs if design.seconds_per_row <= limit]
        best = max((design.score for design in feasible), default=-math.inf)
        near = [design for design in feasible if design.score >= best - tolerance]
        rest = [design for design in feasible if design.score < best - tolerance]
        near.sort(key=lambda design: design.seconds_per_row)
        rest.sort(key=lambda design: -design.score)
        for design in [*near, *rest]:
            model = self._fitted(design.parameters, np.arange(len(self.y)))
            if self._seconds(model.predictor_.graph, design.p_error) <= limit:
                return DesignSearch(model, design, tuple(designs), self.max_latency)
        least = min((design.seconds_per_row for design in designs), default=math.nan)
        raise InvalidParameterError(
            f"no network of {len(designs)} that were tried is within "
            f"max_latency={self.max_latency!r}: the fastest takes {least:.3g} s per row. Allow "
            "more, try more (n_trials), or a space with fewer bits"
        )


def _widths(parameters: dict[str, Any], n_neurons: int) -> int | list[int | None]:
    """Return the widths of hidden layers: of client layers the default, of the others as given."""
    n_client = parameters.get("module__n_client_layers", 0)
    if not n_client:
        return n_neurons
    return [None] * n_client + [n_neurons] * (parameters["module__n_layers"] - 1 - n_client)


def _progress(study: Any) -> tuple[list[Any], list[Any]]:
    """Return all finished proposals, and those that were not made before."""
    proposed = [trial for trial in study.trials if trial.state.is_finished()]
    return proposed, [trial for trial in proposed if "again" not in trial.user_attrs]


@contextmanager
def _quiet(optuna: Any) -> Iterator[None]:
    """Keep Optuna from announcing every trial."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def _merged(
    space: Mapping[str, Sequence[Any]] | None, client_layers: Sequence[str]
) -> dict[str, tuple[Any, ...]]:
    merged = {**SPACE, "client_layers": _kinds(client_layers)}
    for name, values in (space or {}).items():
        if name not in SPACE:
            raise InvalidParameterError(f"space has {name!r}; it may have {', '.join(SPACE)}")
        if isinstance(values, str) or not isinstance(values, Sequence) or not len(values):
            raise InvalidParameterError(f"space[{name!r}]={values!r} must be a sequence of values")
        merged[name] = tuple(values)
    return merged


def _kinds(client_layers: Sequence[str]) -> tuple[str, ...]:
    kinds = (client_layers,) if isinstance(client_layers, str) else tuple(client_layers)
    if not kinds or not set(kinds) <= {"none", "random", "learned"}:
        raise InvalidParameterError(
            f"client_layers={client_layers!r} must name some of 'none', 'random' and 'learned'"
        )
    return kinds


def _content(values: Any) -> Any:
    """Return what of an array to hash: of objects their text, since they differ by address."""
    values = np.ascontiguousarray(values)
    return repr(values.tolist()) if values.dtype.hasobject else values


def _rows(X: Any, rows: Any) -> Any:
    return X.iloc[rows] if hasattr(X, "iloc") else X[rows]


def _positive(name: str, value: Any) -> float | None:
    return None if value is None else real(name, value, above_low=True)
