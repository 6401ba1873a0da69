# SPDX-License-Identifier: Apache-2.0
"""What cpp, dtlib and dtc made of each input: most of the time of a test is theirs."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from made import CHECKOUT


class Kept:
    """What cpp, dtlib and dtc made of each input, in place of what calls them."""

    def __init__(self) -> None:
        from west_viommu import api
        from west_viommu.read import preprocess, source

        self._known: dict[object, Any] = {}
        self._run, self._preprocessed = subprocess.run, preprocess._bounded_run
        self._parsed, self._compilers = source._parsed, api.Compilers
        preprocess._bounded_run, source._parsed = self._of_cpp, self._of_dtlib  # type: ignore
        subprocess.run, api.Compilers = self._of_dtc, self._of_dtcs  # type: ignore

    def _once(self, key: object, made: Callable[[], Any]) -> Any:
        key = (os.environ["PATH"], os.environ.get("CPP"), key)
        if key not in self._known:
            self._known[key] = made()
        return self._known[key]

    def _of_cpp(self, command: Sequence[str], meanwhile: Callable[[], None]) -> Any:
        near = sorted(Path().rglob("*")) if Path().resolve() != CHECKOUT else []
        files = [file for file in (*map(Path, command), *near) if file.is_file()]
        content = tuple((str(file), file.read_bytes()) for file in files)
        meanwhile()
        return self._once((*command, *content), lambda: self._preprocessed(command, lambda: None))

    def _of_dtlib(self, text: str, name: str, outline: Any) -> Any:
        if "incbin" in text:
            return self._parsed(text, name, outline)
        return self._once((text, name), lambda: self._parsed(text, name, outline))

    def _of_dtc(self, command: Any, **options: Any) -> Any:
        if command[0] != "dtc" or "input" not in options:
            return self._run(command, **options)
        return self._once((*command, *options.items()), lambda: self._run(command, **options))

    def _of_dtcs(self, sources: Mapping[str, str]) -> Any:
        return _Compiled(lambda: self._once(tuple(sources.items()), lambda: self._blobs(sources)))

    def _blobs(self, sources: Mapping[str, str]) -> Any:
        with self._compilers(sources) as compilers:
            return compilers.blobs()


class _Compiled(contextlib.nullcontext[Any]):
    """In place of Compilers, as a context of its own."""

    def __init__(self, blobs: Callable[[], Any]):
        super().__init__(self)
        self.blobs = blobs
