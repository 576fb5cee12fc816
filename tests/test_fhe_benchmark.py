"""The example that fills the FHE benchmark's steps, run without the harness, on small networks."""

from __future__ import annotations

import importlib.util
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from command_samples import in_a_shell
from samples import load

import cipherfit
from cipherfit import NeuralNetClassifier

FOLDER = Path(__file__).parents[1] / "examples/fhe-benchmark"
#: As the harness runs them; it gives the instance size to all but the server's preparation.
STEPS = """\
set -eu
scripts/get_openfhe.sh
scripts/build_task.sh ./submission
submission/build/client_key_generation {size}
submission/build/server_preprocess_model
for query in {queries}; do
  submission/build/client_preprocess_input {size}
  submission/build/client_encode_encrypt_input {size}
  submission/build/server_encrypted_compute {size}
  submission/build/client_decrypt_decode {size}
  submission/build/client_postprocess {size}
done
"""


def program(name):
    specification = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def mnist(tmp_path_factory):
    """Digits of 8 x 8 pixels, each of them 3 x 3 and with a margin of 2, as MNIST's arrays."""
    X, y = load("digits")
    images = np.kron((X.reshape(-1, 8, 8) * 15).astype(np.uint8), np.ones((1, 3, 3), np.uint8))
    images, labels = np.pad(images, ((0, 0), (2, 2), (2, 2))), y.astype(np.uint8)
    path = tmp_path_factory.mktemp("mnist") / "mnist.npz"
    parts = {"X_train": images[:200], "y_train": labels[:200]}
    np.savez(path, **parts, X_test=images[200:260], y_test=labels[200:260])
    return path


def write_pixels(harness, size, images):
    """Write images as the harness does: pixels in [0, 1] of six decimals, between blanks."""
    path = harness / f"datasets/{size}/intermediate/test_pixels.txt"
    path.parent.mkdir(parents=True)
    path.write_text("".join(" ".join(f"{p:.6f}" for p in image) + "\n" for image in images))


def test_a_trained_network_answers_as_the_harness_asks(mnist, tmp_path, capsys):
    train, install = program("train"), program("install")
    train.main([str(mnist), "-o", str(tmp_path / "networks"), "--networks", "linear"])
    assert "linear: accuracy 0." in capsys.readouterr().out
    network, harness = tmp_path / "networks/linear.cipherfit", tmp_path / "harness"
    install.main([str(harness), "--network", str(network), "--mnist", str(mnist)])
    _, images, _, labels = train.split(mnist)
    write_pixels(harness, "small", images[:5])
    run = in_a_shell(STEPS.format(size=1, queries="1 2"), harness)
    assert (run.returncode, run.stderr) == (0, "")
    answers = (harness / "io/small/encrypted_model_predictions.txt").read_text().splitlines()
    assert answers == [str(label) for label in cipherfit.load(network).predict(images[:5])]
    assert np.mean(np.array(answers, dtype=int) == labels[:5]) >= 0.6
    for folder in ("public_keys", "ciphertexts_upload", "ciphertexts_download"):
        assert [path for path in (harness / "io/small" / folder).iterdir() if path.is_file()]


@pytest.mark.fhe
def test_a_network_with_lookups_answers_by_the_same_steps(tmp_path):
    X, y = load("digits")
    X = X / 16
    narrow = {"n_hidden_neurons": 2, "n_w_bits": 2, "n_a_bits": 2, "n_accum_bits": 4}
    module = {f"module__{name}": value for name, value in narrow.items()}
    model = NeuralNetClassifier(**module, module__rounding="exact", max_epochs=3, random_state=0)
    model.fit(X[:300], y[:300])
    program("train").save(model, tmp_path / "small", p_error=1e-9)
    harness = tmp_path / "harness"
    program("install").install(harness, tmp_path / "small.cipherfit")
    rows = np.round(X[300:302], 6)
    write_pixels(harness, "single", rows)
    run = in_a_shell(STEPS.format(size=0, queries=1), harness)
    assert (run.returncode, run.stderr) == (0, "")
    answers = (harness / "io/single/encrypted_model_predictions.txt").read_text().splitlines()
    assert answers == [str(label) for label in model.predict(rows.astype(np.float32))]


def test_a_step_that_fails_says_so_and_writes_no_answers(tmp_path):
    shutil.copytree(FOLDER / "submission", tmp_path / "submission")
    (tmp_path / "io/single/intermediate").mkdir(parents=True)
    steps = tmp_path / "submission/steps"
    script = "".join(f"{step} 0 2>/dev/null && echo {step.name}\n" for step in steps.iterdir())
    run = in_a_shell(f"CIPHERFIT=false\nexport CIPHERFIT\n{script}", tmp_path)
    assert run.stdout == ""
    assert not (tmp_path / "io/single/encrypted_model_predictions.txt").read_text()


def test_mnist_is_laid_out_as_its_makers_did(mnist, tmp_path):
    program("install").lay_out(mnist, tmp_path)
    arrays = np.load(mnist)
    for root in ("harness/mnist/data", "datasets/single", "datasets/large"):
        folder = tmp_path / root / "MNIST/raw"
        images = (folder / "t10k-images-idx3-ubyte").read_bytes()
        assert struct.unpack(">IIII", images[:16]) == (2051, 60, 28, 28)
        assert images[16:] == arrays["X_test"].tobytes()
        labels = (folder / "train-labels-idx1-ubyte").read_bytes()
        assert struct.unpack(">II", labels[:8]) == (2049, 200)
        assert labels[8:] == arrays["y_train"].tobytes()


def test_the_example_has_a_page():
    assert "examples/fhe-benchmark" in (FOLDER.parents[1] / "docs/examples.md").read_text()
