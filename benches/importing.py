"""Networks from elsewhere against what they were: scikit-learn's models, and a torch CNN.

``importing.py --sklearn`` imports linear models of scikit-learn's on all tables, ``--cnn`` a digits
network of two convolutions, quantized after training and trained quantization-aware. With
``--concrete-ml PYTHON`` that network runs encrypted, here and with Concrete ML in an environment of
its own; ``--held-out`` beside it says of all settings what those in use were chosen by.
``--fashion`` trains a convolution and two linear layers for Fashion-MNIST, of 600 lookups, and runs
rows of it encrypted with ``--encrypt``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import skorch
import torch
from sklearn import discriminant_analysis, linear_model, svm
from sklearn.datasets import load_digits
from sklearn.metrics import r2_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tables import NAMES, load
from torch import nn

from cipherfit import QuantizedSkorchEstimatorMixin, from_sklearn
from cipherfit.estimators.schedule import OneCycle
from cipherfit.predictor.output_noise import OutputNoise

CLASSIFIERS = [
    linear_model.LogisticRegression(max_iter=500),
    svm.LinearSVC(),
    linear_model.RidgeClassifier(),
    linear_model.SGDClassifier(random_state=0),
    discriminant_analysis.LinearDiscriminantAnalysis(),
]
REGRESSORS = [
    linear_model.Ridge(),
    linear_model.Lasso(),
    linear_model.ElasticNet(),
    svm.LinearSVR(),
    linear_model.SGDRegressor(random_state=0),
]

FASHION_OPTIONS: dict[str, Any] = {
    "criterion": nn.CrossEntropyLoss,
    "criterion__label_smoothing": 0.05,
    "batch_size": 128,
    "train_split": None,
    "verbose": 0,
}
#: Bits of weights, activations and accumulators, chosen by rows of training that were held out.
FASHION_WIDTHS = [(4, 5, 12), (4, 4, 12), (3, 3, 11)]


COMMON: dict[str, Any] = {
    "criterion": nn.CrossEntropyLoss,
    "criterion__label_smoothing": 0.1,
    "train_split": None,
    "verbose": 0,
}
PLAIN: dict[str, Any] = {
    "n_w_bits": 4,
    "n_a_bits": 4,
    "n_in_bits": 4,
    "n_lookup_bits": 5,
    "p_error": 0.05,
    "n_output_bits": 7,
}
#: All lookups, and fewer: how many are compared is chosen by held-out rows of training, with errors
#: (`--held-out`).
CANDIDATES = (PLAIN, *(PLAIN | {"n_lookups": n_lookups} for n_lookups in (250, 200, 175)))
#: The last one shows what outputs of fewer bits bring.
ENCRYPTED = (*CANDIDATES, PLAIN | {"n_lookups": 200, "n_output_bits": None})
QAT_LR = 0.005


class Own(QuantizedSkorchEstimatorMixin, skorch.NeuralNetClassifier):
    """A torch module of one's own."""


def compare_sklearn(n_seeds: int) -> None:
    """Print how scores differ from the fitted models', by kind, over tables and splits."""
    differences: dict[str, list[float]] = {}
    for name in NAMES:
        if name == "fashion_mnist":
            continue
        for seed in range(n_seeds):
            table = load(name, seed=seed)
            X, X_test, y, y_test = table.split
            for model in CLASSIFIERS if table.is_classes else REGRESSORS:
                fitted = make_pipeline(StandardScaler(), model).fit(X, y)
                predicted = from_sklearn(fitted, X).predict(X_test)
                score = (
                    (predicted == y_test).mean()
                    if table.is_classes
                    else r2_score(y_test, predicted)
                )
                kind = type(model).__name__
                differences.setdefault(kind, []).append(score - fitted.score(X_test, y_test))
    print("| model | tables and splits | mean difference | least | most |")
    print("|---|---|---|---|---|")
    for kind, each in differences.items():
        print(
            f"| {kind} | {len(each)} | {np.mean(each):+.5f} | {min(each):+.4f} | {max(each):+.4f} |"
        )


