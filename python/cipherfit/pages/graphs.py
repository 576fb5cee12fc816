"""Integer graphs and their proofs for notebooks, as HTML."""

from __future__ import annotations

from cipherfit._core import Certificate, IntegerGraph, LayerCertificate
from cipherfit.pages.fragments import Html, bars, code, facts, panel, table


def graph_html(graph: IntegerGraph) -> Html:
    """Describe a graph: its layers, who computes them, and what is proven of them.

    Parameters
    ----------
    graph : IntegerGraph
        Any.

    Returns
    -------
    Html
    """
    layers = graph.prove().layers
    sizes = [graph.n_features, *(len(layer.low) for layer in layers)]
    rows = [
        (
            number,
            "client, in clear" if number < graph.n_client_layers else "server, encrypted",
            len(layer.low),
            f"{layer.nonzeros.sum():,} of {n_inputs * len(layer.low):,}",
            *_proven(layer),
        )
        for number, (n_inputs, layer) in enumerate(zip(sizes[:-1], layers, strict=True))
    ]
    return panel(
        f"IntegerGraph {' -> '.join(map(str, sizes))}",
        facts(
            [
                ("inputs", f"{graph.n_features} codes of {graph.n_bits} bits"),
                ("encrypted lookups per row", f"{graph.n_lookups:,}"),
                ("digest", code(graph.digest)),
            ]
        ),
        table(("layer", "computed by", "neurons", "weights not 0", *_PROVEN), rows),
    )


def certificate_html(certificate: Certificate) -> Html:
    """Describe what is proven of a graph.

    Parameters
    ----------
    certificate : Certificate
        As `IntegerGraph.prove` returns it.

    Returns
    -------
    Html
    """
    rows = [
        (number, len(layer.low), f"{layer.nonzeros.sum():,}", *_proven(layer))
        for number, layer in enumerate(certificate.layers)
    ]
    return panel(
        f"Certificate: accumulators of at most {certificate.max_accumulator_bits} bits, "
        "for every input",
        facts([("digest of the graph", code(certificate.digest))]),
        table(("layer", "neurons", "weights not 0", *_PROVEN), rows),
    )


_PROVEN = ("accumulators in", "bits", "lookups read", "widths under the most that the bits hold")


def _proven(layer: LayerCertificate) -> tuple[str, int, str, Html]:
    """Return the cells of what is proven of a layer."""
    low, high, bits = int(layer.low.min()), int(layer.high.max()), layer.bits
    widths = (layer.high - layer.low).tolist()
    reads = "no lookup" if layer.lookup_bits is None else f"{layer.lookup_bits} bits"
    label = (
        f"widths of {len(widths)} accumulators, from {min(widths)} to {max(widths)}; "
        f"{bits} bits hold {2**bits - 1}"
    )
    return f"[{low:,}, {high:,}]", bits, reads, bars(widths, 2**bits - 1, label)
