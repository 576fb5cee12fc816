"""Commands of either side, on real files with real encryption."""

from __future__ import annotations

import io
import re
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_samples import LABELS, NAMES, ROWS, X, in_a_shell

import cipherfit
from cipherfit import NeuralNetClassifier
from cipherfit.cli import main
from cipherfit.fhe.messages import Templates
from cipherfit.files.messages import Kind, Message
from cipherfit.serve.frames import pack

pytestmark = pytest.mark.usefixtures("folder", "passphrase")
KEYGEN = ["keygen", "model.client", "--keys", "keys", "-o", "keys.public"]
ENCRYPT = ["encrypt", "model.client", "rows.csv", "--keys", "keys", "-o", "rows.enc"]
RUN = ["run", "model.cipherfit", "rows.enc", "--evaluation-keys", "keys.public", "-o"]
DECRYPT = ["decrypt", "model.client", "answers.enc", "--keys", "keys"]


@pytest.fixture
def passphrase(monkeypatch):
    monkeypatch.setenv("CIPHERFIT_PASSPHRASE", "correct horse")


@pytest.fixture
def answered():
    """All files that the two sides make."""
    assert [main(step) for step in (KEYGEN, ENCRYPT, [*RUN, "answers.enc"])] == [0, 0, 0]


def test_what_is_decrypted_is_what_the_model_predicts(answered, answers, trained, capsys):
    assert main([*DECRYPT, "-o", "answers.csv"]) == 0
    assert Path("answers.csv").read_text() == answers
    assert main([*DECRYPT, "--proba"]) == 0
    captured = capsys.readouterr()
    frame = pd.read_csv(io.StringIO(captured.out), float_precision="round_trip")
    np.testing.assert_array_equal(frame.to_numpy(), trained.predict_proba(ROWS))
    assert captured.err == ""


def test_secrets_are_in_no_file_but_the_store_and_there_encrypted(answered):
    from cipherfit.serve.encryption import BfvEncryption
    from cipherfit.serve.keystore import KeyStore

    model = cipherfit.load_client("model.client")
    store = KeyStore("keys")
    secret = store.load(model.digest)
    assert BfvEncryption.restored(model, store)
    for path in Path().rglob("*"):
        if path.is_file():
            assert secret[-32:] not in path.read_bytes(), path
    files = [path for path in Path("keys").iterdir() if path.suffix == ".key"]
    assert [stat.S_IMODE(path.stat().st_mode) for path in files] == [0o600]
    assert stat.S_IMODE(Path("keys").stat().st_mode) == 0o700


def test_keys_are_made_once(answered):
    first = Path("keys.public").read_bytes()
    assert main(KEYGEN) == 0
    assert Path("keys.public").read_bytes() == first


def test_a_passphrase_can_lie_in_a_file(monkeypatch, error):
    monkeypatch.delenv("CIPHERFIT_PASSPHRASE")
    path = Path("phrase")
    path.write_text("correct horse\n")
    path.chmod(0o644)
    assert error(*KEYGEN, "--key-file", "phrase")[0] == 6
    path.chmod(0o600)
    assert main([*KEYGEN, "--key-file", "phrase"]) == 0
    monkeypatch.setenv("CIPHERFIT_PASSPHRASE", "correct horse")
    assert main(ENCRYPT) == 0