def cnn() -> nn.Sequential:
    """Return two convolutions of 8 and 16 channels of 3 x 3, average pooling, a linear layer."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3), nn.BatchNorm2d(16),
        nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip


def compare_cnn(n_seeds: int) -> None:
    """Print accuracies of the float network, and of both ways to few bits."""
    X, y = load_digits(return_X_y=True)
    X = X.astype(np.float32).reshape(-1, 1, 8, 8)
    print("| bits of weights and activations | float | after training | aware | lookups |")
    print("|---|---|---|---|---|")
    for n_bits in (4, 3, 2):
        rows = [_one_cnn(X, y, n_bits, seed) for seed in range(n_seeds)]
        real, after, aware, lookups = np.mean(rows, axis=0)
        print(f"| {n_bits} | {real:.4f} | {after:.4f} | {aware:.4f} | {lookups:.0f} |")


def _one_cnn(X: Any, y: Any, n_bits: int, seed: int) -> tuple[float, ...]:
    X, X_test, y, y_test = train_test_split(X, y, stratify=y, random_state=seed)
    after, net = _trained_in_float(X, y, n_bits, seed)
    real = (net.predict(X_test) == y_test).mean()
    aware = Own(after.module_, max_epochs=0, qat=True, n_a_bits=n_bits, **COMMON).fit(X, y)
    return real, after.score(X_test, y_test), aware.score(X_test, y_test), aware.graph_.n_lookups


def _trained_in_float(X: Any, y: Any, n_bits: int, seed: int) -> Any:
    torch.manual_seed(seed)
    float_model = Own(
        cnn(), optimizer=torch.optim.Adam, lr=0.01, max_epochs=30, batch_size=32,
        iterator_train__shuffle=True, callbacks=[("cycle", OneCycle())], n_a_bits=n_bits, **COMMON,
    )  # fmt: skip
    return float_model.fit_benchmark(X, y)


def compare_encrypted(python: Path, n_seeds: int, n_rows: int, epochs: int, held_out: bool) -> None:
    """Print what encrypted rows of the CNN take, ours and Concrete ML's, at which accuracy."""
    X, y = load_digits(return_X_y=True)
    X = X.astype(np.float32).reshape(-1, 1, 8, 8)
    runs: dict[str, list[dict[str, Any]]] = {}
    for seed in range(n_seeds):
        parts = train_test_split(X, y, stratify=y, random_state=seed)
        if held_out:
            parts = train_test_split(parts[0], parts[2], stratify=parts[2], random_state=seed)
        module = _trained_in_float(parts[0], parts[2], 4, seed)[0].module_.eval()
        rows = 0 if seed or held_out else n_rows
        settings = CANDIDATES if held_out else ENCRYPTED
        own = (_own_encrypted(each, module, parts, seed, rows, epochs) for each in settings)
        others = _concrete_ml(python, module, parts, seed, rows, epochs, held_out)
        for result in chain(own, others):
            print(json.dumps({"seed": seed, **result}), flush=True)
            runs.setdefault(result["setting"], []).append(result)
    print("| setting | lookups | accuracy, clear | with simulated errors | s a row | CPU s a row |")
    print("|---|---|---|---|---|---|")
    for setting, each in runs.items():
        means = [np.mean([run[name] for run in each]) for name in ("clear", "simulated")]
        times = " | ".join(f"{each[0].get(name, float('nan')):.3g}" for name in ("seconds", "cpu"))
        print(f"| {setting} | {each[0]['lookups']} | {means[0]:.4f} | {means[1]:.4f} | {times} |")


