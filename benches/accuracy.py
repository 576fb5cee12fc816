"""Accuracy at a bit budget: integer graphs against their float twins, over data sets and seeds.

Run with `make bench-accuracy`, or `python benches/accuracy.py [--quick | --targets | --linear]`:
`--linear` compares networks without lookups with scikit-learn's linear models. Every other result
is a line of JSON in benches/results/accuracy.jsonl, and a run takes up where the last one stopped.
The tables of a run are kept in benches/README.md.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from linear import compare
from skorch import NeuralNetClassifier as FloatClassifier
from skorch import NeuralNetRegressor as FloatRegressor
from tables import FASHION_FOLDER, NAMES, Table, available
from tqdm.auto import tqdm

from cipherfit import NeuralNetClassifier, NeuralNetRegressor
from cipherfit.estimators.batches import BatchLoader
from cipherfit.estimators.schedule import OneCycle
from cipherfit.fhe.estimate import modelled_seconds
from cipherfit.training.float_twin import FloatTwin

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Setting:
    """A network to train: widths in bits, None being the default."""

    n_hidden_neurons: int
    n_w_bits: int
    n_a_bits: int
    n_accum_bits: int
    n_lookup_bits: int | None = None

    def __str__(self) -> str:
        lookups = f", lookups of {self.n_lookup_bits} bits" if self.n_lookup_bits else ""
        bits = f"w{self.n_w_bits} a{self.n_a_bits} acc {self.n_accum_bits}{lookups}"
        return f"{self.n_hidden_neurons} neurons, {bits}"


BITS = [(2, 2, 6, None), (3, 3, 8, None), (4, 4, 8, None), (4, 4, 10, 5)]
NEURONS = [4, 8, 16, 32]
QUICK_GRID = [Setting(8, 3, 3, 8), Setting(8, 4, 4, 10, 5)]
#: Data set, setting, and what it must reach.
TARGETS = [
    ("digits", Setting(32, 3, 3, 8), 0.965),
    ("digits", Setting(32, 4, 4, 10, 5), 0.975),
    ("digits", Setting(64, 2, 2, 6), 0.94),
    ("breast_cancer", Setting(4, 3, 3, 8), 0.965),
    ("wine", Setting(8, 3, 3, 8), 0.98),
    ("iris", Setting(8, 3, 3, 8), 0.96),
    ("friedman1", Setting(32, 3, 3, 8), 0.88),
    ("friedman1", Setting(32, 4, 4, 10), 0.915),
    ("fashion_mnist", Setting(64, 4, 4, 10), 0.87),
]


class Log:
    """Results by what they are of, kept as lines of JSON."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.rows: dict[str, dict[str, Any]] = {}
        if path.exists():
            for line in path.read_text().splitlines():
                row = json.loads(line)
                self.rows[self.key(row["of"])] = row

    @staticmethod
    def key(of: dict[str, Any]) -> str:
        """Return what identifies a result."""
        return json.dumps(of, sort_keys=True)

    def get(self, of: dict[str, Any], measure: Any) -> dict[str, Any]:
        """Return a result, measured now if it isn't there."""
        key = self.key(of)
        if key not in self.rows:
            self.rows[key] = {"of": of, **measure()}
            with self.path.open("a") as file:
                file.write(json.dumps(self.rows[key]) + "\n")
        return self.rows[key]


def integer_result(table: Table, setting: Setting, seed: int) -> dict[str, Any]:
    """Train at the defaults; return the integer graph's score and cost."""
    X, X_test, y, y_test = table.split
    kind = NeuralNetClassifier if table.is_classes else NeuralNetRegressor
    given = {name: value for name, value in asdict(setting).items() if value is not None}
    start = time.perf_counter()
    model = kind(**{f"module__{name}": value for name, value in given.items()}, random_state=seed)
    model.fit(X, y)
    seconds = time.perf_counter() - start
    return {
        "score": float(model.score(X_test, y_test)),
        "seconds": seconds,
        "n_lookups": model.graph_.n_lookups,
        "bits": model.graph_.prove().max_accumulator_bits,
        "latency": modelled_seconds(model.graph_),
    }


def float_result(table: Table, n_hidden_neurons: int, seed: int) -> dict[str, Any]:
    """Train the float32 twin on standardized data, with the same schedule and options."""
    X, X_test, y, y_test = table.split
    mean, spread = X.mean(axis=0), X.std(axis=0)
    spread[spread == 0] = 1
    shared: dict[str, Any] = {
        "module__input_dim": X.shape[1],
        "module__hidden_widths": [n_hidden_neurons],
        "optimizer": torch.optim.Adam,
        "optimizer__betas": (0.9, 0.99),
        "lr": 0.005,
        "max_epochs": 100,
        "batch_size": 32,
        "iterator_train": BatchLoader,
        "iterator_train__shuffle": True,
        "train_split": None,
        "verbose": 0,
        "callbacks": [OneCycle()],
    }
    torch.manual_seed(seed)
    if table.is_classes:
        classes, codes = np.unique(y, return_inverse=True)
        model = FloatClassifier(
            FloatTwin,
            module__n_outputs=len(classes),
            criterion=torch.nn.CrossEntropyLoss,
            criterion__label_smoothing=0.1,
            **shared,
        )
        codes_test = np.searchsorted(classes, y_test)
    else:
        model = FloatRegressor(FloatTwin, module__n_outputs=1, **shared)
        codes, codes_test = (((part - y.mean()) / y.std())[:, None] for part in (y, y_test))
        codes, codes_test = codes.astype(np.float32), codes_test.astype(np.float32)
    model.fit((X - mean) / spread, codes)
    return {"score": float(model.score((X_test - mean) / spread, codes_test))}


