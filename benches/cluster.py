"""Many encrypted rows by workers of each joblib back end, against one process, and against plans.

Run with `make bench-cluster`. Contenders take turns on the same rows with the same keys. The first
call of each starts its workers: it tells the seconds until the first answers. Further calls find
workers that have circuits and keys ready, except Ray's, which start anew in each call. Plans are
for cores that nothing else runs on: where others do, CPU seconds a row tell how good a plan is.
"""

from __future__ import annotations

import argparse
import pickle
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import distributed
import joblib
import numpy as np
import psutil
import threadpoolctl
from sklearn.datasets import load_breast_cancer

from cipherfit import NeuralNetClassifier, run_encrypted
from cipherfit.costs import TaskCosts, rows_per_task
from cipherfit.fhe import measure_costs
from cipherfit.fhe.jobs import Errand, run_by_workers
from cipherfit.planning import Cluster

#: Bytes a second between processes of a machine.
LOOPBACK = 1e9
PICTURE = Path(__file__).parents[1] / "docs/images/cluster.png"


@dataclass
class Contender:
    """Something that runs rows.

    Parameters
    ----------
    context : callable
        Returns what the calls are made in.
    workers : int
        How many of them; 0 where this process runs rows.
    is_warm : bool, default=True
        Whether a second call finds workers ready.
    sends_keys : bool, default=True
        Whether each call sends keys.
    """

    context: Callable[[], Any]
    workers: int
    is_warm: bool = True
    sends_keys: bool = True
    first: float = 0.0
    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=128)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--picture", type=Path, default=PICTURE)
    options = parser.parse_args()
    X, y = load_breast_cancer(return_X_y=True)
    model = NeuralNetClassifier(module__n_hidden_neurons=4, random_state=0, max_epochs=20)
    circuit = model.fit(X, y).compile()
    circuit.keygen()
    codes = model.graph_.quantize(X[: options.rows].astype(np.float32)).astype(np.int64)
    costs = measure_costs(circuit)
    with ExitStack() as stack:
        contenders = made(stack)
        for contender in contenders.values():
            _, contender.first = timed(contender, circuit, codes)
        for _ in range(options.turns):
            for contender in contenders.values():
                before = cpu_seconds()
                contender.seconds.append(timed(contender, circuit, codes)[0])
                contender.cpu.append(cpu_seconds() - before)
    print(f"{len(codes)} rows of {model.graph_.n_lookups} lookups, {costs.most_rows} in a task")
    print_bytes(circuit, codes, costs)
    print_table(contenders, len(codes), costs)
    draw(contenders, len(codes), costs, options.picture)


def made(stack: ExitStack) -> dict[str, Contender]:
    """Return what takes turns; the stack closes it."""
    contenders = {
        "one process, one core": Contender(lambda: threadpoolctl.threadpool_limits(1), 0),
        "one process, all cores": Contender(ExitStack, 0),
        "threading, 2 workers": Contender(
            lambda: joblib.parallel_config("threading", n_jobs=2), 2, sends_keys=False
        ),
        "loky, 2 workers": Contender(lambda: joblib.parallel_config("loky", n_jobs=2), 2),
    }
    for n_workers in (1, 2):
        client = stack.enter_context(dask(n_workers))
        name = f"Dask, {n_workers} worker{'s' if n_workers > 1 else ''}"
        contenders[name] = Contender(
            lambda client=client: joblib.parallel_config("dask", client=client), n_workers
        )
    try:
        import ray
        from ray.util.joblib import register_ray
    except ImportError:
        print("Ray is not installed: pip install 'cipherfit[ray]'")
        return contenders
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    stack.callback(ray.shutdown)
    register_ray()
    contenders["Ray, 2 workers"] = Contender(
        lambda: joblib.parallel_config("ray", n_jobs=2), 2, is_warm=False
    )
    return contenders


