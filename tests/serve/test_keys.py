from __future__ import annotations

import hashlib
import os
import sqlite3

import pytest

from cipherfit.exceptions import InvalidParameterError
from cipherfit.serve.keys import KeyStore, Limits
from cipherfit.serve.refusals import RefusedError


@pytest.fixture
def clock(monkeypatch):
    """Time that tests move on."""

    class Clock:
        now = 1e9

        def __call__(self) -> float:
            self.now += 1
            return self.now

    clock = Clock()
    monkeypatch.setattr("cipherfit.serve.keys.time.time", clock)
    return clock


@pytest.fixture
def store(tmp_path, clock):
    made = KeyStore(tmp_path, Limits(total_bytes=100, tenant_bytes=60, seconds=1000))
    yield made
    made.close()


def put(store: KeyStore, tenant: str, name: str, size: int = 20) -> str:
    data = name.encode().ljust(size, b".")
    key = hashlib.sha256(data).hexdigest()
    upload = store.begin(tenant, key, "fits", size, offset=0)
    upload.write(data)
    upload.close()
    assert upload.is_complete
    assert upload.has_its_digest()
    store.finish(tenant, upload)
    return key


def has(store: KeyStore, tenant: str, key: str) -> bool:
    try:
        return store.find(tenant, key).path.exists()
    except RefusedError:
        return False


def test_a_tenant_beyond_its_quota_loses_its_own_key_that_was_not_used_for_longest(store, clock):
    other = put(store, "b", "other")
    first, second, third = (put(store, "a", name) for name in "123")
    clock.now += 100
    store.find("a", first)
    fourth = put(store, "a", "4")
    assert [has(store, "a", key) for key in (first, second, third, fourth)] == [
        True, False, True, True,
    ]  # fmt: skip
    assert has(store, "b", other)
    assert store.total_bytes == 80


def test_in_all_the_keys_go_that_were_not_used_for_longest(store, clock):
    keys = []
    for tenant in "abcdef":
        keys.append((tenant, put(store, tenant, tenant)))
        clock.now += 100
    assert [has(store, *key) for key in keys] == [False, *[True] * 5]
    assert store.total_bytes == 100
    assert store.n_keys == 5


def test_keys_in_use_and_uploads_that_grow_are_not_removed_to_make_room(store, clock):
    first, second = put(store, "a", "1"), put(store, "a", "2")
    with store.held("a", first), store.held("a", first):
        third = put(store, "a", "3")
        fourth = put(store, "a", "4")
        assert [has(store, "a", key) for key in (first, second, third, fourth)] == [
            True, False, True, True,
        ]  # fmt: skip
        with store.held("a", third), store.held("a", fourth):
            with pytest.raises(RefusedError, match="no room for another key") as refused:
                put(store, "a", "5")
            assert refused.value.status == 429
            assert refused.value.headers["Retry-After"] == "2"
            assert all(has(store, "a", key) for key in (first, third, fourth))
        clock.now += 5000
        store.sweep()
        assert [has(store, "a", key) for key in (first, third)] == [True, False]


def test_a_key_that_came_is_there_for_its_first_request_whoever_needs_room(store, clock):
    keys = [(tenant, put(store, tenant, tenant)) for tenant in "abcde"]
    with pytest.raises(RefusedError, match="no room for another key"):
        put(store, "f", "f")
    assert store.n_keys == 5
    # The first was used; the others are asked with now.
    store.find(*keys[0])
    put(store, "f", "f")
    assert not has(store, *keys[0])
    clock.now += 100
    put(store, "g", "g")


def test_the_last_use_counts_though_the_index_is_told_now_and_then(store, clock):
    first, second, third = (put(store, "a", name) for name in "123")
    # Within the same minute, of which the index knows the beginning only.
    store.find("a", first)
    put(store, "a", "4")
    assert [has(store, "a", key) for key in (first, second, third)] == [True, False, True]


def test_a_key_larger_than_the_quota_is_refused(store):
    with pytest.raises(RefusedError, match="61 bytes, and the quota is 60") as refused:
        store.begin("a", "0" * 64, "fits", 61, offset=0)
    assert refused.value.status == 413


def test_keys_that_are_not_used_go_after_their_time_and_others_stay(store, clock):
    used, unused = put(store, "a", "used"), put(store, "a", "unused")
    clock.now += 600
    store.find("a", used)
    clock.now += 600
    store.sweep()
    assert has(store, "a", used)
    assert not has(store, "a", unused)


def test_index_and_files_agree_again_after_any_end(tmp_path, clock):
    limits = Limits(total_bytes=1000, tenant_bytes=1000, seconds=1000)
    store = KeyStore(tmp_path, limits)
    kept, lost = put(store, "a", "kept"), put(store, "a", "lost")
    part = store.begin("a", "1" * 64, "fits", 20, offset=0)
    part.write(b"part")
    # It ends after the rename and before the index knows.
    data = b"renamed".ljust(20, b".")
    renamed = hashlib.sha256(data).hexdigest()
    upload = store.begin("a", renamed, "fits", 20, offset=0)
    upload.write(data)
    os.replace(upload.part, upload.part.with_suffix(""))
    store.find("a", lost).path.unlink()
    (tmp_path / "files" / "a" / "stray").write_bytes(b"x")
    store.close()
    again = KeyStore(tmp_path, limits)
    assert has(again, "a", kept)
    assert has(again, "a", renamed)
    assert not has(again, "a", lost)
    assert again.uploaded("a", "1" * 64) == 4
    names = {path.name for path in (tmp_path / "files" / "a").iterdir()}
    assert names == {kept, renamed, "1" * 64 + ".part"}
    again.close()


def test_bytes_beyond_those_announced_are_refused(store):
    upload = store.begin("a", "0" * 64, "fits", 20, offset=0)
    with pytest.raises(RefusedError, match="more than the 20 bytes"):
        upload.write(b"x" * 21)


def test_an_upload_that_was_deleted_meanwhile_is_not_kept(store):
    upload = store.begin("a", "0" * 64, "fits", 20, offset=0)
    store.delete("a", "0" * 64)
    with pytest.raises(RefusedError) as refused:
        store.finish("a", upload)
    assert refused.value.status == 404


def test_a_folder_is_used_by_one_service_at_a_time(store, tmp_path):
    with pytest.raises(InvalidParameterError, match="used by another service"):
        KeyStore(tmp_path, Limits(1, 1, 1))


def test_a_key_that_ended_two_workers_is_refused_also_after_a_restart(tmp_path):
    limits = Limits(total_bytes=1000, tenant_bytes=1000, seconds=1000)
    store = KeyStore(tmp_path, limits)
    key = put(store, "a", "key")
    store.note_death("a", key)
    assert has(store, "a", key)
    store.note_death("a", key)
    store.close()
    again = KeyStore(tmp_path, limits)
    with pytest.raises(RefusedError) as refused:
        again.find("a", key)
    assert (refused.value.status, refused.value.kind) == (409, "quarantined")
    again.delete("a", key)
    with pytest.raises(RefusedError, match="ended 2 runs"):
        again.begin("a", key, "fits", 20, offset=0)
    again.close()


def test_a_file_that_is_no_index_is_an_error(tmp_path):
    (tmp_path / "index.sqlite3").write_bytes(b"x" * 4096)
    with pytest.raises(sqlite3.DatabaseError):
        KeyStore(tmp_path, Limits(1, 1, 1))
