"""The FHE benchmark's steps without its harness: what each takes, and what of it is encryption.

Run with `python benches/fhe_benchmark.py NETWORK.cipherfit --mnist FILE [--rows N]`, a network of
examples/fhe-benchmark/train.py. Each step is a program, as in the benchmark: seconds on the clock
and of processors; "at work" is the same step within one process that has started and opened its
keys. Tables of a run are kept in benches/README.md.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import cipherfit
from cipherfit.files.messages import Kind, Message
from cipherfit.files.server import run_message
from cipherfit.files.tables import read_table
from cipherfit.serve.encryption import encryption_of
from cipherfit.serve.frames import pack
from cipherfit.serve.keystore import KeyStore

EXAMPLE = Path(__file__).parents[1] / "examples/fhe-benchmark"
STEPS = [
    "client_key_generation",
    "server_preprocess_model",
    "client_preprocess_input",
    "client_encode_encrypt_input",
    "server_encrypted_compute",
    "client_decrypt_decode",
    "client_postprocess",
]
IO = "io/single"


def program(name: str) -> Any:
    """Return a program of the example, imported."""
    specification = importlib.util.spec_from_file_location(name, EXAMPLE / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Return seconds on the clock, and of processors in programs that it started."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    work()
    seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def run_step(folder: Path, step: str) -> None:
    """Run a step; all but the server's preparation are given the instance size."""
    size = [] if step == "server_preprocess_model" else ["0"]
    command = [f"submission/build/{step}", *size]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)


def as_programs(folder: Path, repeats: int) -> dict[str, tuple[float, float]]:
    """Run the steps in order, several times; return medians of both times."""
    found: dict[str, list[tuple[float, float]]] = {step: [] for step in STEPS}
    for _ in range(repeats):
        shutil.rmtree(folder / "io", ignore_errors=True)
        (folder / IO).mkdir(parents=True)
        for step in STEPS:
            found[step].append(timed(partial(run_step, folder, step)))
    return {step: tuple(np.median(times, axis=0)) for step, times in found.items()}


def at_work(folder: Path, repeats: int) -> dict[str, float]:
    """Return medians of the steps within one process, its keys open and its circuit compiled."""
    os.chdir(folder)
    predictor = cipherfit.load("submission/network.cipherfit")
    client = cipherfit.load_client("submission/network.client")
    store = KeyStore(f"{IO}/secret_key/store", Path(f"{IO}/secret_key/passphrase"))
    encryption = encryption_of(client, store)
    table = read_table(Path(f"{IO}/intermediate/rows.csv").read_bytes())
    keys_file = Path(f"{IO}/public_keys/evaluation.keys").read_bytes()
    keys = Message.from_bytes(keys_file, kind=Kind.EVALUATION_KEYS)
    templates = Path("submission/network.templates").read_bytes()
    if predictor.circuit is None:
        predictor.compile()
    seconds: dict[str, list[float]] = {step: [] for step in STEPS}
    for _ in range(repeats):
        start = time.perf_counter()
        body = pack(encryption.encrypt(client.encode(table)))
        rows = Message(Kind.ROWS, client.digest, keys.key, body, len(table))
        encrypted = time.perf_counter()
        answers = run_message(predictor, rows, keys, templates=templates)
        computed = time.perf_counter()
        client.answer(encryption.decrypt(answers.frames(), answers.n_rows))
        decrypted = time.perf_counter()
        seconds["client_encode_encrypt_input"].append(encrypted - start)
        seconds["server_encrypted_compute"].append(computed - encrypted)
        seconds["client_decrypt_decode"].append(decrypted - computed)
    return {step: float(np.median(times)) for step, times in seconds.items() if times}


def main() -> None:
    """Measure one network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network", type=Path, metavar="FILE", help=".cipherfit, its .client beside")
    parser.add_argument("--mnist", type=Path, required=True, metavar="FILE", help="npz of MNIST")
    parser.add_argument("--rows", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    images = program("train").split(options.mnist)[1][: options.rows]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        program("install").install(folder, options.network)
        subprocess.run(["scripts/build_task.sh", "submission"], cwd=folder, check=True)
        pixels = folder / "datasets/single/intermediate/test_pixels.txt"
        pixels.parent.mkdir(parents=True)
        np.savetxt(pixels, images, fmt="%.6f")
        command = [os.environ.get("CIPHERFIT", "cipherfit"), "--version"]
        starts = [timed(lambda: subprocess.run(command, check=True)) for _ in range(5)]
        programs = as_programs(folder, options.repeats)
        inside = at_work(folder, options.repeats)
    print(f"\n{options.network.stem}, {options.rows} images\n")
    print("| step | on the clock, s | of processors, s | at work, s |\n|---|---|---|---|")
    for step, (clock, processors) in programs.items():
        work = f"{inside[step]:.4f}" if step in inside else ""
        print(f"| `{step}` | {clock:.3f} | {processors:.3f} | {work} |")
    clock, processors = np.median(starts, axis=0)
    print(f"| `cipherfit --version` | {clock:.3f} | {processors:.3f} | |")


if __name__ == "__main__":
    main()
