"""Microsoft SEAL decrypts what `cipherfit.bfv` encrypts and answers; how fast it is at the same.

An implementation that shares nothing with ours: SEAL 4.3 in the wheels of TenSEAL 0.3.18 (`pip
install tenseal`), whose low-level interface reads keys and ciphertexts from files in SEAL's format,
which this script writes. Degree 2048 and one prime: SEAL keeps a second one for key switching.

Run: python benches/bfv_peer.py
"""

from __future__ import annotations

import statistics
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import tenseal.sealapi as seal
from bfv_oracle import Oracle, Poly

from cipherfit._core import BfvSpecs, IntegerGraph
from cipherfit.bfv import compile_graph

REPEATS = 100


def seal_file(body: bytes) -> bytes:
    """Return SEAL's head (magic, its length, version 4.3, uncompressed, size) and a body."""
    return struct.pack("<HBBBBHQ", 0xA15E, 16, 4, 3, 0, 0, 16 + len(body)) + body


def array(values: list[int]) -> bytes:
    return seal_file(struct.pack(f"<Q{len(values)}Q", len(values), *values))


def loaded(kind: Any, context: Any, body: bytes) -> Any:
    with tempfile.NamedTemporaryFile() as file:
        file.write(seal_file(body))
        file.flush()
        value = kind()
        value.load(context, file.name)
    return value


