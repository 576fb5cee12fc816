from __future__ import annotations

import os
import pickle
import random
import subprocess
import sys
import types
from pathlib import Path

import pytest

from cipherfit.exceptions import InvalidParameterError, KeyStoreError
from cipherfit.serve import keystore
from cipherfit.serve.keystore import KeyStore

DIGEST, OTHER = "ab" * 32, "cd" * 32
SECRET = b"the secret key of a client" * 40
PHRASE = "correct horse"


@pytest.fixture
def store(tmp_path):
    store = KeyStore(tmp_path / "keys", PHRASE)
    store.save(DIGEST, SECRET)
    return store


def file_of(store):
    return store.folder / f"{DIGEST}.key"


def mode(path):
    return path.stat().st_mode & 0o777


def test_a_secret_is_kept_for_the_next_process(store):
    again = KeyStore(store.folder, PHRASE)
    assert DIGEST in again
    assert OTHER not in again
    assert again.load(DIGEST) == SECRET
    assert again.get_or_make(DIGEST, make=pytest.fail) == SECRET
    assert again.get_or_make(OTHER, make=lambda: b"new") == b"new"
    assert again.load(OTHER) == b"new"
    again.remove(OTHER)
    with pytest.raises(KeyStoreError, match="has no keys of model"):
        again.load(OTHER)


def test_files_are_their_owners_alone_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        store = KeyStore(tmp_path / "a" / "keys", PHRASE)
        store.save(DIGEST, SECRET)
    finally:
        os.umask(before)
    assert mode(store.folder) == 0o700
    assert {mode(path) for path in store.folder.iterdir()} == {0o600}


def test_no_file_holds_the_secret_or_the_passphrase(store):
    for path in store.folder.iterdir():
        assert SECRET[:16] not in path.read_bytes()
        assert PHRASE.encode() not in path.read_bytes()


def test_a_secret_that_is_stored_again_is_encrypted_anew(store):
    first = file_of(store).read_bytes()
    store.save(DIGEST, SECRET)
    second = file_of(store).read_bytes()
    assert first[keystore._HEADER.size :] != second[keystore._HEADER.size :]
    assert store.load(DIGEST) == SECRET


def test_a_wrong_passphrase_is_an_error_that_tells_neither(store):
    with pytest.raises(KeyStoreError, match="passphrase is wrong, or the file was altered") as info:
        KeyStore(store.folder, "another").load(DIGEST)
    assert PHRASE not in str(info.value)
    assert "another" not in str(info.value)
    assert info.value.__cause__ is None


def test_any_altered_byte_is_an_error(store):
    data = file_of(store).read_bytes()
    rng = random.Random(0)
    for at in [*range(keystore._HEADER.size), *rng.sample(range(len(data)), 30)]:
        mutant = bytearray(data)
        # scrypt's parameters by their lowest bit, so that it stays quick
        mutant[at] ^= 1 if at < keystore._HEADER.size else rng.randrange(1, 256)
        file_of(store).write_bytes(mutant)
        with pytest.raises(KeyStoreError):
            store.load(DIGEST)


def test_cut_files_and_others_are_errors(store):
    data = file_of(store).read_bytes()
    for damaged in (b"", b"x", data[:40], data[:-1], b"-----BEGIN PRIVATE KEY-----" * 9):
        file_of(store).write_bytes(damaged)
        with pytest.raises(KeyStoreError):
            store.load(DIGEST)


def test_a_forged_file_can_not_ask_for_all_memory(store):
    data = bytearray(file_of(store).read_bytes())
    data[len(keystore._MAGIC)] = 63
    file_of(store).write_bytes(data)
    with pytest.raises(KeyStoreError, match="scrypt parameters are out of range"):
        store.load(DIGEST)


def test_a_file_of_another_model_is_refused(store):
    (store.folder / f"{OTHER}.key").write_bytes(file_of(store).read_bytes())
    with pytest.raises(KeyStoreError, match="can't be opened"):
        store.load(OTHER)


