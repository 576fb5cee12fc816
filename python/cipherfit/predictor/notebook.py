"""Predictors for notebooks, as HTML."""

from __future__ import annotations

from cipherfit._core import IntegerGraph
from cipherfit.pages.fragments import Html, facts, listed, panel
from cipherfit.pages.graphs import graph_html
from cipherfit.predictor.features import Features
from cipherfit.predictor.preparation import Preparation
from cipherfit.predictor.targets import ClassTargets, Targets


def predictor_html(
    graph: IntegerGraph,
    targets: Targets,
    features: Features,
    preparation: Preparation | None,
    states: dict[str, str],
) -> Html:
    """Describe a predictor: what it takes and predicts, how far it is, and its graph.

    Parameters
    ----------
    graph, targets, features, preparation
        As of `Predictor`.
    states : dict of str to str
        What else is to be told, by name.

    Returns
    -------
    Html
    """
    pairs = [("predicts", _predicts(targets)), ("takes", _takes(preparation or features))]
    if preparation is not None:
        pairs.append(("prepares", f"{features.n_features} features of them, as in training"))
    return panel("Predictor", facts([*pairs, *states.items()]), graph_html(graph))


def _predicts(targets: Targets) -> str:
    if isinstance(targets, ClassTargets):
        return f"{len(targets.classes)} classes: {listed(targets.classes.tolist())}"
    return "a real value" if targets.n_outputs == 1 else f"{targets.n_outputs} real values"


def _takes(features: Features | Preparation) -> str:
    names = "" if features.names is None else f": {listed(features.names)}"
    return f"{features.n_features} features{names}"
