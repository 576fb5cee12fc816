"""Commands of either side: keygen, encrypt and decrypt of the client, run of the server."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import cipherfit
from cipherfit.commands.arguments import (
    DATA,
    add_data,
    add_output,
    add_proba,
    command,
    rows_of,
    write_csv,
)
from cipherfit.files.messages import Kind, Message
from cipherfit.files.paths import called, read_bytes, write_bytes
