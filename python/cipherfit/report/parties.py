"""Who holds and learns what of a model and of its rows: docs/privacy.md, for one model."""

from __future__ import annotations

from cipherfit.predictor.predictor import Predictor
from cipherfit.report.data import Party
from cipherfit.stages import encrypted_part


def parties_of(predictor: Predictor) -> tuple[Party, ...]:
    """Return what client and server hold and learn, by the network's own kind.

    Parameters
    ----------
    predictor : Predictor
        The model.
    """
    return _client(predictor), _server(predictor)


def _client(predictor: Predictor) -> Party:
    graph = predictor.graph
    holds = [
        "its rows, and the secret key, which never leaves it",
        "the input quantizer: a step and an origin for each feature, which tell the range that the "
        "feature had in training",
        "scales of the outputs, names of features and classes",
    ]
    if predictor.preparation is not None:
        holds.append(
            "what was fitted before the network: means, scales, categories, fill-in values, "
            "quantiles of the training data"
        )
    never = ["the weights of the server's layers"]
    if graph.n_client_layers and predictor.client_layers == "random":
        holds.append("the client layers: random, drawn from a seed before any training row is seen")
        never = ["any weight that was trained"]
    elif graph.n_client_layers and predictor.client_layers == "learned":
        holds.append("THE CLIENT LAYERS, WHICH WERE TRAINED: their weights are public")
    elif graph.n_client_layers:
        holds.append(
            "THE CLIENT LAYERS, which are not known to be random: count their weights as public"
        )
    learns = ["answers to its own rows, and through them what any model's answers say"]
    if not graph.n_lookups:
        n_answers = encrypted_part(graph).n_features + 1
        learns.append(
            "sums without lookups, exactly: whoever gets "
            f"{n_answers:,} answers to rows of their own choice can solve for the weights of the "
            "encrypted layer. Limit what a client may ask, or count these weights as public"
        )
        never = ["from fewer answers, the weights of the encrypted layer"]
    return Party("the client", tuple(holds), tuple(learns), tuple(never))


def _server(predictor: Predictor) -> Party:
    key = "evaluation keys" if predictor.graph.n_lookups else "public keys"
    return Party(
        "the server",
        ("every weight of the network", f"clients' {key}, which decrypt nothing"),
        ("how many rows there are, and when they come",),
        ("features, codes, sums or answers: all that it sees of a row are ciphertexts",),
    )
