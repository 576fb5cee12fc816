"""How many workers a deadline asks for, or how long they take, before there is a cluster.

Rows are shared out as `predict` does. Three things go on at once, and the slowest bounds the rest:
workers bootstrap, the caller encrypts and decrypts, and its network carries rows and answers.
Before, keys go to all workers. What each takes is measured on this machine.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, replace
from importlib import import_module
from math import isinf
from typing import Any, cast

from cipherfit.costs import FheEstimate, TaskCosts, readable_bytes, rows_per_task
from cipherfit.exceptions import InvalidParameterError
from cipherfit.pages.fragments import facts, panel
from cipherfit.parameters import integer, real
from cipherfit.predictor.predictor import Predictor
from cipherfit.predictor.protocols import predictor_of, unwrapped

#: Workers and rows, at most.
MOST_CORES, MOST_ROWS = 1_000_000, 10**15
#: Bytes of a worker with Concrete and no keys, and how many times their bytes keys take at most.
_WORKER_BYTES, _KEY_COPIES = 1_000_000_000, 4

BOOTSTRAPPING, CALLER = "bootstrapping", "encryption at the caller"
NETWORK, START = "network", "start of the workers"
SHARED = "cores that workers share with the caller"


@dataclass(frozen=True)
class ClusterPlan:
    """What encrypted rows take on a cluster; printed, it is a small table.

    Parameters
    ----------
    rows : int
        How many there are.
    workers : int
        Each on one core; 1 is the caller, which then has none beside it, and sends nothing; 0 where
        no core is needed for workers, as without lookups.
    seconds : float
        In all, from the call to the last answer, on workers whose processes run, but have not
        imported Concrete yet.
    first_row_seconds : float
        Until the first answers.
    bound_by : str
        What takes longest: "bootstrapping", "encryption at the caller", "network", "start of the
        workers" or "cores that workers share with the caller".
    rows_per_second : float
        Once all workers are at work.
    rows_per_second_per_core : float
        What a worker does.
    caller_rows_per_second : float
        What the caller encrypts and decrypts, on one core: no cluster answers more.
    network_rows_per_second : float
        What the caller's network carries; infinite where nothing is sent.
    key_bytes : int
        Evaluation keys that one worker gets.
    input_bytes, output_bytes : int
        A row on its way to a worker, and its answer.
    worker_memory_bytes : int
        What a worker needs at most; 0 without workers.
    price : float, optional
        What workers cost from start to end, in the unit of `price_per_core_hour`.
    """

    rows: int
    workers: int
    seconds: float
    first_row_seconds: float
    bound_by: str
    rows_per_second: float
    rows_per_second_per_core: float
    caller_rows_per_second: float
    network_rows_per_second: float
    key_bytes: int
    input_bytes: int
    output_bytes: int
    worker_memory_bytes: int
    price: float | None = None

    @property
    def total_key_bytes(self) -> int:
        """Bytes of evaluation keys that all workers get."""
        return self.workers * self.key_bytes

    @property
    def total_input_bytes(self) -> int:
        """Bytes of all rows on their way to workers."""
        return self.rows * self.input_bytes

    @property
    def total_output_bytes(self) -> int:
        """Bytes of all answers."""
        return self.rows * self.output_bytes

    def __str__(self) -> str:
        pairs = self._facts()
        width = max(len(name) for name, _ in pairs)
        return "\n".join(f"{name:{width}}  {value}" for name, value in pairs)

    def _repr_html_(self) -> str:
        """Describe it as HTML, for notebooks."""
        return panel("ClusterPlan: what encrypted rows take", facts(self._facts()))

    def _facts(self) -> list[tuple[str, str]]:
        if not self.workers:
            return [
                ("rows", f"{self.rows:,}"),
                ("workers", "no cluster is needed: there are no lookups to encrypt"),
                ("in all", f"at most {readable_seconds(self.seconds)}, in this process"),
                ("rows per second", f"at least {self.rows_per_second:,.3g}"),
            ]
        if self.workers == 1:
            return [
                ("rows", f"{self.rows:,}"),
                ("workers", "none beside this process, on one core"),
                ("in all", f"{readable_seconds(self.seconds)}, bound by {self.bound_by}"),
                ("rows per second", f"{self.rows_per_second:,.3g}"),
                ("memory", f"{readable_bytes(self.worker_memory_bytes)} at most"),
            ]
        each = f"{readable_bytes(self.input_bytes)} up and {readable_bytes(self.output_bytes)} down"
        sent = (
            f"{readable_bytes(self.total_input_bytes)} up and "
            f"{readable_bytes(self.total_output_bytes)} down"
        )
        network = f", its network {self.network_rows_per_second:,.3g}"
        if isinf(self.network_rows_per_second):
            network = ""
        price = [] if self.price is None else [("price", f"{self.price:,.3g}")]
        return [
            ("rows", f"{self.rows:,}"),
            ("workers", f"{self.workers:,}, each on one core"),
            ("in all", f"{readable_seconds(self.seconds)}, bound by {self.bound_by}"),
            ("first answers", f"after {readable_seconds(self.first_row_seconds)}"),
            ("rows per second", f"{self.rows_per_second:,.3g}; {self.rows_per_second_per_core:.3g} "
             f"a core; the caller feeds {self.caller_rows_per_second:,.3g}{network}"),
            ("evaluation keys", f"{readable_bytes(self.key_bytes)} to each worker, "
             f"{readable_bytes(self.total_key_bytes)} in all"),
            ("rows and answers", f"{each} for each row, {sent} in all"),
            ("memory of a worker", f"{readable_bytes(self.worker_memory_bytes)} at most"),
            *price,
        ]  # fmt: skip


def plan_cluster(
    model: Any,
    *,
    rows: int,
    seconds: float | None = None,
    cores: int | None = None,
    price_per_core_hour: float | None = None,
    bytes_per_second: float = 125e6,
    start_seconds: float = 10.0,
    local: bool = False,
) -> ClusterPlan:
    """Plan ``predict(X, fhe="execute", n_jobs=...)`` on workers: how many, or how long.

    What rows take is measured on this machine, once per model and process: keys are made and thrown
    away, and a worker's tasks are run on one core and on all of them, which takes some seconds.

    Parameters
    ----------
    model : Predictor, estimator, Pipeline or fitted search over one
        What answers. Not compiled, it is planned as `compile` without options makes it.
    rows : int
        How many rows there are, at least 1.
    seconds : float, optional
        When all must be answered: the fewest workers that do are planned.
    cores : int in [1, 1,000,000], optional
        Or how many workers there are, each on a core of machines like this one, all of whose cores
        are at work. More than there are tasks for are not used. A single one is this process's, in
        which joblib runs what a single worker would.
    price_per_core_hour : float, optional
        What a core costs an hour, for the price.
    bytes_per_second : float, default=125e6
        What the caller's network carries in either direction: 1 Gbit/s.
    start_seconds : float, default=10
        What a worker takes until it has imported Concrete: 2 to 3 s on an idle machine's disk.
    local : bool, default=False
        Whether workers run on this machine, with this process: they share its cores, and no network
        is between them.

    Returns
    -------
    ClusterPlan

    Raises
    ------
    InvalidParameterError
        If not exactly one of `seconds` and `cores` is given, a number is out of range, or no
        number of workers meets the deadline.
    NotFittedError
        If the model is not fitted.
    CompilationError
        If Concrete can't run the network.

    Notes
    -----
    With s, e and d the seconds a row takes of a worker, to encrypt and to decrypt, b the bytes of a
    row or its answer, whichever is more, and n the rows of the busiest worker, the work takes
    ``max(n * s, rows * (e + d), rows * b / bytes_per_second)``. Before it are the start of the
    workers, keys, which those that have them pass on (so the number of copies doubles in each
    round), and the encryption of the first task; after it is the decryption of the last.

    On this machine with c cores it takes ``max(n * s, rows * (e + d), rows * (s + e + d) / c)``,
    and s is what a row takes where as many cores are at work as there are workers: between what was
    measured on one and on all of them.
    """
    rows = integer("rows", rows, 1, MOST_ROWS)
    if (seconds is None) == (cores is None):
        raise InvalidParameterError(
            f"seconds={seconds!r} and cores={cores!r}: give one of them, a deadline or a number of "
            "workers"
        )
    if seconds is not None:
        seconds = real("seconds", seconds, above_low=True)
    if cores is not None:
        cores = integer("cores", cores, 1, MOST_CORES)
    if not isinstance(local, bool):
        raise InvalidParameterError(f"local={local!r} must be True or False")
    if price_per_core_hour is not None:
        price_per_core_hour = real("price_per_core_hour", price_per_core_hour)
    bytes_per_second = real("bytes_per_second", bytes_per_second, above_low=True)
    start_seconds = real("start_seconds", start_seconds)
    predictor = cast(Predictor, predictor_of(unwrapped(model, None)[0]))
    if not predictor.graph.n_lookups:
        plan = _without_lookups(predictor.estimate_fhe(backend="bfv"), rows)
        if price_per_core_hour is not None:
            plan = replace(plan, price=0.0)
        return _within(plan, seconds)
    cluster = Cluster(_measured(predictor), bytes_per_second, start_seconds, local)
    if cores is None:
        assert seconds is not None
        plan = cluster.plan_within(rows, seconds)
    else:
        plan = cluster.plan(rows, cores)
    if price_per_core_hour is None:
        return plan
    return replace(plan, price=price_per_core_hour * plan.workers * plan.seconds / 3600)


@dataclass(frozen=True)
class Cluster:
    """Workers, a caller and the network between them.

    Parameters
    ----------
    costs : TaskCosts
        What rows take.
    bytes_per_second, start_seconds : float
        As of `plan_cluster`.
    local : bool, default=False
        As of `plan_cluster`.
    """

    costs: TaskCosts
    bytes_per_second: float
    start_seconds: float
    local: bool = False

    def plan(self, rows: int, cores: int) -> ClusterPlan:
        """Return what rows take on so many workers, or on as many as there are tasks."""
        if cores == 1:
            return self._alone(rows)
        costs = self.costs
        size = rows_per_task(costs.most_rows, rows, cores)
        workers = min(cores, -(-rows // size))
        caller = costs.encryption_seconds + costs.decryption_seconds
        row_seconds = self.row_seconds(workers)
        work = {
            BOOTSTRAPPING: _rows_of_busiest(rows, size, workers) * row_seconds,
            CALLER: rows * caller,
        }
        sent, rate = 0.0, min(workers / row_seconds, 1 / caller)
        if self.local:
            work[SHARED] = rows * (row_seconds + caller) / costs.cores
            rate = min(rate, costs.cores / (row_seconds + caller))
        else:
            sent = max(costs.input_bytes, costs.output_bytes) / self.bytes_per_second
            work[NETWORK] = rows * sent
            rate = min(rate, 1 / sent)
        ready = self._ready_seconds(workers)
        seconds = ready + size * caller + max(work.values())
        bound = max(work, key=lambda name: work[name])
        return ClusterPlan(
            rows=rows,
            workers=workers,
            seconds=seconds,
            first_row_seconds=self._ready_seconds(1) + size * (caller + sent + row_seconds),
            bound_by=START if ready > work[bound] else bound,
            rows_per_second=rate,
            rows_per_second_per_core=1 / row_seconds,
            caller_rows_per_second=1 / caller,
            network_rows_per_second=float("inf") if self.local else 1 / sent,
            key_bytes=costs.key_bytes,
            input_bytes=costs.input_bytes,
            output_bytes=costs.output_bytes,
            worker_memory_bytes=_WORKER_BYTES + _KEY_COPIES * costs.key_bytes,
        )

    def _alone(self, rows: int) -> ClusterPlan:
        """Return what rows take where one core does all of it, as with a single worker."""
        costs = self.costs
        row_seconds = costs.row_seconds
        caller = costs.encryption_seconds + costs.decryption_seconds
        rate = 1 / (row_seconds + caller)
        return ClusterPlan(
            rows=rows,
            workers=1,
            seconds=rows / rate,
            first_row_seconds=min(rows, costs.most_rows) / rate,
            bound_by=BOOTSTRAPPING if row_seconds > caller else CALLER,
            rows_per_second=rate,
            rows_per_second_per_core=rate,
            caller_rows_per_second=1 / caller,
            network_rows_per_second=float("inf"),
            key_bytes=0,
            input_bytes=0,
            output_bytes=0,
            worker_memory_bytes=_WORKER_BYTES + _KEY_COPIES * costs.key_bytes,
        )

    def plan_within(self, rows: int, seconds: float) -> ClusterPlan:
        """Return the plan of the fewest workers that meet a deadline.

        Raises
        ------
        InvalidParameterError
            If none do; it names the fastest plan.
        """
        if self.local:
            plans = [self.plan(rows, cores) for cores in range(1, self.costs.cores + 1)]
            enough = [plan for plan in plans if plan.seconds <= seconds]
            return enough[0] if enough else _within(min(plans, key=_seconds), seconds)
        most = min(rows, MOST_CORES)
        fastest = self.plan(rows, most)
        low = 1
        while low <= most:
            # Keys take longer with each doubling, so it is only in between that more are faster.
            high = min(2 * low - 1, most)
            plan = self.plan(rows, high)
            if plan.seconds <= seconds:
                found = bisect_left(
                    range(low, high), True, key=lambda n: self.plan(rows, n).seconds <= seconds
                )
                return self.plan(rows, low + found)
            fastest = min(fastest, plan, key=_seconds)
            low = high + 1
        return _within(fastest, seconds)

    def row_seconds(self, workers: int) -> float:
        """Return what a row takes each of so many workers."""
        costs = self.costs
        return costs.seconds_per_row(workers if self.local else costs.cores)

    def _ready_seconds(self, workers: int) -> float:
        """Return seconds until so many workers have keys."""
        keys = self.costs.share_seconds
        if not self.local:
            rounds = workers.bit_length()  # copies double: 1, 3, 7, ... workers
            keys = rounds * self.costs.key_bytes / self.bytes_per_second
        return self.start_seconds + self.costs.prepare_seconds + keys + self.costs.ready_seconds


def _seconds(plan: ClusterPlan) -> float:
    return plan.seconds


def readable_seconds(seconds: float) -> str:
    """Return a number of seconds as people read it."""
    for unit, scale in (("days", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * scale:
            return f"{seconds / scale:,.3g} {unit}"
    return f"{seconds:.3g} s"


def _within(plan: ClusterPlan, seconds: float | None) -> ClusterPlan:
    """Return a plan that meets a deadline, if there is one."""
    if seconds is not None and plan.seconds > seconds:
        who = f"with {plan.workers} workers" if plan.workers else "in this process, without workers"
        raise InvalidParameterError(
            f"seconds={seconds!r} is too few for {plan.rows} rows, which take {plan.seconds:.3g} s "
            f"at best: {who}, bound by {plan.bound_by}"
        )
    return plan


def _without_lookups(estimate: FheEstimate, rows: int) -> ClusterPlan:
    """Return the plan of rows that one process encrypts, runs and decrypts."""
    rate = 1 / estimate.seconds_per_row
    return ClusterPlan(
        rows=rows,
        workers=0,
        seconds=rows * estimate.seconds_per_row,
        first_row_seconds=estimate.seconds_per_row,
        bound_by=CALLER,
        rows_per_second=rate,
        rows_per_second_per_core=rate,
        caller_rows_per_second=rate,
        network_rows_per_second=float("inf"),
        key_bytes=0,
        input_bytes=estimate.input_bytes,
        output_bytes=estimate.output_bytes,
        worker_memory_bytes=0,
    )


def _rows_of_busiest(rows: int, size: int, workers: int) -> int:
    """Return the rows of the worker that gets most, of tasks of a size that end with a rest."""
    tasks = -(-rows // size)
    rounds, in_last = divmod(tasks - 1, workers)
    last = rows - size * (tasks - 1)
    return size * rounds + (size if in_last else last)


def _measured(predictor: Predictor) -> TaskCosts:
    """Return what rows of a network with lookups take here."""
    fhe = import_module("cipherfit.fhe")
    circuit = predictor.circuit
    if circuit is None or not circuit.configuration.fhe_execution:
        circuit = fhe.compile_graph(predictor.graph, warn_of_size=False)
    return cast(TaskCosts, fhe.measure_costs(circuit))