def test_a_folder_that_others_may_read_is_refused(tmp_path):
    folder = tmp_path / "open"
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    with pytest.raises(KeyStoreError, match=r"mode 755.*chmod 700"):
        KeyStore(folder, PHRASE)
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(KeyStoreError):
        KeyStore(file, PHRASE)


def test_names_that_are_no_digests_are_refused(store):
    for name in ("../" + DIGEST[3:], "AB" * 32, "", DIGEST + "\n"):
        with pytest.raises(InvalidParameterError, match="64 hexadecimal digits"):
            store.load(name)


def test_stores_show_and_pickle_no_passphrase(store):
    assert PHRASE not in repr(store)
    with pytest.raises(KeyStoreError, match="not pickled"):
        pickle.dumps(store)


def test_the_passphrase_comes_from_where_one_says(store, monkeypatch, tmp_path):
    key_file = tmp_path / "phrase"
    key_file.write_text(PHRASE + "\n")
    key_file.chmod(0o600)
    for given in (PHRASE, PHRASE.encode(), lambda: PHRASE, key_file):
        assert KeyStore(store.folder, given).load(DIGEST) == SECRET
    monkeypatch.setenv("CIPHERFIT_PASSPHRASE", PHRASE)
    assert KeyStore(store.folder).load(DIGEST) == SECRET


def test_passphrases_that_are_none_are_errors(store, tmp_path, monkeypatch):
    open_file = tmp_path / "phrase"
    open_file.write_text(PHRASE)
    open_file.chmod(0o644)
    with pytest.raises(KeyStoreError, match="open to others"):
        KeyStore(store.folder, open_file).load(DIGEST)
    with pytest.raises(KeyStoreError, match="can't be read"):
        KeyStore(store.folder, Path("missing")).load(DIGEST)
    with pytest.raises(KeyStoreError, match="empty"):
        KeyStore(store.folder, "").load(DIGEST)
    with pytest.raises(InvalidParameterError, match="type int"):
        KeyStore(store.folder, lambda: 7).load(DIGEST)
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(KeyStoreError, match="CIPHERFIT_PASSPHRASE"):
        KeyStore(store.folder).load(DIGEST)


def test_the_operating_systems_keyring_keeps_a_passphrase_of_its_own(tmp_path, monkeypatch):
    kept = {}
    keyring = types.ModuleType("keyring")
    keyring.get_password = lambda *name: kept.get(name)
    keyring.set_password = lambda service, user, phrase: kept.update({(service, user): phrase})
    monkeypatch.setitem(sys.modules, "keyring", keyring)
    KeyStore(tmp_path / "keys").save(DIGEST, SECRET)
    ((name, phrase),) = kept.items()
    assert name == ("cipherfit", str(tmp_path / "keys"))
    assert len(phrase) > 40
    assert KeyStore(tmp_path / "keys").load(DIGEST) == SECRET

    def locked(*_):
        raise RuntimeError("locked")

    keyring.get_password = locked
    with pytest.raises(KeyStoreError, match=r"keyring can't be used \(RuntimeError\)"):
        KeyStore(tmp_path / "keys").load(DIGEST)


PROCESS = """
import os, sys, time
from cipherfit.serve import keystore
keystore._LOG2_N = 4
def make():
    time.sleep(0.2)
    return str(os.getpid()).encode()
print(keystore.KeyStore(sys.argv[1], "phrase").get_or_make("ab" * 32, make).decode())
"""


def test_of_processes_that_ask_at_once_one_makes_the_keys(tmp_path):
    command = [sys.executable, "-c", PROCESS, str(tmp_path / "keys")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(3)]
    answers = {process.communicate(timeout=600)[0] for process in processes}
    assert len(answers) == 1
    assert answers != {b""}


def test_a_crash_while_writing_leaves_the_old_keys(store, monkeypatch):
    def crash(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", crash)
    with pytest.raises(KeyStoreError, match="No space left"):
        store.save(DIGEST, b"new")
    assert store.load(DIGEST) == SECRET
