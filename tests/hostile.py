"""Messages that lie, which tests and fuzzing send in place of honest ones."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

from cipherfit.fhe.capnp import payload_spans

#: Numbers of 32 bits at which sizes overflow, or claim all memory.
_SIZES = (0, 1, 2**16, 2**29 - 1, 2**31 - 1, 2**31, 2**32 - 1)
#: A pointer to as many words as there can be.
_EVERYTHING = 1 | 5 << 32 | (2**29 - 1) << 35


def _flip(data: bytearray, rng: random.Random) -> None:
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _overwrite(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data))
    piece = rng.randbytes(min(rng.choice((1, 8, 40)), len(data) - start))
    data[start : start + len(piece)] = piece


def _resize(data: bytearray, rng: random.Random) -> None:
    """Put a hostile size where a number may be, mostly near the beginning, as sizes are."""
    reach = min(len(data), rng.choice((16, 128, len(data))))
    start = rng.randrange(max(reach // 4, 1)) * 4
    data[start : start + 4] = struct.pack("<I", rng.choice(_SIZES))[: len(data) - start]


def _clear(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data))
    stop = rng.randint(start, len(data))
    data[start:stop] = bytes([rng.choice((0, 255))]) * (stop - start)


def _cut(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


def _remove(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data))
    del data[start : start + rng.randint(1, 64)]


def _insert(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data) + 1)
    data[start:start] = rng.randbytes(rng.randint(1, 64))


def _repeat(data: bytearray, rng: random.Random) -> None:
    source, target = rng.randrange(len(data)), rng.randrange(len(data))
    piece = data[source : source + rng.randint(1, 256)]
    data[target : target + len(piece)] = piece


#: Those that leave the length as it is are as many as those that don't: lengths are checked first.
_CHANGES: tuple[Callable[[bytearray, random.Random], None], ...] = (
    _flip, _flip, _overwrite, _resize, _clear, _cut, _remove, _insert, _repeat,
)  # fmt: skip


def mutant(message: bytes, rng: random.Random) -> bytes:
    """Return a message with one to three changes."""
    data = bytearray(message)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        if data:
            rng.choice(_CHANGES)(data, rng)
    return bytes(data)


def lies(message: bytes) -> dict[str, bytes]:
    """Return what Concrete has been seen to crash, hang or take all memory over.

    Each but the cut ones is as long as the message, so that its length doesn't give it away.

    Parameters
    ----------
    message : bytes
        Keys or a ciphertext of Concrete's.
    """
    # Where the numbers lie: a pointer before them has their size, and one before it how many there
    # are of such pointers.
    start, stop = payload_spans(message)[0]
    (pointer,) = struct.unpack_from("<Q", message, start - 8)
    size = stop - start
    assert (pointer & 0xFFFFFFFF, pointer >> 35) == (1, size)

    def with_words(at: int, *words: int) -> bytes:
        data = bytearray(message)
        struct.pack_into(f"<{len(words)}Q", data, at, *words)
        return bytes(data)

    def sized(number: int) -> bytes:
        return with_words(start - 8, pointer & (1 << 35) - 1 | number << 35)

    half = (size // 2 - 8) // 8 * 8
    second = 1 + (half // 8 << 2) | 2 << 32 | half << 35
    first = 1 + (1 << 2) | 2 << 32 | half << 35
    (elements,) = struct.unpack_from("<Q", message, start - 16)
    split = bytearray(with_words(start - 16, elements + (1 << 35), first, second))
    return {
        "empty": b"",
        "no numbers": sized(0),
        "few numbers": sized(8),
        "one byte less": sized(size - 1),
        "too many numbers": sized(size + 8),
        "all memory": sized(2**29 - 1),
        "numbers in two": bytes(split),
        "no segment": with_words(0, 0),
        "4 GB in 80 bytes": struct.pack("<IIQ", 0, 9, _EVERYTHING) + bytes(64),
        "a segment of 32 GB": with_words(0, 0xFFFFFFFF << 32),
        "2**32 segments": with_words(0, 0xFFFFFFFF),
        "cut in the numbers": message[: start + size * 100 // 214],
        "cut by a byte": message[:-1],
        "longer": message + bytes(8),
        "zeros": bytes(len(message)),
    }  # fmt: skip
