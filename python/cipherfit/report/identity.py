"""What a model is, and the way that a row takes through it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherfit.predictor.postprocessing import Step
from cipherfit.predictor.predictor import Predictor
from cipherfit.predictor.preparation import Preparation, Transform
from cipherfit.predictor.targets import ClassTargets
from cipherfit.report.data import Fact, Feature, Identity, Journey
from cipherfit.report.proven import Proof
from cipherfit.report.quality import MOST_CLASSES
from cipherfit.report.words import shown
from cipherfit.stages import encrypted_part, stages_of

Float32 = NDArray[np.float32]

#: Features that are listed.
MOST_FEATURES = 100


def identity_of(
    predictor: Predictor, steps: tuple[str, ...], features: Float32 | None, truth: Any
) -> Identity:
    """Return what a model is, beside what test rows are.

    Parameters
    ----------
    predictor : Predictor
        The model.
    steps : tuple of str
        What is computed of raw features before the network.
    features : ndarray of shape (n_samples, n_features), optional
        The network's features of test rows.
    truth : array-like of shape (n_samples,), optional
        Their labels.
    """
    targets = predictor.targets
    classes: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()
    if isinstance(targets, ClassTargets):
        classes = tuple(shown(label) for label in targets.classes[:MOST_CLASSES])
        if truth is not None:
            indices = targets.encode(np.asarray(truth))
            counts = tuple(np.bincount(indices, minlength=targets.n_outputs).tolist())
    return Identity(
        facts=_facts(predictor, steps, 0 if features is None else len(features)),
        features=_features(predictor, features),
        n_features=predictor.graph.n_features,
        classes=classes,
        n_classes=targets.n_outputs if classes else 0,
        counts=counts[:MOST_CLASSES],
    )


def journey_of(
    predictor: Predictor, n_features: int, steps: tuple[str, ...], proof: Proof
) -> Journey:
    """Return the way of a row."""
    graph = predictor.graph
    encrypted = encrypted_part(graph)
    stages = stages_of(graph)[: graph.n_client_layers]
    return Journey(
        n_features=n_features,
        steps=steps,
        n_codes=graph.n_features,
        code_bits=graph.n_bits,
        client_layers=tuple(stage.n_neurons for stage in stages),
        n_sent=encrypted.n_features,
        n_sums=graph.n_outputs,
        server_layers=tuple(layer for layer in proof.layers if layer.side == "server"),
        post_processing=tuple(
            step.name if isinstance(step, Step) else shown(getattr(step, "__name__", "a function"))
            for step in predictor.post_processing
        ),
    )


def steps_of(model: Any, predictor: Predictor) -> tuple[str, ...]:
    """Return the names of what is computed of raw features before a network."""
    while hasattr(model, "best_estimator_"):
        model = model.best_estimator_
    names = []
    if hasattr(model, "steps") and hasattr(model, "named_steps"):
        names = [
            type(step).__name__ for _, step in model.steps[:-1] if step not in (None, "passthrough")
        ]
    if predictor.preparation is not None:
        names += _kinds(predictor.preparation)
    return tuple(shown(name) for name in names)


def _kinds(preparation: Preparation) -> list[str]:
    def walk(transform: Transform) -> list[str]:
        inner = transform.parameters.get("steps")
        if inner is None:
            return [transform.kind.replace("_", " ")]
        return [name for step in inner for name in walk(step)]

    return list(dict.fromkeys(walk(preparation.transform)))


def _facts(predictor: Predictor, steps: tuple[str, ...], n_rows: int) -> tuple[Fact, ...]:
    graph, targets = predictor.graph, predictor.targets
    stages = stages_of(graph)
    weights = sum(stage.weights.size for stage in stages)
    kept = sum(int((stage.weights != 0).sum()) for stage in stages)
    kind = (
        f"one of {targets.n_outputs} classes"
        if isinstance(targets, ClassTargets)
        else f"{targets.n_outputs} real value{'s' if targets.n_outputs > 1 else ''}"
    )
    widths = " \N{RIGHTWARDS ARROW} ".join(
        map(str, [graph.n_features, *(stage.n_neurons for stage in stages)])
    )
    facts = [
        Fact("answers with", kind),
        Fact("network", widths, "neurons of each layer, from features to outputs"),
        Fact("weights", f"{kept:,} of {weights:,}", "that are not 0; all are integers"),
        Fact("input codes", f"{graph.n_bits} bits", "what a feature is rounded to"),
        Fact("layers in clear", str(graph.n_client_layers), "which the client computes"),
        Fact("encrypted lookups", f"{graph.n_lookups:,}", "per row; each takes milliseconds"),
    ]
    if steps:
        facts.insert(1, Fact("before the network", ", ".join(steps), "computed by the client"))
    if n_rows:
        facts.append(
            Fact(
                "test rows",
                f"{n_rows:,}",
                "as given; that they were held out from training is not checked",
            )
        )
    return tuple(facts)


def _features(predictor: Predictor, seen: Float32 | None) -> tuple[Feature, ...]:
    quantizer, n_features = predictor.input_quantizer, predictor.graph.n_features
    names = predictor.features.names or [f"feature {i}" for i in range(n_features)]
    n_listed = min(n_features, MOST_FEATURES)
    steps = np.broadcast_to(quantizer.scale, n_features)[:n_listed]
    origins = np.broadcast_to(quantizer.zero_point, n_features)[:n_listed]
    top = 2**quantizer.n_bits - 1
    listed = []
    for index, (step, origin) in enumerate(zip(steps.tolist(), origins.tolist(), strict=True)):
        about = {}
        if seen is not None:
            column = seen[:, index].astype(np.float64)
            codes = np.rint(column / step) + origin
            about = {
                "seen_low": float(column.min()),
                "seen_high": float(column.max()),
                "clipped": float(((codes < 0) | (codes > top)).mean()),
            }
        low, high = -origin * step, (top - origin) * step
        listed.append(Feature(shown(names[index]), low, high, step, **about))
    return tuple(listed)
