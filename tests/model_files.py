"""Files of models and clients that tests read, and take apart."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path

from samples import fitted

DOCS = Path(__file__).parents[1] / "docs"
SPECIFICATION = (DOCS / "model-file.md").read_text()


def blocks(page: str, kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", page.partition("## An example")[2], re.DOTALL)


def example_graph() -> bytes:
    lines = blocks((DOCS / "format.md").read_text(), "text")[0].splitlines()
    return bytes.fromhex("".join(line.partition("#")[0] for line in lines))


def example_bytes() -> bytes:
    """Return the specification's example."""
    (length,), (header,) = blocks(SPECIFICATION, "text"), blocks(SPECIFICATION, "json")
    data = bytes.fromhex(length)
    header = header.rstrip("\n").encode().ljust(int.from_bytes(data, "little"))
    return data + header + example_graph()


def parts_of(data: bytes) -> tuple[str, dict, dict]:
    """Return kind, metadata and parts of a file, unchecked."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    document = json.loads(header.pop("__metadata__")["cipherfit"])
    body = data[8 + length :]
    tensors = {name: body[slice(*entry["data_offsets"])] for name, entry in header.items()}
    kind = document.pop("kind")
    del document["format"], document["sha256"]
    return kind, document, tensors


def client_bytes(n_layers: int = 1) -> bytes:
    model = copy.deepcopy(fitted("iris", n_layers=n_layers))
    model.compile()
    return model.predictor_.client_model().to_bytes()
