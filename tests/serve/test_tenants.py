from __future__ import annotations

import hashlib

import pytest

from cipherfit.exceptions import InvalidParameterError
from cipherfit.serve.tenants import Tokens

HASHES = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("one", "two", "three")}


def test_each_token_is_its_tenants_and_others_are_nobodys(tmp_path):
    path = tmp_path / "tokens"
    path.write_text(
        f"# tenants\n\na {HASHES['one']}\nb {HASHES['two'].upper()}\na {HASHES['three']}\n"
    )
    tokens = Tokens.read(path)
    assert [tokens(name) for name in ("one", "two", "three")] == ["a", "b", "a"]
    assert [tokens(wrong) for wrong in (None, "", "four", HASHES["one"], "\udc80")] == [None] * 5
    assert repr(tokens) == "Tokens(2 tenants)"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no tokens"),
        ("a secret-token\n", "must be given by its SHA-256"),
        (f"../a {HASHES['one']}\n", "must be 1 to 64 letters"),
        (f".. {HASHES['one']}\n", "must be 1 to 64 letters"),
        (f"a b {HASHES['one']}\n", "line 1 must be a tenant and a SHA-256"),
    ],
)
def test_what_is_no_file_of_tokens_is_an_error_that_shows_no_token(tmp_path, text, message):
    path = tmp_path / "tokens"
    path.write_text(text)
    with pytest.raises(InvalidParameterError, match=message) as error:
        Tokens.read(path)
    assert "secret-token" not in str(error.value)


def test_a_file_that_is_missing_is_named(tmp_path):
    with pytest.raises(InvalidParameterError, match="can't be read"):
        Tokens.read(tmp_path / "missing")
