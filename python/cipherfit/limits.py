"""How many bits codes, accumulators and lookups may have."""

from __future__ import annotations

from cipherfit._core import MAX_LOOKUP_BITS as MAX_LOOKUP_BITS

#: The widest code that a graph can hold, of an input or an activation: an index holds it.
MAX_CODE_BITS = MAX_LOOKUP_BITS
#: The fewest bits of outputs that can be asked for, so that noise stays within what is decrypted.
LEAST_OUTPUT_BITS = 3
#: The widest accumulator that training can promise: double precision holds its sums exactly.
MAX_ACCUM_BITS = 48
#: The seed's name for `MAX_LOOKUP_BITS`.
MAXIMUM_TLU_BIT_WIDTH = MAX_LOOKUP_BITS
