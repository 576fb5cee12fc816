"""Many encrypted rows by workers of each joblib back end, against one process, and against plans.

Run with `make bench-cluster`. Contenders take turns on the same rows with the same keys. The first
call of each starts its workers: it tells the seconds until the first answers. Further calls find
workers that have circuits and keys ready, except Ray's, which start anew in each call. What a back
end takes for itself (keys to all workers, tasks, answers) is measured with tasks that compute
nothing. Plans are for cores that nothing else runs on: where others do, CPU seconds a row tell how
good a plan is.
"""

from __future__ import annotations

import argparse
import pickle
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import distributed
import joblib
import numpy as np
import psutil
import threadpoolctl
from sklearn.datasets import load_breast_cancer, load_digits

from cipherfit import NeuralNetClassifier, plan_cluster, run_encrypted
from cipherfit.costs import TaskCosts, readable_bytes
from cipherfit.fhe import measure_costs
from cipherfit.fhe.handover import LeftAnswers
from cipherfit.fhe.jobs import Errand, run_by_workers, shared_out
from cipherfit.planning import Cluster, readable_seconds

#: Seconds that a task takes that computes nothing: each worker gets some, and so keys.
PAUSE = 0.3
PICTURE = Path(__file__).parents[1] / "docs/images/cluster.png"


@dataclass
class Contender:
    """Something that runs rows.

    Parameters
    ----------
    context : callable
        Returns what the calls are made in.
    workers : int
        How many of them; 1 where this process runs rows on one core, 0 on all.
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
    own: list[float] = field(default_factory=list)
    own_cpu: list[float] = field(default_factory=list)

    @property
    def is_planned(self) -> bool:
        """Whether there is a plan for it."""
        return bool(self.workers) and self.is_warm


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=128)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--picture", type=Path, default=PICTURE)
    parser.add_argument("--plans", action="store_true", help="print the guide's plans instead")
    options = parser.parse_args()
    if options.plans:
        print_plans()
        return
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
                contender.cpu.append(cpu_seconds_since(before))
                if contender.is_planned:
                    own, own_cpu = back_end_alone(contender, circuit, codes, costs)
                    contender.own.append(own)
                    contender.own_cpu.append(own_cpu)
    print(f"{len(codes)} rows of {model.graph_.n_lookups} lookups, {costs.most_rows} in a task")
    print_bytes(circuit, codes, costs)
    print_table(contenders, len(codes), costs)
    draw(contenders, len(codes), costs, options.picture)


def made(stack: ExitStack) -> dict[str, Contender]:
    """Return what takes turns; the stack closes it."""
    contenders = {
        "one process, one core": Contender(
            lambda: threadpoolctl.threadpool_limits(1), 1, sends_keys=False
        ),
        "one process, all cores": Contender(ExitStack, 0, is_warm=False),
        "threading, 2 workers": Contender(
            lambda: joblib.parallel_config("threading", n_jobs=2), 2, sends_keys=False
        ),
        "loky, 2 workers": Contender(lambda: joblib.parallel_config("loky", n_jobs=2), 2),
    }
    client = stack.enter_context(dask(2))
    contenders["Dask, 2 workers"] = Contender(
        lambda: joblib.parallel_config("dask", client=client), 2
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
        if contender.workers < 2:
            run_encrypted(circuit, codes, n_jobs=1)
            return time.perf_counter() - start, first
        pieces = shared_out(circuit, np.arange(len(codes)), None)
        answered = 0
        for rows, _ in run_by_workers(circuit, codes, pieces, None):
            first = first or time.perf_counter() - start
            answered += len(rows)
    assert answered == len(codes)
    return time.perf_counter() - start, first


def answer_nothing(
    number: int, part: Any, key: str, keys: Any, rows: list[bytes], folder: str | None, size: int
) -> tuple[int, Any]:
    """Take as much as a worker's task does, and return as much, without computing it."""
    time.sleep(PAUSE)
    answers = [bytes(size)] * len(rows)
    return number, answers if folder is None else LeftAnswers.of(answers, folder)


