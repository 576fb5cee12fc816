"""Where a loaded shared library keeps the addresses of the functions that it imports."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator

# Tags of the dynamic section, and sizes, as of the ELF-64 object file format, version 1.5.
_DT_PLTRELSZ, _DT_STRTAB, _DT_SYMTAB, _DT_RELA, _DT_RELASZ, _DT_JMPREL = 2, 5, 6, 7, 8, 23
_SYMBOL_BYTES = 24
#: Relocations that hold a function's address (x86-64 psABI): R_X86_64_GLOB_DAT and _JUMP_SLOT.
_ADDRESSES = (6, 7)
_RTLD_DI_LINKMAP = 2


class _LinkMap(ctypes.Structure):
    _fields_ = (("base", ctypes.c_uint64), ("name", ctypes.c_char_p), ("dynamic", ctypes.c_void_p))


class _Dynamic(ctypes.Structure):
    _fields_ = (("tag", ctypes.c_int64), ("value", ctypes.c_uint64))


class _Relocation(ctypes.Structure):
    _fields_ = (("offset", ctypes.c_uint64), ("info", ctypes.c_uint64), ("addend", ctypes.c_int64))


def import_slots(library: str, function: str) -> Iterator[ctypes.c_uint64]:
    """Yield the places from which a library that is loaded takes a function's address.

    Parameters
    ----------
    library : str
        Path of the library.
    function : str
        Name of the function that it imports.

    Yields
    ------
    ctypes.c_uint64
        Writing to its `value` changes what the library, and nothing else, calls by that name.
    """
    handle = ctypes.CDLL(library, mode=os.RTLD_NOW | os.RTLD_NOLOAD)
    link = ctypes.POINTER(_LinkMap)()
    dlinfo = ctypes.CDLL(None).dlinfo
    dlinfo.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)
    if dlinfo(handle._handle, _RTLD_DI_LINKMAP, ctypes.byref(link)) != 0:
        return
    base = link.contents.base
    parts = _dynamic_section(link.contents.dynamic)
    if not {_DT_SYMTAB, _DT_STRTAB} <= parts.keys():
        return
    for table, size in ((_DT_JMPREL, _DT_PLTRELSZ), (_DT_RELA, _DT_RELASZ)):
        count = parts.get(size, 0) // ctypes.sizeof(_Relocation)
        for entry in (_Relocation * count).from_address(parts.get(table, 0)) if count else ():
            symbol, kind = entry.info >> 32, entry.info & 0xFFFFFFFF
            if kind in _ADDRESSES and _name(parts, symbol) == function.encode():
                yield ctypes.c_uint64.from_address(base + entry.offset)


def _dynamic_section(address: int) -> dict[int, int]:
    parts: dict[int, int] = {}
    while True:
        entry = _Dynamic.from_address(address)
        if entry.tag == 0:
            return parts
        parts[entry.tag] = entry.value
        address += ctypes.sizeof(_Dynamic)


def _name(parts: dict[int, int], symbol: int) -> bytes:
    entry = parts[_DT_SYMTAB] + symbol * _SYMBOL_BYTES
    offset = ctypes.c_uint32.from_address(entry).value
    return ctypes.string_at(parts[_DT_STRTAB] + offset)
