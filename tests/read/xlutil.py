# SPDX-License-Identifier: Apache-2.0
"""What Debian's own libxlutil makes of a configuration of xl: a process of its own, as the library
ends the process with an assertion for a zero byte in a string.

Run as a script, it answers for each input on stdin (its size in 8 digits, then its bytes) with a
line of JSON: {"line": N} if xl refuses it, the first line that it names, else {"keys": {...}}.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

XLUTIL = Path(__file__).parents[2] / ".venv" / "xen" / "xlutil"
NO_XLUTIL = "no libxlutil in .venv/xen/xlutil: `make boot-tools` brings it"
Value = Any


class Xlutil:
    """The library, asked for one configuration after the other."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def read(self, source: bytes) -> dict[str, Any]:
        """Return what the library makes of `source`; {} if it ends its process."""
        if self._process is None:
            libraries = next(XLUTIL.glob("usr/lib/*-linux-gnu"))
            self._process = subprocess.Popen(
                [sys.executable, "-S", __file__, str(next(libraries.glob("libxlutil.so.*.0")))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "LD_LIBRARY_PATH": str(libraries)},
            )
        process = self._process
        assert process.stdin and process.stdout
        process.stdin.write(b"%08d" % len(source) + source)
        process.stdin.flush()
        answer = process.stdout.readline()
        if not answer:
            self.close()
            return {}
        found: dict[str, Any] = json.loads(answer)
        return found

    def close(self) -> None:
        """End the process."""
        if self._process:
            assert self._process.stdin and self._process.stdout
            self._process.stdin.close()
            self._process.stdout.close()
            self._process.wait()
            self._process = None


class _Setting(ctypes.Structure):
    """struct XLU_ConfigSetting of libxlu_internal.h, as far as it is read."""


_Setting._fields_ = [("next", ctypes.POINTER(_Setting)), ("name", ctypes.c_char_p)]


class _Config(ctypes.Structure):
    """struct XLU_Config of libxlu_internal.h, as far as it is read."""

    _fields_ = [("settings", ctypes.POINTER(_Setting))]


def _answer(library: ctypes.CDLL, libc: ctypes.CDLL, source: bytes) -> dict[str, Any]:
    report = libc.tmpfile()
    config = library.xlu_cfg_init(ctypes.c_void_p(report), b"cfg")
    refused = library.xlu_cfg_readdata(ctypes.c_void_p(config), source, len(source))
    found: dict[str, Any] = {}
    if refused:
        libc.fflush(ctypes.c_void_p(report))
        libc.rewind(ctypes.c_void_p(report))
        text = ctypes.create_string_buffer(4096)
        size = libc.fread(text, 1, 4095, ctypes.c_void_p(report))
        match = re.search(rb"cfg:(\d+): config parsing error", text.raw[:size])
        found["line"] = int(match[1]) if match else None
        found["text"] = text.raw[:size].decode("latin-1")
    else:
        keys: dict[str, Value] = {}
        setting = _Config.from_address(config).settings
        while setting:
            name = setting.contents.name
            if name.decode() not in keys:
                keys[name.decode()] = _value(library, config, name)
            setting = setting.contents.next
        found["keys"] = keys
    library.xlu_cfg_destroy(ctypes.c_void_p(config))
    libc.fclose(ctypes.c_void_p(report))
    return found


def _value(library: ctypes.CDLL, config: int, name: bytes) -> Value:
    text = ctypes.c_char_p()
    if not library.xlu_cfg_get_string(ctypes.c_void_p(config), name, ctypes.byref(text), 1):
        return (text.value or b"").decode("latin-1")
    items, count = ctypes.c_void_p(), ctypes.c_int()
    library.xlu_cfg_get_list(
        ctypes.c_void_p(config), name, ctypes.byref(items), ctypes.byref(count), 1
    )
    return _list(library, config, items, count.value)


def _list(library: ctypes.CDLL, config: int, items: ctypes.c_void_p, count: int) -> Value:
    found: list[Value] = []
    for i in range(count):
        item = library.xlu_cfg_get_listitem2(items, i)
        text = ctypes.c_char_p()
        if library.xlu_cfg_value_type(ctypes.c_void_p(item)) == 0:
            library.xlu_cfg_value_get_string(
                ctypes.c_void_p(config), ctypes.c_void_p(item), ctypes.byref(text), 1
            )
            found.append((text.value or b"").decode("latin-1"))
        else:
            inner = ctypes.c_void_p()
            library.xlu_cfg_value_get_list(
                ctypes.c_void_p(config), ctypes.c_void_p(item), ctypes.byref(inner), 1
            )
            size = 0
            while library.xlu_cfg_get_listitem2(inner, size):
                size += 1
            found.append(_list(library, config, inner, size))
    return found


def main(file: str) -> None:
    """Answer until stdin ends."""
    library, libc = ctypes.CDLL(file), ctypes.CDLL(None)
    for function in (library.xlu_cfg_init, library.xlu_cfg_get_listitem2, libc.tmpfile):
        function.restype = ctypes.c_void_p
    while size := sys.stdin.buffer.read(8):
        source = sys.stdin.buffer.read(int(size))
        print(json.dumps(_answer(library, libc, source)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
