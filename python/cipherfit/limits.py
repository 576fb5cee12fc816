"""How many bits codes, accumulators and lookups may have."""

from __future__ import annotations

#: The widest code that a graph can hold, of an input or an activation.
MAX_CODE_BITS = 16
#: The widest index that a lookup of a graph can read; Concrete's widest is the same.
MAX_LOOKUP_BITS = 16
#: The widest accumulator that training can promise.
MAX_ACCUM_BITS = 48
#: The seed's name for `MAX_LOOKUP_BITS`.
MAXIMUM_TLU_BIT_WIDTH = MAX_LOOKUP_BITS
