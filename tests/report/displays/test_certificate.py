"""What is drawn of a proof is what the certificate and the rows say."""

from __future__ import annotations

import numpy as np
import pytest
from core_graphs import random_features, random_parts
from samples import fitted, load
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cipherfit import CertificateDisplay, IntegerGraph, NeuralNetClassifier, Predictor, twin
from cipherfit.exceptions import InvalidParameterError
from cipherfit.predictor.targets import RealTargets

pyplot = pytest.importorskip("matplotlib.pyplot")
pyplot.switch_backend("Agg")

PARTS = random_parts(3, sizes=(6, 5, 4, 3), lsbs=2, n_client_layers=1)


@pytest.fixture(autouse=True)
def closed():
    yield
    pyplot.close("all")


def spans(bars):
    return [(bar.get_y(), bar.get_y() + bar.get_height()) for bar in bars]


def accumulators(parts, X, layer):
    """The accumulators of a linear layer, by the readable twin."""
    upto = {**parts, "layers": parts["layers"][: 2 * layer + 1]}
    return twin.simulate(upto, twin.quantize(parts, X))


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_bars_are_the_proven_intervals_and_what_rows_reach_above_their_minimum(layer):
    graph = IntegerGraph.from_layers(**PARTS)
    X = random_features(PARTS, 40).astype(np.float32)
    predictor = Predictor(graph, RealTargets(3, flat=False))
    display = CertificateDisplay.from_estimator(predictor, X, layer=layer)
    proof, reached = graph.prove().layers[layer], accumulators(PARTS, X, layer)
    assert spans(display.proven_) == [(0, high - low) for low, high in zip(
        proof.low, proof.high, strict=True
    )]  # fmt: skip
    assert spans(display.seen_) == list(
        zip(reached.min(axis=0) - proof.low, reached.max(axis=0) - proof.low, strict=True)
    )
    assert list(display.limit_.get_ydata()) == [2**proof.bits - 1] * 2
    assert display.limit_.get_label() == f"width: {proof.bits} bits"
    assert "seen on 40 rows" in [text.get_text() for text in display.ax_.get_legend().texts]


def test_the_first_encrypted_layer_is_drawn_where_none_is_named():
    predictor = Predictor(IntegerGraph.from_layers(**PARTS), RealTargets(3, flat=False))
    by_default = CertificateDisplay.from_estimator(predictor)
    named = CertificateDisplay.from_estimator(predictor, layer=1)
    assert spans(by_default.proven_) == spans(named.proven_)
    assert by_default.ax_.get_title() == "accumulators of the first encrypted layer"
    client = CertificateDisplay.from_estimator(predictor, layer=0).ax_.get_title()
    assert client == "accumulators of client layer 0, in clear"


def test_the_line_is_the_budget_of_training_where_a_lookup_reads():
    model = fitted("wine", n_accum_bits=9)
    hidden = CertificateDisplay.from_estimator(model)
    assert (hidden.n_bits, hidden.limit_.get_label()) == (9, "budget: 9 bits")
    output = CertificateDisplay.from_estimator(model, layer=1)
    width = model.graph_.prove().layers[1].bits
    assert (output.n_bits, output.limit_.get_label()) == (width, f"width: {width} bits")
    in_clear = fitted("wine", n_client_layers=1)
    assert CertificateDisplay.from_estimator(in_clear, layer=0).limit_.get_label()[:5] == "width"


def test_a_certificate_alone_is_drawn_without_rows():
    certificate = fitted("wine").graph_.prove()
    display = CertificateDisplay.from_certificate(certificate, layer=1)
    assert display.seen_ is None
    proof = certificate.layers[1]
    assert [top for _, top in spans(display.proven_)] == (proof.high - proof.low).tolist()


def test_of_a_pipeline_rows_go_through_its_steps():
    X, y = load("wine")
    whole = make_pipeline(StandardScaler(), NeuralNetClassifier(max_epochs=2)).fit(X, y)
    display = CertificateDisplay.from_estimator(whole, X)
    direct = CertificateDisplay.from_estimator(whole[-1], whole[0].transform(X))
    assert spans(display.seen_) == spans(direct.seen_)
    assert CertificateDisplay.from_estimator(whole).seen_ is None


def test_it_draws_where_the_caller_says_and_again():
    figure, (first, second) = pyplot.subplots(1, 2)
    display = CertificateDisplay.from_estimator(fitted("wine"), ax=first)
    assert (display.ax_, display.figure_) == (first, figure)
    assert display.plot(second) is display
    assert display.ax_ is second
    assert len(second.patches) == len(first.patches) == fitted("wine").module_.hidden_widths[0]


def test_neurons_that_are_constant_are_drawn_without_a_warning(recwarn):
    constant = random_parts(0, sizes=(3, 2))
    constant["layers"][0]["weights"][:] = 0
    certificate = IntegerGraph.from_layers(**constant).prove()
    display = CertificateDisplay.from_certificate(certificate)
    assert spans(display.proven_) == [(0, 0)] * 2
    assert not recwarn.list


@pytest.mark.parametrize("layer", [-1, 2, 0.5, True])
def test_a_layer_that_does_not_exist_is_named(layer):
    model = fitted("wine")
    for draw in (
        lambda: CertificateDisplay.from_estimator(model, layer=layer),
        lambda: CertificateDisplay.from_certificate(model.graph_.prove(), layer=layer),
    ):
        with pytest.raises(InvalidParameterError, match=rf"layer={layer} must be .*in \[0, 1\]"):
            draw()


def test_a_model_before_its_training_is_refused():
    with pytest.raises(NotFittedError):
        CertificateDisplay.from_estimator(NeuralNetClassifier())
