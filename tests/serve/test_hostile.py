"""What hostile clients do: nothing that others notice. `make fuzz` sends a million of these."""

from __future__ import annotations

import pytest
from assault import Assault
from circuits import network
from service_process import digest_of, framed, key_id, predictor

pytestmark = pytest.mark.fhe


@pytest.fixture(scope="module")
def circuit():
    return predictor("lookups").circuit


@pytest.fixture(scope="module")
def assault(tmp_path_factory, circuit):
    made = Assault(tmp_path_factory.mktemp("service"), circuit)
    yield made
    made.service.kill()


def others_are_answered(assault) -> bool:
    return all(party.is_answered(assault.service, "bob") for party in assault.others.values())


def test_what_concrete_would_end_over_is_refused_before_it(assault):
    statuses = assault.lies()
    assert len(statuses) == 30
    assert {name: status for name, status in statuses.items() if status not in (413, 422)} == {}
    assert others_are_answered(assault)
    assert assault.deaths() == 0


def test_keys_and_rows_of_another_circuit_are_refused_though_as_long(assault, circuit):
    from cipherfit.fhe import compile_graph

    party = assault.attackers["lookups"]
    other = compile_graph(network(), configuration=circuit.configuration)
    other.client.keygen()
    foreign = other.client.evaluation_keys.serialize()
    assert len(foreign) != len(party.key)
    fitted = foreign[: len(party.key)].ljust(len(party.key), b"\0")
    for key in (foreign, fitted):
        path = f"/v1/keys/{key_id(key)}?model={digest_of('lookups')}"
        status, kind = assault.service.refusal("PUT", path, key, token="mallet")
        assert (status, kind) in ((413, "too_large"), (422, "key_length"), (422, "keys"))
    row = other.client.encrypt([1, 2, 3, 0]).serialize()
    refused = assault.service.refusal("POST", party.predict_path, framed(row), token="mallory")
    assert refused == (422, "rows")
    assert others_are_answered(assault)


def test_thousands_of_mutants_leave_it_ready_and_others_right(assault):
    outcome = assault.run(3000)
    assert outcome.wrong == []
    assert sum(counts.total() for counts in outcome.statuses.values()) == 3000
    assert {"rows, lookups", "rows, no lookups", "keys, lookups", "heads"} <= {*outcome.statuses}
    assert outcome.others > 20
    assert outcome.wronged == 0
    assert assault.deaths() == 0
    # What is refused of one tenant stays without effect for itself, too.
    for party in assault.attackers.values():
        assert party.is_answered(assault.service, "mallory")
