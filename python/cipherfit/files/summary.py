"""What a model is, in words and numbers: for `cipherfit inspect`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from cipherfit.exceptions import MissingDependencyError
from cipherfit.predictor.predictor import Predictor
from cipherfit.predictor.targets import ClassTargets
from cipherfit.stages import stages_of


def summary(predictor: Predictor) -> dict[str, Any]:
    """Say what a model computes, what is proven, what stays secret and what it costs.

    Parameters
    ----------
    predictor : Predictor
        The model.

    Returns
    -------
    dict
        Plain numbers, strings, lists and dicts, ready for JSON.
    """
    graph = predictor.graph
    return {
        "graph": graph.digest,
        "features": {
            "count": predictor.features.n_features,
            "names": None if predictor.features.names is None else [*predictor.features.names],
            "bits": graph.n_bits,
        },
        "predicts": _predicts(predictor),
        "layers": _layers(predictor),
        "secret": secrets(predictor),
        "costs": _costs(predictor),
    }


def secrets(predictor: Predictor) -> list[str]:
    """Say who learns what of the network, one sentence each."""
    graph = predictor.graph
    told = ["the server sees ciphertexts, how many rows they hold, and when they come: no row"]
    if graph.n_client_layers and predictor.client_layers == "random":
        told.append("client layers are random: every trained weight is the server's alone")
    elif graph.n_client_layers:
        told.append("THE WEIGHTS OF THE CLIENT LAYERS ARE PUBLIC: every client holds them")
    if graph.n_lookups:
        told.append("clients learn answers, not weights")
    else:
        told.append(
            "clients learn sums without lookups: the encrypted layer's weights can be solved for "
            f"from {_inputs(predictor) + 1} answers, so limit what a client may ask, or count them "
            "as public"
        )
    return told


def as_text(told: dict[str, Any]) -> str:
    """Return a summary as people read it."""
    features, predicts = told["features"], told["predicts"]
    lines = [f"graph {told['graph']}", ""]
    names = "" if features["names"] is None else f": {_listed(features['names'])}"
    lines.append(f"takes {features['count']} features as codes of {features['bits']} bits{names}")
    if predicts["kind"] == "classes":
        lines.append(f"tells {len(predicts['classes'])} classes: {_listed(predicts['classes'])}")
    else:
        lines.append(f"gives {predicts['count']} real values")
    lines += ["", "layers, and what is proven of them for every input:"]
    lines += [f"  {_layer(index, layer)}" for index, layer in enumerate(told["layers"], start=1)]
    lines += ["", "secret:", *(f"  {sentence}" for sentence in told["secret"])]
    lines += ["", "costs of encrypted rows:", *(f"  {x}" for x in told["costs"]["text"])]
    return "\n".join(lines)


def _predicts(predictor: Predictor) -> dict[str, Any]:
    if isinstance(predictor.targets, ClassTargets):
        return {"kind": "classes", "classes": predictor.targets.classes.tolist()}
    return {"kind": "values", "count": predictor.targets.n_outputs}


def _layers(predictor: Predictor) -> list[dict[str, Any]]:
    return [
        {
            "side": "client" if index < predictor.graph.n_client_layers else "server",
            "neurons": stage.n_neurons,
            "nonzero_weights": int((stage.weights != 0).sum()),
            "weights": int(stage.weights.size),
            "accumulator_bits": stage.proof.bits,
            "low": int(stage.proof.low.min()),
            "high": int(stage.proof.high.max()),
            "lookups": 0 if stage.lookup is None else stage.n_neurons,
        }
        for index, stage in enumerate(stages_of(predictor.graph))
    ]


def _costs(predictor: Predictor) -> dict[str, Any]:
    try:
        estimate = predictor.estimate_fhe()
    except MissingDependencyError as error:
        return {"text": [f"not known here: {error}"]}
    numbers = asdict(estimate)
    del numbers["layers"]
    return {**numbers, "lookups": estimate.n_lookups, "text": str(estimate).splitlines()}


def _inputs(predictor: Predictor) -> int:
    """Return how many codes the encrypted layers take."""
    graph = predictor.graph
    return graph.split()[1].n_features if graph.n_client_layers else graph.n_features


def _layer(index: int, layer: dict[str, Any]) -> str:
    lookups = f", then {layer['lookups']} lookups" if layer["lookups"] else ""
    clear = " in clear" if layer["side"] == "client" else ", encrypted"
    return (
        f"{index} ({layer['side']}{clear}): {layer['neurons']} neurons, "
        f"{layer['nonzero_weights']} of {layer['weights']} weights not 0, accumulators of "
        f"{layer['accumulator_bits']} bits in [{layer['low']}, {layer['high']}]{lookups}"
    )


def _listed(names: list[Any], most: int = 8) -> str:
    more = ", ..." if len(names) > most else ""
    return ", ".join(map(str, names[:most])) + more
