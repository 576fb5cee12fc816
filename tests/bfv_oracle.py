"""A second reader of BFV's bytes, written from the paper in plain integers.

Fan and Vercauteren, "Somewhat practical fully homomorphic encryption" (2012): with the secret key
``s``, a ciphertext ``(c0, c1)`` holds ``c0 + c1 s = scale message + noise`` modulo ``q`` and
``X^N + 1``. Nothing here is the Rust crate's: ChaCha20 is that of RFC 8439, products of polynomials
are products of very long integers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cipherfit._core import BfvSpecs

Poly = list[int]
Places = dict[tuple[int, int], int]

HEAD = len(b"cipherfit-bfv\n") + 2 + 1 + 16
NAME, SEED = 16, 32


def chacha20(key: bytes, nonce: bytes, n_blocks: int) -> bytes:
    """Return the key stream from block 0 on."""
    parts = (b"expand 32-byte k", key)
    state = np.empty((16, n_blocks), dtype=np.uint32)
    state[:12] = np.concatenate([np.frombuffer(part, "<u4") for part in parts])[:, None]
    state[12] = np.arange(n_blocks)
    state[13:] = np.frombuffer(nonce, "<u4")[:, None]
    x = state.copy()
    columns = [(i, i + 4, i + 8, i + 12) for i in range(4)]
    diagonals = [(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4) for i in range(4)]
    for _ in range(10):
        for a, b, c, d in columns + diagonals:
            for to, by, other, turn in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
                x[to] += x[by]
                mixed = x[other] ^ x[to]
                x[other] = (mixed << np.uint32(turn)) | (mixed >> np.uint32(32 - turn))
    return (x + state).T.astype("<u4").tobytes()


def words(label: str, seed: bytes, index: int, count: int) -> list[int]:
    """Return numbers of 64 bits that a seed expands to."""
    key = hashlib.sha256(label.encode() + b"\0" + seed).digest()
    stream = chacha20(key, index.to_bytes(12, "little"), -(-count // 8))
    return np.frombuffer(stream, "<u8")[:count].tolist()


def multiply(left: Poly, right: Poly, modulus: int) -> Poly:
    """Return the product modulo ``X^N + 1``, by Kronecker's substitution of ``X``."""
    degree = len(left)
    size = -(-(2 * modulus.bit_length() + degree.bit_length()) // 8)

    def substituted(poly: Poly) -> int:
        return int.from_bytes(b"".join(value.to_bytes(size, "little") for value in poly), "little")

    product = (substituted(left) * substituted(right)).to_bytes(2 * degree * size, "little")
    values = [int.from_bytes(product[i * size :][:size], "little") for i in range(2 * degree)]
    return [(values[i] - values[i + degree]) % modulus for i in range(degree)]


@dataclass
class Reader:
    """Bytes, and how far they are read."""

    data: bytes
    at: int = HEAD

    def take(self, count: int) -> bytes:
        self.at += count
        assert self.at <= len(self.data)
        return self.data[self.at - count : self.at]

    def number(self, count: int) -> int:
        return int.from_bytes(self.take(count), "little")

    def packed(self, width: int, count: int) -> Poly:
        bits = bin(self.number(-(-width * count // 8)) | 1 << width * count + 8)[:2:-1]
        return [int(bits[i * width : (i + 1) * width][::-1], 2) for i in range(count)]


class Oracle:
    """Reads what belongs to one circuit and one secret key."""

    def __init__(self, specs: BfvSpecs, secret_key: bytes) -> None:
        self.specs = specs
        self.q = specs.modulus
        self.scale = 1 << specs.scale_bits
        seed = Reader(secret_key).take(SEED)
        pairs = [
            (word >> (2 * pair)) & 3
            for word in words("cipherfit-bfv secret key", seed, 0, specs.degree // 16)
            for pair in range(32)
        ]
        self.secret = [(pair - 1) % self.q for pair in pairs if pair < 3][: specs.degree]
        assert len(self.secret) == specs.degree

    def composed(self, residues: list[Poly]) -> Poly:
        """Return the integers with these residues (Chinese remainders)."""
        factors = [
            self.q // p * pow(self.q // p, -1, p) if p != self.q else 1 for p in self.specs.primes
        ]
        return [
            sum(value * factor for value, factor in zip(values, factors, strict=True)) % self.q
            for values in zip(*residues, strict=True)
        ]

    def uniform(self, label: str, seed: bytes, index: int) -> Poly:
        numbers = iter(words(label, seed, index, 2 * self.specs.degree * len(self.specs.primes)))
        residues = []
        for prime in self.specs.primes:
            mask = (1 << prime.bit_length()) - 1
            small = (word & mask for word in numbers)
            kept = (value for value in small if value < prime)
            residues.append([next(kept) for _ in range(self.specs.degree)])
        return self.composed(residues)

    def polynomial(self, reader: Reader) -> Poly:
        degree = self.specs.degree
        return self.composed([reader.packed(p.bit_length(), degree) for p in self.specs.primes])

    def phase(self, c0: Poly, c1: Poly) -> Poly:
        """Return ``c0 + c1 s``, centered."""
        product = multiply(c1, self.secret, self.q)
        phases = [(left + right) % self.q for left, right in zip(c0, product, strict=True)]
        return [phase - self.q if phase > self.q // 2 else phase for phase in phases]

    def split(self, phase: int) -> tuple[int, int]:
        """Return the nearest message, and the noise."""
        message = (phase + self.scale // 2) // self.scale
        return message, phase - message * self.scale

    def public_key_noise(self, public_key: bytes) -> Poly:
        """Return what a public key holds, which is noise alone."""
        reader = Reader(public_key)
        reader.take(NAME)
        mask = self.uniform("cipherfit-bfv public mask", reader.take(SEED), 0)
        return self.phase(self.polynomial(reader), mask)

    def opened(self, message: bytes) -> tuple[Reader, tuple[int, int, int], int]:
        """Return a reader behind the envelope, the layout, and the number of rows."""
        reader = Reader(message)
        reader.take(NAME)
        layout, rows, _ = reader.number(1), reader.number(4), reader.number(1)
        return reader, self.specs.layouts[layout], rows

    def encrypted_codes(self, request: bytes) -> Iterator[tuple[Poly, Poly, Places]]:
        """Yield the ciphertexts of a request, and which code is at which coefficient."""
        reader, (features, outputs, block_rows), rows = self.opened(request)
        seed, index = reader.take(SEED), 0
        for first in range(0, rows, block_rows):
            for chunk in range(0, self.specs.n_features, features):
                mask = self.uniform("cipherfit-bfv request mask", seed, index)
                yield (
                    self.polynomial(reader),
                    mask,
                    {
                        (row, column): (row - first) * features * outputs + column - chunk
                        for row in range(first, min(rows, first + block_rows))
                        for column in range(chunk, min(chunk + features, self.specs.n_features))
                    },
                )
                index += 1
        assert reader.at == len(request)

    def encrypted_sums(self, answer: bytes) -> Iterator[tuple[Poly, Poly, Places]]:
        """Yield the ciphertexts of an answer, 0 where nothing was sent, and where sums are."""
        reader, (features, outputs, block_rows), rows = self.opened(answer)
        dropped = self.specs.dropped_bits
        width = ((self.q - 1 + (1 << dropped >> 1)) >> dropped).bit_length()

        def read(count: int) -> Poly:
            return [(value << dropped) % self.q for value in reader.packed(width, count)]

        for first in range(0, rows, block_rows):
            for group in range(0, self.specs.n_outputs, outputs):
                mask, body = read(self.specs.degree), [0] * self.specs.degree
                places = {
                    (row, output): ((row - first) * outputs + output - group + 1) * features - 1
                    for row in range(first, min(rows, first + block_rows))
                    for output in range(group, min(group + outputs, self.specs.n_outputs))
                }
                for place, value in zip(places.values(), read(len(places)), strict=True):
                    body[place] = value
                yield body, mask, places
        assert reader.at == len(answer)

    def codes(self, request: bytes) -> tuple[np.ndarray, int]:
        """Return the rows of a request, and its largest noise."""
        return self.decrypted(self.encrypted_codes(request), request, self.specs.n_features)

    def sums(self, answer: bytes) -> tuple[np.ndarray, int]:
        """Return the rows of an answer, and its largest noise."""
        return self.decrypted(self.encrypted_sums(answer), answer, self.specs.n_outputs)

    def decrypted(
        self, ciphertexts: Iterator[tuple[Poly, Poly, Places]], message: bytes, width: int
    ) -> tuple[np.ndarray, int]:
        found = np.zeros((self.opened(message)[2], width), dtype=np.int64)
        largest = 0
        for body, mask, places in ciphertexts:
            phases = self.phase(body, mask)
            for place, at in places.items():
                found[place], noise = self.split(phases[at])
                largest = max(largest, abs(noise))
        return found, largest