class TestErrors:
    def test_nothing_is_encrypted_without_keys(self, error):
        status, line = error(*ENCRYPT)
        assert status == 6
        assert "has no keys for the model" in line
        assert "make some with keygen" in line

    def test_a_wrong_passphrase_opens_nothing(self, answered, monkeypatch, error):
        monkeypatch.setenv("CIPHERFIT_PASSPHRASE", "wrong horse")
        status, line = error(*DECRYPT)
        assert status == 6
        assert "passphrase is wrong" in line
        assert "horse" not in line

    @pytest.mark.parametrize("name", ["rows.enc", "keys.public", "answers.enc"])
    @pytest.mark.parametrize("kind", ["cut", "changed", "longer", "empty"])
    def test_damaged_messages_are_refused(self, answered, name, kind, error):
        data = Path(name).read_bytes()
        changed = bytearray(data)
        changed[-9] ^= 1
        kinds = {"cut": data[:-1], "changed": bytes(changed), "longer": data + b"\0", "empty": b""}
        Path(name).write_bytes(kinds[kind])
        status, line = error(*(DECRYPT if name == "answers.enc" else [*RUN, "new"]))
        assert status == 3
        assert line.startswith(f"{name} is ")
        assert not Path("new").exists()

    def test_messages_in_each_others_place_are_refused(self, answered, error):
        command = ["run", "model.cipherfit", "keys.public", "--evaluation-keys", "keys.public"]
        expected = 4, "keys.public holds evaluation keys, where rows belong"
        assert error(*command, "-o", "new") == expected

    def test_a_client_file_is_no_model_and_a_model_no_client_file(self, error):
        assert error("run", "model.client", *RUN[2:], "new")[0] == 3
        assert error("keygen", "model.cipherfit", *KEYGEN[2:])[0] == 3

    def test_another_models_messages_are_refused(self, answered, error):
        other = NeuralNetClassifier(module__n_layers=1, random_state=7, max_epochs=3)
        other.fit(pd.DataFrame(X[:, ::-1], columns=NAMES), LABELS).save("other.cipherfit")
        status, line = error("run", "other.cipherfit", *RUN[2:], "new")
        assert status == 4
        assert "the evaluation keys belong to the model" in line
        assert main(["client", "other.cipherfit", "-o", "other.client"]) == 0
        status, line = error("decrypt", "other.client", *DECRYPT[2:])
        assert status == 4
        assert "the encrypted answers belong to the model" in line

    def test_another_clients_keys_are_refused(self, answered, error):
        again = [argument.replace("keys", "others") for argument in KEYGEN]
        again[2] = "--keys"
        assert main(again) == 0
        command = [argument.replace("keys.public", "others.public") for argument in RUN]
        status, line = error(*command, "new")
        assert status == 4
        assert "the encrypted rows were made under the keys" in line
        status, line = error(*DECRYPT[:-1], "others")
        assert status == 4
        assert "the encrypted answers were made under the keys" in line


SCRIPT = """\
set -eu
mkdir client server
cp model.cipherfit server; cp model.client rows.csv client

client() { (cd client && cipherfit "$@"); }
server() { (cd server && cipherfit "$@"); }

client keygen model.client --keys keys -o ../server/keys.public
client encrypt model.client rows.csv --keys keys -o - |
  server run model.cipherfit - --evaluation-keys keys.public -o - |
  client decrypt model.client - --keys keys -o answers.csv
"""


def test_a_shell_script_holds_both_sides_as_processes_of_their_own(folder, answers):
    run = in_a_shell(SCRIPT, folder)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
    assert Path("client/answers.csv").read_text() == answers
    assert sorted(path.name for path in Path("server").iterdir()) == [
        "keys.public",
        "model.cipherfit",
    ]


def test_the_page_of_the_command_line_runs_from_top_to_bottom(tmp_path):
    page = (Path(__file__).parents[2] / "docs/command-line.md").read_text()
    (training,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(training.replace("NeuralNetClassifier(", "NeuralNetClassifier(max_epochs=10, "), {})
    commands = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    assert len(commands) >= 6
    run = in_a_shell("set -eu\n" + "\n".join(commands), tmp_path)
    assert (run.returncode, run.stderr) == (0, "")
    answers = Path("answers.csv").read_text().splitlines()
    assert (answers[0], len(answers)) == ("prediction", 21)


@pytest.mark.fhe
def test_lookups_are_run_on_files_and_with_templates_that_were_made_before(
    trained, capsys, monkeypatch, error
):
    model = NeuralNetClassifier(
        module__n_hidden_neurons=3,
        module__n_w_bits=2,
        module__n_a_bits=2,
        module__n_accum_bits=4,
        module__rounding="exact",
        random_state=0,
        max_epochs=5,
    ).fit(pd.DataFrame(X, columns=NAMES), LABELS)
    model.compile(p_error=1e-9)
    model.save("model.cipherfit")
    ROWS[:2].to_csv("rows.csv", index=False)
    assert main(["client", "model.cipherfit", "-o", "model.client"]) == 0
    for step in (KEYGEN, ENCRYPT, [*RUN, "answers.enc"], DECRYPT):
        assert main(step) == 0
    expected = model.predict(ROWS[:2])
    captured = capsys.readouterr()
    assert captured.out == "prediction\n" + "".join(f"{label}\n" for label in expected)
    assert captured.err == ""

    assert main(["templates", "model.cipherfit", "-o", "model.templates"]) == 0
    monkeypatch.setattr(Templates, "of_specs", lambda specs: pytest.fail("keys were made anew"))
    for step in ([*RUN, "answers.enc", "--templates", "model.templates"], DECRYPT):
        assert main(step) == 0
    assert capsys.readouterr().out == captured.out
    cut = Message.from_bytes(Path("rows.enc").read_bytes(), kind=Kind.ROWS)
    short = replace(cut, body=pack([frame[:-8] for frame in cut.frames()]))
    Path("rows.enc").write_bytes(short.to_bytes())
    status, line = error(*RUN, "new", "--templates", "model.templates")
    assert status == 3
    assert "encrypted inputs of this circuit take" in line