def back_end_alone(
    contender: Contender, circuit: Any, codes: np.ndarray, costs: TaskCosts
) -> tuple[float, float]:
    """Return the seconds, and CPU seconds, that a back end takes for itself."""
    if contender.workers < 2:
        return 0.0, 0.0
    with contender.context(), closing(Errand(circuit)) as errand:
        pieces = shared_out(circuit, np.arange(len(codes)), None)
        tasks = [
            joblib.delayed(answer_nothing)(*arguments, costs.output_bytes)
            for _, arguments, _ in errand.tasks(codes, dict(enumerate(pieces)))
        ]
        start, before = time.perf_counter(), cpu_seconds()
        workers = joblib.Parallel(batch_size=1, return_as="generator_unordered")
        for _, answers in workers(tasks):
            if isinstance(answers, LeftAnswers):
                answers.taken()
        seconds = time.perf_counter() - start
    slept = PAUSE * -(-len(tasks) // contender.workers)
    return max(0.0, seconds - slept), cpu_seconds_since(before)


def warm(contender: Contender, costs: TaskCosts) -> TaskCosts:
    """Return what rows take of workers that have circuits and keys ready."""
    prepare = costs.prepare_seconds if contender.sends_keys else 0.0
    own = float(np.median(contender.own))
    return replace(costs, ready_seconds=0.0, prepare_seconds=prepare, share_seconds=own)


def planned(contender: Contender, n_rows: int, costs: TaskCosts) -> float:
    """Return the seconds that a plan gives for workers on this machine."""
    local = Cluster(warm(contender, costs), np.inf, start_seconds=0.0, local=True)
    return local.plan(n_rows, contender.workers).seconds


def planned_cpu(contender: Contender, n_rows: int, costs: TaskCosts) -> float:
    """Return the CPU seconds a row that a plan reckons with, of workers and the caller."""
    caller = costs.encryption_seconds + costs.decryption_seconds
    once = warm(contender, costs).prepare_seconds + float(np.median(contender.own_cpu))
    return costs.seconds_per_row(contender.workers) + caller + once / n_rows


def cpu_seconds() -> dict[int, float]:
    """Return CPU seconds of this process and of all that it started and that still run, by id."""
    this, seconds = psutil.Process(), {}
    for process in (this, *this.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            spent = process.cpu_times()
            seconds[process.pid] = spent.user + spent.system
    return seconds


def cpu_seconds_since(before: dict[int, float]) -> float:
    return sum(spent - before.get(pid, 0.0) for pid, spent in cpu_seconds().items())


def print_plans() -> None:
    """Print plans of a million rows of digits and 16 hidden neurons: the table of the guide."""
    model = NeuralNetClassifier(module__n_hidden_neurons=16, random_state=0, max_epochs=20)
    model.fit(*load_digits(return_X_y=True))
    print("| cores | rows/s | first answers | a million rows | bound by | keys | price |")
    print("|---" * 7 + "|")
    for cores in (1, 2, 10, 100, 1_000, 10_000):
        plan = plan_cluster(model, rows=1_000_000, cores=cores, price_per_core_hour=0.05)
        cells = [f"{cores:,}", f"{plan.rows_per_second:.3g}"]
        cells += [f"{plan.first_row_seconds:.0f} s", readable_seconds(plan.seconds)]
        cells += [plan.bound_by, readable_bytes(plan.total_key_bytes), f"{plan.price:,.0f}"]
        print("| " + " | ".join(cells) + " |")
    day = plan_cluster(model, rows=1_000_000, seconds=24 * 3600)
    print(f"\nA day asks for {day.workers} workers, which take {readable_seconds(day.seconds)}.")


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
        f"{1 / (costs.encryption_seconds + costs.decryption_seconds):.0f} rows/s; a row takes a "
        f"worker {costs.row_seconds:.4f} CPU s on one core, {costs.busy_row_seconds:.4f} on each "
        f"of {costs.cores}"
    )


def print_table(contenders: dict[str, Contender], n_rows: int, costs: TaskCosts) -> None:
    print(
        "| | first answers, s | rows/s, median (best) | times one core | back end alone, s "
        "| planned rows/s | off | CPU s a row | planned | off |"
    )
    print("|---" * 10 + "|")
    base = np.array(contenders["one process, one core"].seconds)
    for name, contender in contenders.items():
        rates = n_rows / np.array(contender.seconds)
        ratio = np.median(base / np.array(contender.seconds))
        cells = [name, f"{contender.first:.1f}" if contender.first else ""]
        cells += [f"{np.median(rates):.2f} ({rates.max():.2f})", f"{ratio:.2f}"]
        if contender.is_planned:
            cpu = float(np.median(contender.cpu)) / n_rows
            rate = n_rows / planned(contender, n_rows, costs)
            plan = planned_cpu(contender, n_rows, costs)
            cells += [f"{np.median(contender.own):.2f}"]
            cells += [f"{rate:.2f}", f"{rate / np.median(rates) - 1:+.0%}"]
            cells += [f"{cpu:.4f}", f"{plan:.4f}", f"{plan / cpu - 1:+.0%}"]
        else:
            cells += [""] * 6
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
        if each.is_planned
    ]
    axes.plot(*zip(*marks, strict=True), "D", color="#c2452d", label="planned")
    axes.set_yticks(places, list(contenders))
    axes.set_xlabel("encrypted rows a second")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main()
