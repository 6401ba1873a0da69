# SPDX-License-Identifier: Apache-2.0
"""What other systems, other Pythons and a bare installation lack: the outcome is the same."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import DEMO, PACKAGE, Run, golden
from west_viommu.read.programs import end
from west_viommu.tree import digest

BIND = ("bind", "--host", DEMO / "host.dts", DEMO / "guest.overlay")


def test_without_files_in_memory(viommu: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """macOS has no memfd_create()."""
    monkeypatch.delattr(os, "memfd_create")
    assert viommu(*BIND).status == 0
    overlay = Path("viommu/viommu.overlay").read_text()
    assert overlay == golden("demo.overlay", overlay)


def test_without_files_of_processes(viommu: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is there a /proc by which dtc could open one: FreeBSD, or a bare chroot."""
    there = os.path.exists
    monkeypatch.setattr(
        os.path, "exists", lambda path: not str(path).startswith("/proc/") and there(path)
    )
    assert viommu(*BIND).status == 0
    overlay = Path("viommu/viommu.overlay").read_text()
    assert overlay == golden("demo.overlay", overlay)


def test_without_process_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows has no killpg()."""
    monkeypatch.delattr(os, "killpg")
    process = subprocess.Popen(["sleep", "60"])
    end(process, is_session=True)
    assert process.returncode == -signal.SIGKILL


def test_without_sha256_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python whose module has another name yet."""
    for name in ("_sha2", "_sha256"):
        monkeypatch.setitem(sys.modules, name, None)
    # A copy of the module, as the module that is loaded has its name already.
    spec = importlib.util.spec_from_file_location("anew", digest.__file__)
    assert spec and spec.loader
    anew = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(anew)
    assert anew.sha256(b"x") == hashlib.sha256(b"x").hexdigest() == digest.sha256(b"x")


def test_without_jsonschema(viommu: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests alone need it: profiles of users are checked by the reader of viommu.yml."""
    monkeypatch.setitem(sys.modules, "jsonschema", None)
    shipped = (PACKAGE / "profiles" / "xen-rfc.yaml").read_text()
    Path("own.yml").write_text(shipped.replace('"name": "xen-rfc"', '"name": "own"'))
    for profile in ("xen-rfc", "own.yml"):
        assert viommu(*BIND, "--profile", profile).status == 0
