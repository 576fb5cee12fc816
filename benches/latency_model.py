"""What an encrypted row costs, from measured costs per lookup."""

from __future__ import annotations

import math

from cipherfit import IntegerGraph

#: Milliseconds per exact lookup on 2 cores, by the bits it reads (concrete-python 2.11, p_error
#: 0.01). A lookup behind approximate rounding costs about what one of the bits it reads does.
LOOKUP_MS = {1: 3.5, 2: 3.8, 3: 4.2, 4: 4.6, 5: 6.2, 6: 7.1, 7: 29.0, 8: 68.0}
#: Each bit that is rounded away exactly is a lookup of its own.
EXACT_ROUNDING_MS = 4.7
#: After lookups of more than 4 bits, outputs of more than 7 bits need larger parameters.
WIDE_OUTPUT_FACTOR = 1.6


def modelled_seconds(graph: IntegerGraph) -> float:
    """Return the modelled seconds per encrypted row."""
    layers = graph.to_dict()["layers"]
    milliseconds, widest = 0.0, 0
    for layer in layers:
        if layer["kind"] != "lookup":
            continue
        bits = max(1, math.ceil(math.log2(max(len(table) for table in layer["tables"]))))
        widest = max(widest, bits)
        # Beyond 8 bits the cost about doubles with each bit, as from 7 to 8.
        each = LOOKUP_MS.get(bits, LOOKUP_MS[8] * 2.3 ** max(0, bits - 8))
        if layer["exact"]:
            each += EXACT_ROUNDING_MS * layer["lsbs"]
        milliseconds += each * len(layer["tables"])
    if widest > 4 and graph.prove().layers[-1].bits > 7:
        milliseconds *= WIDE_OUTPUT_FACTOR
    return milliseconds / 1000