def _own_encrypted(
    options: dict[str, Any], module: nn.Module, parts: Any, seed: int, n_rows: int, epochs: int
) -> dict[str, Any]:
    X, X_test, y, y_test = parts
    options = dict(options)
    p_error, n_output_bits = options.pop("p_error"), options.pop("n_output_bits")
    torch.manual_seed(seed)
    training = {"max_epochs": 0, "qat": True, "qat_epochs": epochs, "qat_lr": QAT_LR}
    model = Own(module, **training, **options, **COMMON).fit(X, y)
    graph = model.graph_
    codes = graph.quantize(X_test.reshape(len(X_test), -1))
    noise = OutputNoise.of(graph, p_error, n_output_bits)
    noisy = []
    for run in range(10):
        sums = graph.simulate(codes, p_error=p_error, seed=run)
        outputs = graph.dequantize(noise.on_sums(sums, run))
        noisy.append(outputs.argmax(axis=1) == y_test)
    kept = options.get("n_lookups", "all")
    bits = f"w{options['n_w_bits']} a{options['n_a_bits']}"
    result = {
        "setting": f"cipherfit, {bits}, n_lookups {kept}, p_error {p_error:g}"
        + ("" if n_output_bits is None else f", n_output_bits {n_output_bits}"),
        "clear": float(model.score(X_test, y_test)),
        "simulated": float(np.mean(noisy)),
        "lookups": graph.n_lookups,
    }
    if n_rows:
        circuit = model.compile(X, p_error=p_error, n_output_bits=n_output_bits)
        circuit.keygen()
        times, right = [], []
        for row, label in zip(X_test[:n_rows], y_test, strict=False):
            began, busy = time.perf_counter(), time.process_time()
            right.append(bool(model.predict(row[None], fhe="execute")[0] == label))
            times.append((time.perf_counter() - began, time.process_time() - busy))
        seconds, cpu = np.median(times, axis=0)
        result |= {"seconds": seconds, "cpu": cpu, "right": sum(right), "rows": n_rows}
    return result


