"""How Concrete shares crypto-parameters out to a circuit's lookups: the way that runs fastest.

Concrete can give all lookups the same parameters, those of each precision theirs, or those of each
precision and noise. The more sets there are the cheaper is each lookup, and the more keys there are
to read, on the way from one set to another, too. Which way is fastest depends on the circuit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cipherfit.fhe.latency import reference_seconds
from cipherfit.fhe.runtime import fhe

#: Options of Concrete's.
Strategy = dict[str, Any]

#: Its default, which is a set for each precision, and its other ways.
_STRATEGIES: tuple[Strategy, ...] = (
    {},
    {"multi_parameter_strategy": fhe.MultiParameterStrategy.PRECISION_AND_NORM2},
    {"parameter_selection_strategy": fhe.ParameterSelectionStrategy.MONO},
)
#: Part of the default's modelled time, which is right within 10 %, from which on it is left.
_WORTH = 0.9


def strategies_for(configuration: fhe.Configuration, n_lookup_layers: int) -> tuple[Strategy, ...]:
    """Return the ways among which to choose: one, where there is nothing to share out.

    Parameters
    ----------
    configuration : fhe.Configuration
        Where it names a strategy that is not Concrete's default, it is kept.
    n_lookup_layers : int
        Layers with lookups.
    """
    defaults = vars(fhe.Configuration())
    names = {name for strategy in _STRATEGIES for name in strategy}
    named = any(getattr(configuration, name) != defaults[name] for name in names)
    alone = n_lookup_layers < 2 or named or not configuration.fhe_execution
    return _STRATEGIES[:1] if alone else _STRATEGIES


def fastest(
    compiled: Callable[[Strategy], fhe.Circuit], strategies: tuple[Strategy, ...]
) -> tuple[fhe.Circuit, Strategy]:
    """Return the circuit of least modelled time, and how it was compiled.

    Parameters
    ----------
    compiled : callable
        Compiles with these options, or raises a RuntimeError.
    strategies : tuple of dict
        The first is taken unless another one is faster by more than the model errs.

    Raises
    ------
    RuntimeError
        If Concrete can't compile with the first.
    """
    chosen = strategies[0]
    circuit = compiled(chosen)
    if len(strategies) == 1:
        return circuit, chosen
    least = _WORTH * reference_seconds(circuit)
    for strategy in strategies[1:]:
        try:
            other = compiled(strategy)
        except RuntimeError:  # no parameters, that way
            continue
        seconds = reference_seconds(other)
        if seconds < least:
            circuit, chosen, least = other, strategy, seconds
    return circuit, chosen
