"""Where the numbers lie in a message of Concrete's, and where what tells how many they are.

Concrete writes keys and ciphertexts with Cap'n Proto, as of its encoding specification
(https://capnproto.org/encoding.html): segments of 8-byte words, and in them structs, lists and
pointers. Numbers are byte strings that are elements of a list of pointers; all other strings are
fields of structs.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

_WORD = 8
_STRUCT, _FAR = 0, 2
_BYTES, _POINTERS, _STRUCTS = 2, 6, 7


def payload_spans(message: bytes) -> list[tuple[int, int]]:
    """Return where the numbers of a message lie.

    Meant for messages made by this process: a hostile one is an error of some kind, or nonsense.

    Parameters
    ----------
    message : bytes
        As `serialize` of a key set or a value returns it.

    Returns
    -------
    list of (start, stop)
        Ascending.
    """
    return sorted(_Message(message).spans())


class _Message:
    def __init__(self, data: bytes) -> None:
        self.data = data
        count = struct.unpack_from("<I", data)[0] + 1
        words = struct.unpack_from(f"<{count}I", data, 4)
        start = (4 + 4 * count + _WORD - 1) // _WORD * _WORD
        self.starts = []
        for size in words:
            self.starts.append(start)
            start += size * _WORD

    def spans(self) -> Iterator[tuple[int, int]]:
        return self._follow(self.starts[0], is_element=False)

    def _word(self, at: int) -> int:
        return int(struct.unpack_from("<Q", self.data, at)[0])

    def _far(self, word: int) -> int:
        """Return where a far pointer points: a segment, and words from its start."""
        start: int = self.starts[word >> 32]
        return start + (word >> 3 & (1 << 29) - 1) * _WORD

    def _follow(self, at: int, *, is_element: bool) -> Iterator[tuple[int, int]]:
        word = self._word(at)
        if not word:
            return
        if word & 3 != _FAR:
            offset = struct.unpack_from("<i", self.data, at)[0] >> 2
            yield from self._target(at + _WORD + offset * _WORD, word, is_element)
        elif word & 4:  # two words: where it lies, and what it is
            pad = self._far(word)
            yield from self._target(self._far(self._word(pad)), self._word(pad + 8), is_element)
        else:
            yield from self._follow(self._far(word), is_element=is_element)

    def _target(self, start: int, word: int, is_element: bool) -> Iterator[tuple[int, int]]:
        if word & 3 == _STRUCT:
            yield from self._struct(start, word)
            return
        kind, count = word >> 32 & 7, word >> 35
        if kind == _BYTES and is_element:
            yield start, start + count
        elif kind == _POINTERS:
            for index in range(count):
                yield from self._follow(start + index * _WORD, is_element=True)
        elif kind == _STRUCTS:
            tag = self._word(start)
            size = ((tag >> 32 & 0xFFFF) + (tag >> 48)) * _WORD
            for index in range((tag & 0xFFFFFFFF) >> 2):
                yield from self._struct(start + _WORD + index * size, tag)

    def _struct(self, start: int, word: int) -> Iterator[tuple[int, int]]:
        pointers = start + (word >> 32 & 0xFFFF) * _WORD
        for index in range(word >> 48):
            yield from self._follow(pointers + index * _WORD, is_element=False)