def transformed(poly: Poly, prime: int) -> Poly:
    """Return the values at odd powers of the least primitive 2N-th root, as SEAL orders them."""
    degree = len(poly)
    generators = (pow(base, (prime - 1) // (2 * degree), prime) for base in range(2, 99))
    root = next(root for root in generators if pow(root, degree, prime) == prime - 1)
    least = min(pow(root, power, prime) for power in range(1, 2 * degree, 2))
    powers = [1]
    for _ in range(2 * degree - 1):
        powers.append(powers[-1] * least % prime)
    bits = degree.bit_length() - 1
    points = [2 * int(f"{i:0{bits}b}"[::-1], 2) + 1 for i in range(degree)]
    nonzero = [(j, 1 if value == 1 else -1) for j, value in enumerate(poly) if value]
    return [
        sum(sign * powers[point * j % (2 * degree)] for j, sign in nonzero) % prime
        for point in points
    ]


class Seal:
    """SEAL with our parameters and our secret key."""

    def __init__(self, specs: BfvSpecs, oracle: Oracle) -> None:
        parameters = seal.EncryptionParameters(seal.SCHEME_TYPE.BFV)
        parameters.set_poly_modulus_degree(specs.degree)
        parameters.set_coeff_modulus([seal.Modulus(prime) for prime in specs.primes])
        parameters.set_plain_modulus(1 << specs.sum_bits)
        self.context = seal.SEALContext(parameters, True, seal.SEC_LEVEL_TYPE.TC128)
        assert self.context.parameters_set(), self.context.parameters_error_message()
        self.specs = specs
        self.id = struct.pack("<4Q", *self.context.first_parms_id())
        secret = transformed(oracle.secret, specs.modulus)
        body = self.id + struct.pack("<Qd", specs.degree, 1.0) + array(secret)
        self.key = loaded(seal.SecretKey, self.context, body)
        self.decryptor = seal.Decryptor(self.context, self.key)

    def decrypt(self, body: Poly, mask: Poly) -> Poly:
        """Return the messages of a ciphertext, centered."""
        head = struct.pack("<?QQQdQ", False, 2, self.specs.degree, 1, 1.0, 1)
        ciphertext = loaded(seal.Ciphertext, self.context, self.id + head + array([*body, *mask]))
        plain = seal.Plaintext()
        self.decryptor.decrypt(ciphertext, plain)
        t = 1 << self.specs.sum_bits
        values = [plain[i] for i in range(plain.coeff_count())]
        values += [0] * (self.specs.degree - len(values))
        return [value - t if value >= t // 2 else value for value in values]


def decrypted_by_seal(peer: Seal, ciphertexts: Any, shape: tuple[int, int]) -> np.ndarray:
    found = np.zeros(shape, dtype=np.int64)
    for body, mask, places in ciphertexts:
        values = peer.decrypt(body, mask)
        for place, at in places.items():
            found[place] = values[at]
    return found


def milliseconds(work: Callable[[], Any]) -> float:
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return 1e3 * statistics.median(seconds)


def seal_times(peer: Seal, codes: np.ndarray, weights: np.ndarray) -> tuple[float, float, float]:
    """Return milliseconds of SEAL's encryption, product (not re-randomized), and decryption."""

    def polynomial(values: dict[int, int]) -> Any:
        t = 1 << peer.specs.sum_bits
        terms = [f"{v % t:X}x^{i}" for i, v in sorted(values.items(), reverse=True) if v and i]
        terms += [f"{values[0] % t:X}"] if values.get(0) else []
        return seal.Plaintext(" + ".join(terms))

    encryptor = seal.Encryptor(peer.context, peer.key)
    evaluator = seal.Evaluator(peer.context)
    message = polynomial({i: int(code) for i, code in enumerate(codes)})
    n_features = len(codes)
    factors = polynomial({
        j * n_features + n_features - 1 - i: int(weight)
        for (j, i), weight in np.ndenumerate(weights)
    })  # fmt: skip
    encrypted, product, plain = seal.Ciphertext(), seal.Ciphertext(), seal.Plaintext()
    encryptor.encrypt_symmetric(message, encrypted)
    evaluator.transform_to_ntt_inplace(factors, peer.context.first_parms_id())
    evaluator.transform_to_ntt_inplace(encrypted)
    evaluator.multiply_plain(encrypted, factors, product)
    evaluator.transform_from_ntt_inplace(product)

    return (
        milliseconds(lambda: encryptor.encrypt_symmetric(message, seal.Ciphertext())),
        milliseconds(lambda: evaluator.multiply_plain(encrypted, factors, seal.Ciphertext())),
        milliseconds(lambda: peer.decryptor.decrypt(product, plain)),
    )


def head(n_features: int, n_outputs: int, n_bits: int, weight: int) -> IntegerGraph:
    rng = np.random.default_rng(0)
    weights = rng.integers(-weight, weight + 1, (n_outputs, n_features))
    return IntegerGraph.from_layers(
        {
            "scale": np.ones(n_features),
            "zero_point": np.zeros(n_features, dtype=int),
            "n_bits": n_bits,
        },
        [{"kind": "linear", "weights": weights, "offset": rng.integers(-9, 9, n_outputs)}],
        {"scale": np.ones(n_outputs), "offset": np.zeros(n_outputs)},
    )


def main() -> None:
    print("| head | rows | SEAL decrypts our rows | and our sums |")
    print("|---|---|---|---|")
    for sizes, rows in [((128, 10, 4, 15), 1), ((128, 10, 4, 15), 40), ((30, 3, 6, 7), 2048)]:
        graph = head(*sizes)
        circuit = compile_graph(graph)
        circuit.keygen()
        codes = np.random.default_rng(1).integers(0, 2 ** sizes[2], (rows, sizes[0]))
        oracle = Oracle(circuit.parameters, circuit.client.serialize_secret_key())
        peer = Seal(circuit.parameters, oracle)
        encrypted = circuit.encrypt(codes)
        request, answer = encrypted.serialize(), circuit.run(encrypted).serialize()
        read = decrypted_by_seal(peer, oracle.encrypted_codes(request), codes.shape)
        sums = decrypted_by_seal(peer, oracle.encrypted_sums(answer), (rows, sizes[1]))
        exact = np.array_equal(read, codes), np.array_equal(sums, graph.simulate(codes))
        told = ("exactly" if right else "WRONG" for right in exact)
        print(
            f"| {sizes[0]} codes of {sizes[2]} bits to {sizes[1]} | {rows} | {' | '.join(told)} |"
        )
        assert all(exact)
    graph = head(128, 10, 4, 15)
    circuit = compile_graph(graph)
    circuit.keygen()
    peer = Seal(
        circuit.parameters, Oracle(circuit.parameters, circuit.client.serialize_secret_key())
    )
    codes = np.random.default_rng(1).integers(0, 16, 128)
    encrypted = circuit.encrypt(codes)
    answer = circuit.run(encrypted)
    ours = (
        milliseconds(lambda: circuit.encrypt(codes)),
        milliseconds(lambda: circuit.run(encrypted)),
        milliseconds(lambda: circuit.decrypt(answer)),
    )
    theirs = seal_times(peer, codes, graph.to_dict()["layers"][0]["weights"])
    print("\n| 128 codes of 4 bits to 10 sums, ms | encrypt | run | decrypt |")
    print("|---|---|---|---|")
    print("| cipherfit.bfv, bytes included | " + " | ".join(f"{ms:.3f}" for ms in ours) + " |")
    print("| SEAL, product neither re-randomized nor flooded, no bytes | "
          + " | ".join(f"{ms:.3f}" for ms in theirs) + " |")  # fmt: skip


if __name__ == "__main__":
    main()
