"""Modelled seconds of an encrypted row, of what Concrete's optimizer says of its circuit.

``a + b * complexity + c * bootstrap_key_bytes``: bootstrapping is the complexity, and its key is
read on the way. The constants were fitted to 13 circuits of 4 to 64 lookups of 5 to 7 bits
(`benches/latency.py`), which they meet within 10 %.
"""

from __future__ import annotations

from cipherfit.fhe.runtime import fhe

#: Seconds per row; per unit of complexity; per byte of the bootstrap keys.
_FIXED, _PER_COMPLEXITY, _PER_KEY_BYTE = 7.8e-3, 5.18e-11, 2.78e-10
#: Seconds per row where there are no lookups, and so no bootstrapping.
_WITHOUT_LOOKUPS = 2.5e-3


def reference_seconds(circuit: fhe.Circuit) -> float:
    """Return modelled seconds per row on the machine that the constants were fitted on."""
    if not circuit.size_of_bootstrap_keys:
        return _WITHOUT_LOOKUPS
    return float(
        _FIXED
        + _PER_COMPLEXITY * circuit.complexity
        + _PER_KEY_BYTE * circuit.size_of_bootstrap_keys
    )
