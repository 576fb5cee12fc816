from __future__ import annotations

import asyncio
from pathlib import Path

from cipherfit.serve.keys import Key
from cipherfit.serve.turns import Job, Turns


def job(tenant: str, n_rows: int, key: str = "k") -> Job:
    name = f"{tenant}-{key}"
    frames = [f"{name}{index}".encode() for index in range(n_rows)]
    future = asyncio.Future(loop=asyncio.new_event_loop())
    return Job(Key(tenant, name, "fits", Path(name)), frames, future)


class Clock:
    """Runs batches, of a second each row."""

    def __init__(self, rows: int = 8, seconds: float = 5) -> None:
        self.turns = Turns(rows, seconds)
        self.now = 0.0

    def step(self) -> list[tuple[str, int]]:
        """Run what is next; return which keys, and how many rows of each request."""
        batch = self.turns.take(self.now)
        if batch is None:
            return []
        shown = [(one.key.id, number) for one, number in batch.parts]
        self.now += len(batch.frames)
        batch.answer([b"answer to " + frame for frame in batch.frames])
        for one in batch.jobs:
            if not one.n_left:
                assert one.answers == [b"answer to " + frame for frame in one.frames]
                self.turns.discard(one)
        return shown


def test_rows_of_several_requests_under_one_key_run_together_and_are_answered_in_order():
    clock = Clock()
    for n_rows in (3, 1, 6):
        clock.turns.add(job("a", n_rows))
    assert clock.turns.n_rows == 10
    assert clock.step() == [("a-k", 3), ("a-k", 1), ("a-k", 4)]
    assert clock.step() == [("a-k", 2)]
    assert clock.step() == []
    assert clock.turns.n_rows == 0


def test_rows_under_other_keys_never_run_together():
    clock = Clock()
    clock.turns.add(job("a", 2, "k"))
    clock.turns.add(job("a", 2, "l"))
    clock.turns.add(job("b", 2, "k"))
    assert [clock.step() for _ in range(3)] == [[("a-k", 2)], [("a-l", 2)], [("b-k", 2)]]


def test_nobody_waits_for_longer_than_a_turn_of_everyone_before_however_much_these_ask_for():
    clock = Clock(rows=8, seconds=5)
    for _ in range(16):
        clock.turns.add(job("greedy", 64))
    others = [job(f"t{index}", 4) for index in range(10)]
    for one in others:
        clock.turns.add(one)
    while any(one.n_left for one in others):
        clock.step()
    # A batch of 8 that exceeds the greedy one's turn, and 4 rows of each other.
    assert clock.now <= 8 + 10 * 4


def test_a_tenant_alone_keeps_the_worker_and_one_with_others_loses_it_after_its_turn():
    clock = Clock(rows=2, seconds=5)
    clock.turns.add(job("a", 20))
    assert [clock.step() for _ in range(4)] == [[("a-k", 2)]] * 4
    clock.turns.add(job("b", 20))
    ran = [clock.step()[0][0] for _ in range(12)]
    assert ran == ["b-k"] * 3 + ["a-k"] * 3 + ["b-k"] * 3 + ["a-k"] * 3


def test_a_key_that_is_asked_with_without_end_does_not_starve_its_tenants_others():
    clock = Clock(rows=2, seconds=5)
    clock.turns.add(job("a", 2, "k"))
    other = job("a", 2, "other")
    clock.turns.add(other)
    for _ in range(5):
        clock.turns.add(job("a", 2, "k"))
        clock.step()
    assert not other.n_left


def test_who_has_to_run_alone_does():
    clock = Clock()
    first, second = job("a", 2), job("a", 2)
    for one in (first, second, job("a", 1)):
        clock.turns.add(one)
    first.is_alone = second.is_alone = True
    assert [clock.step() for _ in range(3)] == [[("a-k", 2)], [("a-k", 2)], [("a-k", 1)]]


def test_a_request_that_is_discarded_does_not_run():
    clock = Clock()
    gone = job("a", 2)
    clock.turns.add(gone)
    clock.turns.add(job("b", 1))
    clock.turns.discard(gone)
    clock.turns.discard(gone)
    assert clock.step() == [("b-k", 1)]
    assert clock.turns.n_rows == 0
