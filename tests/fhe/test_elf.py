"""Import slots are where a loaded library takes functions from, and nowhere else."""

from __future__ import annotations

import ctypes
import subprocess
import sys

from cipherfit import _core
from cipherfit.fhe.elf import import_slots


def address(function: str) -> int:
    return ctypes.cast(getattr(ctypes.CDLL(None), function), ctypes.c_void_p).value


def test_a_slot_holds_the_address_of_the_function_that_is_imported():
    values = {slot.value for slot in import_slots(_core.__file__, "memcmp")}
    values |= {slot.value for slot in import_slots(_core.__file__, "memcpy")}
    assert values
    for slot in import_slots(_core.__file__, "sigaction"):
        assert slot.value == address("sigaction")


def test_what_a_library_does_not_import_has_no_slot():
    assert not list(import_slots(_core.__file__, "no_such_function"))
    assert not list(import_slots(_core.__file__, "memcm"))


REBOUND = """
import ctypes
from cipherfit import _core
from cipherfit.fhe.elf import import_slots

class Handled(Exception):
    pass

from cipherfit.fhe.runtime import fhe
from mlir._mlir_libs import _concretelang
libc = ctypes.CDLL(None)
slots = list(import_slots(_concretelang.__file__, "signal"))
print(len(slots), {slot.value for slot in slots} == {ctypes.cast(libc.abs, ctypes.c_void_p).value})
"""


def test_concretes_only_import_of_signal_is_bound_to_what_changes_nothing():
    ran = subprocess.run([sys.executable, "-c", REBOUND], capture_output=True, text=True)
    assert ran.stdout == "1 True\n", ran.stderr
