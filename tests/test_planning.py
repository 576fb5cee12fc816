"""Plans are what a hand calculates, and never better for having more to do."""

from __future__ import annotations

from dataclasses import replace

import joblib
import numpy as np
import pytest
from circuits import linear, network
from html_reading import Piece
from hypothesis import given
from hypothesis import strategies as st

from cipherfit import ClusterPlan, NeuralNetClassifier, Predictor, plan_cluster, planning
from cipherfit.costs import TaskCosts, rows_per_task
from cipherfit.exceptions import InvalidParameterError, NotFittedError
from cipherfit.fhe import measure_costs
from cipherfit.planning import Cluster
from cipherfit.predictor.targets import RealTargets

COSTS = TaskCosts(
    most_rows=16, row_seconds=0.07, busy_row_seconds=0.1, cores=4, encryption_seconds=0.003,
    decryption_seconds=0.001, prepare_seconds=0.5, share_seconds=0.25, ready_seconds=0.75,
    key_bytes=100_000_000, input_bytes=1000, output_bytes=40_000,
)  # fmt: skip
#: Keys take a second each.
CLUSTER = Cluster(COSTS, bytes_per_second=1e8, start_seconds=10.0)
#: Workers on the caller's machine.
LOCAL = replace(CLUSTER, local=True)
ROWS, CORES = st.integers(1, 10**7), st.integers(1, 10**5)


@pytest.fixture
def model(monkeypatch):
    monkeypatch.setattr(planning, "_measured", lambda predictor: COSTS)
    return Predictor(network(), RealTargets(2, flat=False))


@pytest.mark.parametrize("cluster", [CLUSTER, LOCAL])
def test_a_single_core_encrypts_bootstraps_and_decrypts_and_sends_nothing(cluster):
    plan = cluster.plan(100, 1)
    assert plan.workers == 1
    assert plan.seconds == pytest.approx(100 * (0.003 + 0.07 + 0.001))
    assert plan.first_row_seconds == pytest.approx(16 * 0.074)
    assert plan.rows_per_second == plan.rows_per_second_per_core == pytest.approx(1 / 0.074)
    assert (plan.total_key_bytes, plan.total_input_bytes, plan.total_output_bytes) == (0, 0, 0)
    assert plan.bound_by == "bootstrapping"
    assert "none beside this process" in str(plan)


def test_two_workers_bootstrap_row_after_row():
    plan = CLUSTER.plan(100, 2)
    ready = 10 + 0.5 + 2 * 1 + 0.75
    # Seven tasks of 16 rows, the last of 4.
    assert plan.seconds == pytest.approx(ready + 16 * 0.004 + (3 * 16 + 4) * 0.1)
    ready -= 1  # the second copy of the keys goes out while the first is at work
    assert plan.first_row_seconds == pytest.approx(ready + 16 * (0.004 + 40_000 / 1e8 + 0.1))
    assert plan.rows_per_second == pytest.approx(20)
    assert plan.rows_per_second_per_core == pytest.approx(10)
    assert plan.caller_rows_per_second == pytest.approx(250)
    assert plan.network_rows_per_second == pytest.approx(2500)
    assert plan.worker_memory_bytes == 1_400_000_000
    assert (plan.total_key_bytes, plan.total_input_bytes) == (200_000_000, 100_000)
    assert plan.total_output_bytes == 4_000_000


def test_the_busiest_of_ten_workers_sets_the_pace():
    # 63 tasks of 16 rows, the last of 8: seven rounds, of which the last is of three tasks.
    plan = CLUSTER.plan(1000, 10)
    assert plan.seconds == pytest.approx(10 + 0.5 + 4 * 1 + 0.75 + 16 * 0.004 + 7 * 16 * 0.1)
    assert plan.bound_by == "start of the workers"
    assert plan.total_key_bytes == 10 * 100_000_000


def test_large_clusters_are_bound_by_who_encrypts():
    plan = CLUSTER.plan(10**6, 1000)
    assert plan.bound_by == "encryption at the caller"
    assert plan.rows_per_second == pytest.approx(250)
    assert plan.seconds == pytest.approx(10 + 0.5 + 10 * 1 + 0.75 + 16 * 0.004 + 10**6 * 0.004)


def test_a_slow_network_bounds_what_it_carries():
    plan = replace(CLUSTER, bytes_per_second=1e5).plan(10**6, 1000)
    assert plan.bound_by == "network"
    assert plan.rows_per_second == pytest.approx(2.5)


def test_many_rows_on_few_workers_are_bound_by_bootstrapping():
    assert CLUSTER.plan(10**5, 10).bound_by == "bootstrapping"


