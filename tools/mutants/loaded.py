# SPDX-License-Identifier: Apache-2.0
"""A mutant in place of the code: of a module that is imported already, or when it is."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import inspect
import sys
from collections.abc import Mapping
from types import FunctionType, ModuleType
from typing import Any

from made import CHECKOUT, Mutant


class Instead(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports the mutant in place of its module."""

    def __init__(self, mutant: Mutant):
        self._mutant = mutant
        self._file = CHECKOUT / (mutant.module.replace(".", "/") + ".py")

    def find_spec(self, name: str, *_: object) -> importlib.machinery.ModuleSpec | None:
        if name != self._mutant.module:
            return None
        return importlib.machinery.ModuleSpec(name, self, origin=str(self._file))

    def exec_module(self, module: ModuleType) -> None:
        module.__file__ = str(self._file)
        exec(compile(self._mutant.source, str(self._file), "exec"), module.__dict__)


def put_in(mutant: Mutant) -> None:
    """Gives the functions of the module, whoever has imported them, the code of the mutant."""
    module = sys.modules[mutant.module]
    changed = ModuleType(mutant.module)
    Instead(mutant).exec_module(changed)
    _put_in(vars(module), vars(changed), mutant.module)
    for name, each in list(sys.modules.items()):
        for kept in vars(each).values() if name.startswith("west_viommu.") else ():
            if hasattr(kept, "cache_clear"):
                kept.cache_clear()


def _put_in(own: Mapping[str, Any], changed: Mapping[str, Any], module: str) -> None:
    for name, new in changed.items():
        if getattr(new, "__module__", None) == module and inspect.isclass(new):
            _put_in(vars(own[name]), vars(new), module)
        elif (code := _function(new)) and code.__module__ == module and name in own:
            old = _function(own[name])
            assert old, name
            old.__code__ = code.__code__


def _function(found: object) -> FunctionType | None:
    """That of a method, property or cached property, or what is wrapped."""
    for name in ("__func__", "fget", "func", "__wrapped__"):
        found = getattr(found, name, None) or found
    return found if isinstance(found, FunctionType) else None