def measure(log: Log, table: Table, settings: list[Setting], n_seeds: int) -> list[dict[str, Any]]:
    """Return one row per setting: means over seeds, of the integer graphs and their twins."""
    rows = []
    for setting in tqdm(settings, desc=table.name, leave=False):
        integer, twins = [], []
        for seed in tqdm(range(n_seeds), desc=str(setting), leave=False):
            of = {"data": table.name, "seed": seed, **asdict(setting)}
            integer.append(log.get(of, lambda s=setting, i=seed: integer_result(table, s, i)))
            width = setting.n_hidden_neurons
            of = {"data": table.name, "seed": seed, "float_twin": width}
            twins.append(log.get(of, lambda w=width, i=seed: float_result(table, w, i)))
        scores = [result["score"] for result in integer]
        row = {
            name: np.mean([result[name] for result in integer])
            for name in integer[0]
            if name != "of"
        }
        twin = np.mean([result["score"] for result in twins])
        rows.append({"setting": setting, **row, "least": min(scores), "twin": twin})
        tqdm.write(describe(table.name, rows[-1]))
    return rows


def describe(name: str, row: dict[str, Any]) -> str:
    """Return a line of the Markdown table."""
    score = f"{row['score']:.4f} ({row['least']:.4f})"
    cost = f"{row['n_lookups']:.0f} | {row['latency']:.2f} | {row['seconds']:.1f}"
    return f"| {name} | {row['setting']} | {score} | {row['twin']:.4f} | {cost} |"


def draw(name: str, rows: list[dict[str, Any]], twin: float, path: Path) -> None:
    """Draw accuracy over modelled latency, with the front of those that nothing beats."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for bits, group in itertools.groupby(
        sorted(rows, key=lambda row: str(_bits(row))), key=lambda row: str(_bits(row))
    ):
        points = [(row["latency"], row["score"]) for row in group]
        axes.scatter(*zip(*points, strict=True), label=bits, s=20)
    front, best = [], -np.inf
    for row in sorted(rows, key=lambda row: (row["latency"], -row["score"])):
        if row["score"] > best:
            best = row["score"]
            front.append((row["latency"], best))
    axes.step(*zip(*front, strict=True), where="post", color="black", linewidth=1, label="front")
    axes.axhline(twin, linestyle=":", color="grey", label="best float twin")
    axes.set(xlabel="modelled seconds per encrypted row", ylabel="score", title=name, xscale="log")
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=120)


def _bits(row: dict[str, Any]) -> str:
    return str(row["setting"]).split(", ", 1)[1]


def main() -> None:
    """Measure the grid, or the targets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="2 seeds, 2 settings, no large data")
    parser.add_argument("--targets", action="store_true", help="only the settings with a target")
    parser.add_argument("--linear", action="store_true", help="networks without lookups alone")
    parser.add_argument("--data", nargs="*", choices=NAMES, default=NAMES, help="data sets")
    parser.add_argument("--neurons", nargs="*", type=int, default=NEURONS, help="hidden ones")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--fashion-mnist", type=Path, default=FASHION_FOLDER, metavar="FOLDER")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="FOLDER")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    torch.set_num_threads(1)  # the networks are so small that threads cost more than they bring
    if options.linear:
        compare(options.data, options.fashion_mnist, options.seeds)
        return
    log = Log(options.results / "accuracy.jsonl")
    names = [name for name in options.data if not (options.quick and name == "fashion_mnist")]
    print("| data | network | score, mean (min) | float twin | lookups | latency, s | fit, s |")
    print("|---|---|---|---|---|---|---|")
    if options.targets:
        names = list(dict.fromkeys(name for name, *_ in TARGETS if name in names))
    for table in available(names, options.fashion_mnist):
        grid = [Setting(n, *bits) for n, bits in itertools.product(options.neurons, BITS)]
        if options.quick:
            grid = QUICK_GRID
        if options.targets:
            grid = [setting for name, setting, _ in TARGETS if name == table.name]
        rows = measure(log, table, grid, 2 if options.quick else options.seeds)
        if options.targets:
            for name, setting, target in TARGETS:
                for row in rows:
                    if (name, setting) == (table.name, row["setting"]):
                        reached = "reached" if row["score"] >= target else "NOT reached"
                        print(f"  target {target}: {reached}")
        else:
            twin = max(row["twin"] for row in rows)
            draw(table.name, rows, twin, options.results / f"{table.name}.png")


if __name__ == "__main__":
    main()