def test_workers_without_a_task_are_not_planned():
    plan = CLUSTER.plan(5, 100)
    assert plan.workers == 5
    assert plan.seconds == CLUSTER.plan(5, 5).seconds


@pytest.mark.parametrize(("cores", "row_seconds"), [(2, 0.08), (3, 0.09), (4, 0.1), (8, 0.1)])
def test_the_more_cores_of_a_machine_are_at_work_the_longer_a_row_takes(cores, row_seconds):
    plan = LOCAL.plan(10_000, cores)
    assert plan.rows_per_second_per_core == pytest.approx(1 / row_seconds)
    assert CLUSTER.plan(10_000, cores).rows_per_second_per_core == pytest.approx(10)


def test_workers_on_all_cores_share_them_with_the_caller():
    plan = LOCAL.plan(3200, 4)
    ready = 10 + 0.5 + 0.25 + 0.75
    assert plan.bound_by == "cores that workers share with the caller"
    assert plan.seconds == pytest.approx(ready + 16 * 0.004 + 3200 * (0.1 + 0.004) / 4)
    assert plan.rows_per_second == pytest.approx(4 / 0.104)
    assert plan.network_rows_per_second == float("inf")
    assert "network" not in str(plan)


def test_fewer_workers_than_cores_leave_one_to_the_caller():
    plan = LOCAL.plan(3200, 2)
    assert plan.bound_by == "bootstrapping"
    ready = 10 + 0.5 + 0.25 + 0.75
    assert plan.seconds == pytest.approx(ready + 16 * 0.004 + 1600 * 0.08)


@given(st.integers(1, 3000), st.floats(12.0, 400.0))
def test_a_deadline_on_one_machine_gets_the_fewest_workers_that_meet_it(rows, seconds):
    takes = [LOCAL.plan(rows, cores).seconds for cores in range(1, 5)]
    enough = [cores for cores, taken in enumerate(takes, start=1) if taken <= seconds]
    if enough:
        assert LOCAL.plan_within(rows, seconds) == LOCAL.plan(rows, enough[0])
    else:
        with pytest.raises(InvalidParameterError, match="too few for"):
            LOCAL.plan_within(rows, seconds)


@given(ROWS, CORES)
def test_the_busiest_worker_has_the_rows_that_dealing_tasks_gives(rows, cores):
    rows, cores = rows % 2000 + 1, cores % 200 + 2
    size = rows_per_task(16, rows, cores)
    tasks = [min(size, rows - start) for start in range(0, rows, size)]
    workers = min(cores, len(tasks))
    busiest = max(sum(tasks[worker::workers]) for worker in range(workers))
    free = Cluster(
        replace(COSTS, encryption_seconds=1e-9, decryption_seconds=1e-9, key_bytes=0), 1e15, 0.0
    )
    assert free.plan(rows, cores).seconds == pytest.approx(0.5 + 0.75 + busiest * 0.1, rel=1e-3)


@given(ROWS, CORES.map(lambda cores: cores + 1))
def test_more_rows_never_take_less_and_half_the_workers_are_never_twice_as_good(rows, cores):
    plan = CLUSTER.plan(rows, cores)
    assert CLUSTER.plan(rows + 1, cores).total_input_bytes > plan.total_input_bytes
    assert CLUSTER.plan(2 * rows, cores).seconds >= plan.seconds
    assert CLUSTER.plan(rows, 2 * cores).rows_per_second >= plan.rows_per_second
    # Another doubling of keys costs a second; beyond that, more workers are no slower.
    assert CLUSTER.plan(rows, 2 * cores).seconds <= plan.seconds + 1 + 1e-6
    assert plan.rows_per_second <= 250


@given(st.integers(1, 3000), st.floats(12.0, 400.0))
def test_a_deadline_gets_the_fewest_workers_that_meet_it(rows, seconds):
    takes = [CLUSTER.plan(rows, cores).seconds for cores in range(1, rows + 1)]
    enough = [cores for cores, taken in enumerate(takes, start=1) if taken <= seconds]
    if enough:
        plan = CLUSTER.plan_within(rows, seconds)
        assert plan == CLUSTER.plan(rows, enough[0])
    else:
        with pytest.raises(InvalidParameterError, match="too few for") as raised:
            CLUSTER.plan_within(rows, seconds)
        assert f"take {min(takes):.3g} s at best" in str(raised.value)


def test_what_workers_cost_is_their_hours(model):
    plan = plan_cluster(model, rows=1000, cores=10, price_per_core_hour=0.06)
    assert plan.price == pytest.approx(0.06 * 10 * plan.seconds / 3600)
    assert plan_cluster(model, rows=1000, cores=10).price is None


