"""What a model is, in words and numbers: for `cipherfit inspect`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from cipherfit.exceptions import MissingDependencyError
from cipherfit.predictor.artifact import ClientModel
from cipherfit.predictor.predictor import Predictor
from cipherfit.predictor.targets import ClassTargets
from cipherfit.stages import encrypted_part, stages_of


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
    return {
        "graph": predictor.graph.digest,
        "digest": encrypted_part(predictor.graph).digest,
        "features": _features(predictor),
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


def client_model_of(predictor: Predictor) -> ClientModel:
    """Return what clients need of a model, which is compiled as it was, or anew."""
    if predictor.circuit is None:
        predictor.compile()
    return predictor.client_model()


def differences(
    predictor: Predictor, *, digest: str | None = None, client: ClientModel | None = None
) -> list[str]:
    """Say in what a model differs from the one that somebody else speaks of.

    Parameters
    ----------
    predictor : Predictor
        The model.
    digest : str, optional
        Digest that its server's graph must have.
    client : ClientModel, optional
        What a client holds, which must be made of this model.

    Returns
    -------
    list of str
        A sentence for each difference; none where all is as it must be.
    """
    own = encrypted_part(predictor.graph).digest
    found = []
    if digest is not None and digest.lower() != own:
        found.append(f"the digest of the server's graph is {own}, and not {digest}")
    if client is not None and client.digest != own:
        found.append(f"the client's file is for the model {client.digest}, and this is {own}")
    elif client is not None and client.to_bytes() != client_model_of(predictor).to_bytes():
        found.append(
            "the client's file is for this server's graph, but not what this model gives clients: "
            "another version wrote it, the model was compiled otherwise, or it was altered"
        )
    return found


def as_text(told: dict[str, Any]) -> str:
    """Return a summary as people read it."""
    features, predicts = told["features"], told["predicts"]
    lines = [f"digest {told['digest']} (of the server's graph)", f"graph {told['graph']}", ""]
    names = "" if features["names"] is None else f": {_listed(features['names'])}"
    lines.append(f"takes {features['count']} features{names}")
    if features["prepared"] is not None:
        lines.append(f"prepares {features['prepared']} features of them, as in training")
    lines.append(f"quantizes to codes of {features['bits']} bits")
    if predicts["kind"] == "classes":
        lines.append(f"tells {len(predicts['classes'])} classes: {_listed(predicts['classes'])}")
    else:
        lines.append(f"gives {predicts['count']} real values")
    lines += ["", "layers, and what is proven of them for every input:"]
    lines += [f"  {_layer(index, layer)}" for index, layer in enumerate(told["layers"], start=1)]
    lines += ["", "secret:", *(f"  {sentence}" for sentence in told["secret"])]
    lines += ["", "costs of encrypted rows:", *(f"  {x}" for x in told["costs"]["text"])]
    return "\n".join(lines)


def _features(predictor: Predictor) -> dict[str, Any]:
    of_network, preparation = predictor.features, predictor.preparation
    raw = of_network if preparation is None else preparation
    return {
        "count": raw.n_features,
        "names": None if raw.names is None else [*raw.names],
        "prepared": None if preparation is None else of_network.n_features,
        "bits": predictor.graph.n_bits,
    }


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
    return encrypted_part(predictor.graph).n_features


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
