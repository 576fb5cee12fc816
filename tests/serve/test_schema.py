"""The service does what its OpenAPI document says, and nothing else."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from service_parties import Party
from service_process import digest_of, token_of

pytest.importorskip("schemathesis", reason="of the extra `fuzz`, from Python 3.11 on")

FUZZING = os.environ.get("HYPOTHESIS_PROFILE") == "fuzz"
#: With names of what is here, requests get further; what they hold can't be said in a schema.
NAMED = """
[parameters]
"path.digest" = "{digest}"
"path.key" = "{key}"
"query.model" = "{digest}"
"query.key" = "{key}"
[checks.positive_data_acceptance]
expected-statuses = ["2xx", 404, 409, 413, 422]
"""


@pytest.mark.parametrize("are_named", [False, True])
def test_schemathesis_finds_nothing(are_named, running, tmp_path):
    service, party = running("small"), Party("small")
    assert [party.upload(service, tenant) for tenant in ("alice", "bob")] == [201, 201]
    settings = tmp_path / "schemathesis.toml"
    settings.write_text(NAMED.format(digest=digest_of("small"), key=party.id) if are_named else "")
    options = {
        "--url": f"http://127.0.0.1:{service.port}",
        "--header": f"Authorization: Bearer {token_of('alice')}",
        "--checks": "all",
        "--seed": "1",
        "--max-examples": "200" if FUZZING else "15",
        "--generation-database": "none",
        # Else the first of them removes the key that the others name.
        **({"--exclude-method": "DELETE"} if are_named else {}),
    }
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(settings), "run"]
    done = subprocess.run(
        [
            *command,
            f"http://127.0.0.1:{service.port}/openapi.json",
            *(word for option in options.items() for word in option),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": "100"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    sent = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
    assert sent, done.stdout
    assert int(sent[1]) > 200
    assert party.is_answered(service, "bob")