def test_a_deadline_and_a_network_are_taken_as_given(model):
    plan = plan_cluster(model, rows=1000, seconds=60, bytes_per_second=1e8, start_seconds=20)
    assert plan == replace(CLUSTER, start_seconds=20.0).plan_within(1000, 60.0)


def test_a_plan_may_be_for_this_machine(model):
    assert plan_cluster(model, rows=1000, cores=2, local=True) == replace(
        LOCAL, bytes_per_second=125e6
    ).plan(1000, 2)
    assert plan_cluster(model, rows=1000, seconds=60, local=True).workers == 2


def test_every_number_of_a_plan_is_shown(model):
    plan = plan_cluster(model, rows=100_000, cores=10, price_per_core_hour=1)
    expected = {
        "rows": "100,000",
        "workers": "10, each on one core",
        "in all": "16.9 min, bound by bootstrapping",
        "first answers": "after 13.7 s",
        "rows per second": "100; 10 a core; the caller feeds 250, its network 3.12e+03",
        "evaluation keys": "100 MB to each worker, 1 GB in all",
        "rows and answers": "1 kB up and 40 kB down for each row, 100 MB up and 4 GB down in all",
        "memory of a worker": "1.4 GB at most",
        "price": "2.82",
    }
    assert Piece(plan._repr_html_()).facts == expected
    for name, value in expected.items():
        assert f"{name} " in str(plan)
        assert value in str(plan)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "seconds=None and cores=None"),
        ({"seconds": 9.0, "cores": 2}, r"seconds=9\.0 and cores=2"),
        ({"cores": 0}, r"cores=0 must be an integer in \[1, 1000000\]"),
        ({"cores": 1.5}, "cores=1.5"),
        ({"cores": 2, "rows": 0}, "rows=0"),
        ({"seconds": 0.0}, "seconds=0.0 must be a number above 0"),
        ({"seconds": float("nan")}, "seconds=nan"),
        ({"seconds": 0.5}, r"seconds=0\.5 is too few for 10 rows.*bound by bootstrapping"),
        ({"rows": 1000, "seconds": 12.0}, r"seconds=12\.0 .* 1000 rows.*start of the workers"),
        ({"cores": 1, "price_per_core_hour": -1}, "price_per_core_hour=-1"),
        ({"cores": 1, "bytes_per_second": 0}, "bytes_per_second=0"),
        ({"cores": 1, "start_seconds": -1}, "start_seconds=-1"),
        ({"cores": 1, "local": "yes"}, "local='yes' must be True or False"),
        ({"seconds": 0.5, "local": True}, r"seconds=0\.5 is too few for 10 rows"),
    ],
)
def test_what_can_not_be_planned_is_refused_by_name(model, options, message):
    with pytest.raises(InvalidParameterError, match=message):
        plan_cluster(model, **{"rows": 10, **options})


def test_what_is_not_fitted_has_no_plan():
    with pytest.raises(NotFittedError):
        plan_cluster(NeuralNetClassifier(), rows=10, cores=1)


@pytest.mark.fhe
def test_networks_without_lookups_need_no_cluster():
    model = Predictor(linear(), RealTargets(3, flat=False))
    plan = plan_cluster(model, rows=1000, cores=100, price_per_core_hour=1.0)
    assert (plan.workers, plan.total_key_bytes, plan.price) == (0, 0, 0.0)
    assert plan.seconds == pytest.approx(1000 * model.estimate_fhe().seconds_per_row)
    assert "no cluster is needed" in str(plan)
    with pytest.raises(InvalidParameterError, match="in this process"):
        plan_cluster(model, rows=10**12, seconds=1.0)


@pytest.mark.fhe
def test_a_plan_knows_what_is_sent_and_leaves_no_keys_behind():
    model = Predictor(network(), RealTargets(2, flat=False))
    circuit = model.compile(p_error=1e-7)
    plan = plan_cluster(model, rows=100, cores=2)
    assert isinstance(plan, ClusterPlan)
    assert not circuit.keys.are_generated
    circuit.keygen()
    encrypted = circuit.encrypt(np.zeros(4, dtype=np.int64))
    assert plan.input_bytes == len(encrypted.serialize())
    assert plan.output_bytes == len(circuit.run(encrypted).serialize())
    assert plan.key_bytes == len(circuit.keys.evaluation.serialize())
    assert 0 < plan.rows_per_second_per_core < plan.caller_rows_per_second
    assert plan_cluster(model, rows=100, cores=2) == plan  # measured once
    costs = measure_costs(circuit)
    assert costs.cores == joblib.cpu_count()
    assert 0 < costs.row_seconds <= costs.busy_row_seconds < 4 * costs.row_seconds
    assert plan.rows_per_second_per_core == pytest.approx(1 / costs.busy_row_seconds)
