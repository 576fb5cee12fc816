"""Which model a client has met at a service, so that another is noticed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from cipherfit.exceptions import KeyStoreError, SecurityError
from cipherfit.predictor.container import write_file
from cipherfit.serve.keystore import PRIVATE

_NAME = "models.json"


def pin(folder: Path, url: str, digest: str, client_file: bytes, *, renew: bool = False) -> None:
    """Note what a service serves, or check that it is what it was the first time.

    Parameters
    ----------
    folder : Path
        Of the key store.
    url : str
        What was asked.
    digest : str
        The model's.
    client_file : bytes
        Its client file.
    renew : bool, default=False
        Whether to note it in place of what it was.

    Raises
    ------
    SecurityError
        If it is another model, or another file of the same.
    KeyStoreError
        If what was noted can't be read.
    """
    path = folder / _NAME
    pins = _read(path)
    found = {"digest": digest, "client": hashlib.sha256(client_file).hexdigest()}
    known = pins.get(url)
    if known == found:
        return
    if known is not None and not renew:
        raise SecurityError(
            f"{url} served another model, or another client's file, when this client first asked: "
            f"its digest was {known.get('digest')}, and is {digest}. If that is meant, accept it "
            f"with digest={digest!r}"
        )
    text = json.dumps({**pins, url: found}, indent=1)
    write_file(path, text.encode(), mode=PRIVATE)


def _read(path: Path) -> dict[str, dict[str, str]]:
    try:
        pins = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (ValueError, OSError) as error:
        raise KeyStoreError(f"{path} can't be read: remove it to begin anew") from error
    if not isinstance(pins, dict) or not all(isinstance(one, dict) for one in pins.values()):
        raise KeyStoreError(f"{path} can't be read: remove it to begin anew")
    return pins