def _concrete_ml(
    python: Path,
    module: nn.Module,
    parts: Any,
    seed: int,
    n_rows: int,
    epochs: int,
    candidates: bool,
) -> Iterator[dict[str, Any]]:
    script = Path(__file__).parent / "concrete_ml_cnn_peer.py"
    names = ("X_train", "X_test", "y_train", "y_test")
    weights = {f"float.{name}": each.numpy() for name, each in module.state_dict().items()}
    given = {"rows": n_rows, "epochs": epochs, "lr": QAT_LR, "seed": seed}
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "cnn.npz"
        np.savez(data, **dict(zip(names, parts, strict=True)), **weights)
        arguments = [f"--{name}={value}" for name, value in given.items()]
        arguments += ["--candidates"] if candidates else []
        done = subprocess.run(
            [str(python), str(script), str(data), *arguments],
            check=True, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
    yield from (json.loads(line) for line in done.stdout.splitlines() if line.startswith("{"))


class Mirrored(Own):
    """Sees about every second image mirrored, in float and with quantized layers."""

    def train_step(self, batch: Any, **fit_params: Any) -> Any:
        """Train on a batch (rows, classes)."""
        rows, classes = batch
        images = rows.reshape(-1, 28, 28)
        mirrored = torch.rand(len(images), 1, 1) < 0.5
        images = torch.where(mirrored, images.flip(2), images)
        return super().train_step((images.flatten(1), classes), **fit_params)


def fashion_cnn() -> nn.Sequential:
    """Return 16 channels of 8 x 8 at 5 x 5 positions, and 200 neurons: 600 activations."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 8, stride=5, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(),
        nn.Linear(400, 200, bias=False), nn.BatchNorm1d(200), nn.ReLU(), nn.Linear(200, 10),
    )  # fmt: skip


def compare_fashion(n_seeds: int, n_encrypted: int) -> None:
    """Print the same of Fashion-MNIST, with modelled time, and the least of all seeds."""
    X, X_test, y, y_test = load("fashion_mnist").split
    X, X_test = (rows.reshape(-1, 1, 28, 28) / np.float32(255) for rows in (X, X_test))
    nets = [_fashion_in_float(X, y, seed) for seed in range(n_seeds)]
    real = [float((net.predict(X_test) == y_test).mean()) for net in nets]
    print(
        "| bits: weights, activations, accumulators | read | float | after training | aware "
        "| lookups | s per row, modelled |"
    )
    print("|---|---|---|---|---|---|---|")
    for n_w_bits, n_a_bits, n_accum_bits in FASHION_WIDTHS:
        widths = {"n_w_bits": n_w_bits, "n_a_bits": n_a_bits, "n_accum_bits": n_accum_bits}
        scores = []
        for seed, net in enumerate(nets):
            torch.manual_seed(seed)
            common = {"max_epochs": 0, "n_in_bits": 4, **widths, **FASHION_OPTIONS}
            after = Mirrored(net.module_, **common).fit(X, y)
            aware = Mirrored(
                net.module_, qat=True, qat_epochs=10, qat_lr=0.004, **common
            ).fit(X, y)  # fmt: skip
            scores.append([model.score(X_test, y_test) for model in (after, aware)])
        cost = aware.estimate_fhe()
        read = sorted({each.lookup_bits for each in cost.layers})
        columns = [_mean_and_least(column) for column in (real, *np.transpose(scores))]
        print(
            f"| {n_w_bits}, {n_a_bits}, {n_accum_bits} | {read} | {' | '.join(columns)} "
            f"| {cost.n_lookups} | {cost.seconds_per_row:.1f} |",
            flush=True,
        )
        if n_encrypted:
            _run_encrypted(aware, X_test[:n_encrypted])


def _fashion_in_float(X: Any, y: Any, seed: int) -> Any:
    """Return the network trained in float, as a net of skorch's."""
    torch.manual_seed(seed)
    return Mirrored(
        fashion_cnn(), optimizer=torch.optim.AdamW, lr=0.01, max_epochs=20,
        iterator_train__shuffle=True, callbacks=[("cycle", OneCycle())], **FASHION_OPTIONS,
    ).fit_benchmark(X, y)[1]  # fmt: skip


def _mean_and_least(values: Any) -> str:
    return f"{np.mean(values):.4f} ({np.min(values):.4f})"


def _run_encrypted(model: Any, rows: Any) -> None:
    """Print how long rows take encrypted, and how many answers are those in clear."""
    start = time.perf_counter()
    model.compile()
    model.predict(rows[:1], fhe="execute")
    keys = time.perf_counter() - start
    start = time.perf_counter()
    encrypted = model.predict(rows, fhe="execute")
    each = (time.perf_counter() - start) / len(rows)
    same = int((encrypted == model.predict(rows)).sum())
    print(
        f"{len(rows)} encrypted rows: {each:.1f} s a row, {same} as in clear, {keys:.1f} s "
        "to compile, make keys and run a first row",
        flush=True,
    )


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sklearn", action="store_true")
    parser.add_argument("--cnn", action="store_true")
    parser.add_argument("--fashion", action="store_true")
    parser.add_argument("--encrypt", type=int, default=0, metavar="ROWS")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--concrete-ml", type=Path, metavar="PYTHON", help="its interpreter")
    parser.add_argument(
        "--held-out", action="store_true",
        help="with --concrete-ml: accuracies of all candidates, on held-out rows of training",
    )  # fmt: skip
    parser.add_argument("--rows", type=int, default=5, help="encrypted rows of each network")
    parser.add_argument("--epochs", type=int, default=100, help="of quantization-aware training")
    options = parser.parse_args()
    if options.sklearn:
        compare_sklearn(options.seeds)
    if options.cnn and options.concrete_ml is None:
        compare_cnn(options.seeds)
    elif options.cnn:
        given = (options.concrete_ml, options.seeds, options.rows, options.epochs)
        compare_encrypted(*given, options.held_out)
    if options.fashion:
        compare_fashion(options.seeds, options.encrypt)