@contextmanager
def dask(n_workers: int) -> Iterator[distributed.Client]:
    with (
        distributed.LocalCluster(
            n_workers=n_workers, threads_per_worker=1, dashboard_address=":0", host="127.0.0.1"
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client


def timed(contender: Contender, circuit: Any, codes: np.ndarray) -> tuple[float, float]:
    """Return seconds until all answers, and until the first ones."""
    start, first = time.perf_counter(), 0.0
    with contender.context():
        if not contender.workers:
            run_encrypted(circuit, codes, n_jobs=1)
            return time.perf_counter() - start, first
        size = rows_per_task(circuit.rows.most_rows, len(codes), contender.workers)
        pieces = np.split(np.arange(len(codes)), range(size, len(codes), size))
        answered = 0
        for rows, _ in run_by_workers(circuit, codes, pieces, None):
            first = first or time.perf_counter() - start
            answered += len(rows)
    assert answered == len(codes)
    return time.perf_counter() - start, first


def planned(contender: Contender, n_rows: int, costs: TaskCosts) -> float:
    """Return the seconds that a plan gives for workers that have circuits and keys ready."""
    warm = replace(costs, ready_seconds=0.0)
    if not contender.sends_keys:
        warm = replace(warm, prepare_seconds=0.0, key_bytes=0)
    local = Cluster(warm, bytes_per_second=LOOPBACK, start_seconds=0.0)
    return local.plan(n_rows, contender.workers).seconds


def planned_cpu(contender: Contender, n_rows: int, costs: TaskCosts) -> float:
    """Return the CPU seconds a row that a plan reckons with, of workers and the caller."""
    caller = costs.encryption_seconds + costs.decryption_seconds
    once = costs.prepare_seconds if contender.sends_keys else 0.0
    return costs.row_seconds + caller + once / n_rows


def cpu_seconds() -> float:
    """Return CPU seconds of this process and of all that it started and that still run."""
    this = psutil.Process()
    times = [process.cpu_times() for process in (this, *this.children(recursive=True))]
    return sum(spent.user + spent.system for spent in times)


def print_bytes(circuit: Any, codes: np.ndarray, costs: TaskCosts) -> None:
    piece = np.arange(min(costs.most_rows, len(codes)))
    with joblib.parallel_config("loky", n_jobs=2):
        errand = Errand(circuit)
        ((function, (number, part, key, keys, rows, _), _),) = errand.tasks(codes, {0: piece})
    task = len(pickle.dumps((function, number, part, key, rows))) / len(piece)
    errand.close()
    print(
        f"keys {len(keys) / 1e6:.0f} MB; a row takes {task / 1e3:.2f} kB up with its share of a "
        f"task, {costs.output_bytes / 1e3:.1f} kB down; the caller encrypts and decrypts "
        f"{1 / (costs.encryption_seconds + costs.decryption_seconds):.0f} rows/s"
    )


def print_table(contenders: dict[str, Contender], n_rows: int, costs: TaskCosts) -> None:
    print(
        "| | first answers, s | rows/s, median (best) | times one core | planned rows/s | off "
        "| CPU s a row | planned | off |"
    )
    print("|---" * 9 + "|")
    base = np.array(contenders["one process, one core"].seconds)
    for name, contender in contenders.items():
        rates = n_rows / np.array(contender.seconds)
        ratio = np.median(base / np.array(contender.seconds))
        cells = [name, f"{contender.first:.1f}" if contender.workers else ""]
        cells += [f"{np.median(rates):.2f} ({rates.max():.2f})", f"{ratio:.2f}"]
        if contender.workers and contender.is_warm:
            cpu = float(np.median(contender.cpu)) / n_rows
            rate = n_rows / planned(contender, n_rows, costs)
            plan = planned_cpu(contender, n_rows, costs)
            cells += [f"{rate:.2f}", f"{rate / np.median(rates) - 1:+.0%}"]
            cells += [f"{cpu:.4f}", f"{plan:.4f}", f"{plan / cpu - 1:+.0%}"]
        else:
            cells += [""] * 5
        print("| " + " | ".join(cells) + " |")


def draw(contenders: dict[str, Contender], n_rows: int, costs: TaskCosts, path: Path) -> None:
    """Draw rows a second as bars, and plans as marks."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.2), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(contenders))[::-1]
    rates = [n_rows / float(np.median(each.seconds)) for each in contenders.values()]
    axes.barh(places, rates, color="#2f5d8c", height=0.6, label="measured")
    marks = [
        (n_rows / planned(each, n_rows, costs), place)
        for place, each in zip(places, contenders.values(), strict=True)
        if each.workers and each.is_warm
    ]
    axes.plot(*zip(*marks, strict=True), "D", color="#c2452d", label="planned")
    axes.set_yticks(places, list(contenders))
    axes.set_xlabel("encrypted rows a second")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main()
