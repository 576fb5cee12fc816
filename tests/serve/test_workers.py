from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import stand_in_worker
from processes import LONG

from cipherfit.serve import workers
from cipherfit.serve.keys import Key
from cipherfit.serve.workers import Worker, WorkerDiedError, Workers


def key(name: str, tenant: str = "a") -> Key:
    return Key(tenant, name, "fits", Path(name))


@pytest.fixture(autouse=True)
def _stands_in(monkeypatch):
    monkeypatch.setattr(workers.worker, "start", stand_in_worker.start)
    monkeypatch.setattr(workers.worker, "ready", stand_in_worker.ready)
    monkeypatch.setattr(workers.worker, "run", stand_in_worker.run)


def with_workers(scenario, number: int = 1):
    """Run a scenario with workers, and a list of the deaths that they note."""

    async def run():
        deaths: list[tuple[str, str]] = []
        made = Workers(None, number, 8, lambda key, why: deaths.append((key.id, why)))
        try:
            return await asyncio.wait_for(scenario(made, deaths), LONG)
        finally:
            await made.close()

    return asyncio.run(run())


class Held:
    """A row that keeps its worker until it is let go, so that what follows waits for it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.row = b"until " + bytes(path)
        self.words = self.row.decode().split()

    def let_go(self) -> None:
        self._path.touch()


@pytest.fixture
def held(tmp_path):
    made = Held(tmp_path / "let-go")
    yield made
    made.let_go()


async def started(coroutine) -> asyncio.Task:
    """Start what runs at once."""
    task = asyncio.create_task(coroutine)
    await asyncio.sleep(0)
    return task


async def waiting(*coroutines) -> list[asyncio.Task]:
    """Start what waits for its turn."""
    tasks = [asyncio.create_task(one) for one in coroutines]
    await asyncio.sleep(0)
    return tasks


def shown(answers: list[bytes]) -> list[list[str]]:
    return [answer.decode().split()[1:] for answer in answers]


def test_requests_under_one_key_that_wait_run_in_one_call_and_get_their_own_answers(held):
    async def scenario(made, deaths):
        first = await started(made.run(key("k"), [held.row]))
        others = await waiting(
            made.run(key("k"), [b"x", b"y"]), made.run(key("l"), [b"z"]), made.run(key("k"), [b"w"])
        )
        held.let_go()
        await first
        return [shown(answers) for answers in await asyncio.gather(*others)], deaths

    answers, deaths = with_workers(scenario)
    assert answers == [[["k", "3", "x"], ["k", "3", "y"]], [["l", "1", "z"]], [["k", "3", "w"]]]
    assert deaths == []


def test_a_death_costs_what_ran_with_it_is_noted_once_and_others_are_answered(held):
    async def scenario(made, deaths):
        first = await started(made.run(key("k"), [held.row]))
        asked = await waiting(
            made.run(key("k"), [b"x"]),
            made.run(key("k"), [b"die"]),
            made.run(key("l", "b"), [b"z"]),
        )
        held.let_go()
        await first
        return await asyncio.gather(*asked, return_exceptions=True), deaths

    (one, two, other), deaths = with_workers(scenario)
    assert [type(one), type(two)] == [WorkerDiedError] * 2
    assert "exit code 7" in str(one)
    assert shown(other) == [["l", "1", "z"]]
    assert deaths == [("k", "died")]


def test_who_takes_too_long_is_ended_and_what_ran_with_it_runs_again(held):
    async def scenario(made, deaths):
        first = await started(made.run(key("k"), [held.row]))
        late, other = await waiting(
            made.run(key("k"), [b"until for ever"]), made.run(key("k"), [b"x"])
        )
        held.let_go()
        await first
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(late, 1)
        return shown(await other), deaths

    assert with_workers(scenario) == ([["k", "1", "x"]], [("k", "late")])


def test_who_is_late_before_its_turn_ends_no_process(held):
    async def scenario(made, deaths):
        first = await started(made.run(key("k"), [held.row]))
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(made.run(key("k"), [b"x"]), 0.2)
        held.let_go()
        return shown(await first), deaths

    assert with_workers(scenario) == ([["k", "1", *held.words]], [])


def test_an_error_of_one_is_not_that_of_those_that_ran_with_it(held):
    async def scenario(made, deaths):
        first = await started(made.run(key("k"), [held.row]))
        asked = await waiting(*(made.run(key("k"), [row]) for row in (b"x", b"wrong", b"y")))
        held.let_go()
        await first
        return await asyncio.gather(*asked, return_exceptions=True), deaths

    (one, two, three), deaths = with_workers(scenario)
    assert isinstance(two, ValueError)
    assert shown([*one, *three]) == [["k", "1", "x"], ["k", "1", "y"]]
    assert deaths == []


def test_long_requests_run_in_batches_between_those_of_others(monkeypatch, held):
    monkeypatch.setattr(workers, "_TURN_SECONDS", 0.0)

    async def scenario(made, deaths):
        long = await started(made.run(key("k"), [held.row] * 40))
        (other,) = await waiting(made.run(key("l", "b"), [b"x"]))
        held.let_go()
        other = shown(await other)
        assert not long.done()
        return other, shown(await long)

    other, long = with_workers(scenario)
    assert other == [["l", "1", "x"]]
    assert long == [["k", "8", *held.words]] * 40


def test_keys_stay_with_a_worker_unless_it_is_busy_while_another_is_not(held):
    async def scenario(made, deaths):
        def process(answers):
            return answers[0].split()[0]

        own = process(await made.run(key("k"), [b"x"]))
        assert process(await made.run(key("k"), [b"x"])) == own
        busy = await started(made.run(key("k"), [held.row]))
        assert process(await made.run(key("k"), [b"x"])) != own
        held.let_go()
        assert process(await busy) == own

    with_workers(scenario, number=2)


def test_a_worker_that_cannot_start_fails_requests_and_not_the_service(monkeypatch):
    async def scenario(made, deaths):
        monkeypatch.setattr(Worker, "_started", lambda self: (_ for _ in ()).throw(OSError("no")))
        made._workers[0]._pool.stop()
        with pytest.raises(OSError, match="no"):
            await made.run(key("k"), [b"x"])
        monkeypatch.undo()

    with_workers(scenario)
