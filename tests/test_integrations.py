# SPDX-License-Identifier: Apache-2.0
"""What other builds take as it is: integrations/, which docs/build-step.md shows."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.support import CHECKOUT, DEMO, PACKAGE, Run
from west_viommu.__main__ import main
from west_viommu.names import MESSAGE_FORMS

INTEGRATIONS = CHECKOUT / "integrations"
PAGE = CHECKOUT / "docs" / "build-step.md"
needs_lopper = pytest.mark.skipif(
    importlib.util.find_spec("lopper") is None,
    reason="Lopper is not installed: `pip install lopper`, which the extra `test` does as well",
)


def lopper(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Lopper on the demo's host, with our assist."""
    command = [sys.executable, "-m", "lopper", "-f", "-A", str(INTEGRATIONS / "lopper")]
    command += [str(DEMO / "host.dts"), "--", "viommu", *arguments]
    path = os.pathsep.join([str(PACKAGE.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@needs_lopper
def test_the_lopper_assist_writes_what_bind_writes(viommu: Run, tmp_path: Path) -> None:
    profile = ("--profile", "xen-v3-dom0less")
    # Lopper parts its arguments at spaces.
    shutil.copy(DEMO / "guest.overlay", "guest.overlay")
    guest = "guest.overlay"
    ran = lopper(tmp_path, *profile, "-o", "by-lopper", guest)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    viommu("bind", "--host", DEMO / "host.dts", *profile, "-o", "by-us", guest)
    plans = [
        json.loads(Path(folder, "viommu.json").read_text()) for folder in ("by-lopper", "by-us")
    ]
    for plan in plans:
        del plan["files"]
        # Lopper's tree has phandles that the source has not.
        del plan["host"]["sha256"]
    assert plans[0] == plans[1]
    written = [sorted(os.listdir(folder)) for folder in ("by-lopper", "by-us")]
    assert written[0] == written[1]


@needs_lopper
def test_the_lopper_assist_refuses(tmp_path: Path) -> None:
    wrong = (DEMO / "guest.overlay").read_text().replace("<0x0 0x40>", "<0x0 0x41>")
    (tmp_path / "guest.overlay").write_text(wrong)
    ran = lopper(tmp_path, "-o", "out", "guest.overlay")
    assert ran.returncode == 1
    said = ran.stdout + ran.stderr
    assert "[ERROR]: guest.overlay:18: error: [stream-mismatch]" in said
    assert "hint: write iommus = " in said
    assert "Traceback" not in said
    assert not (tmp_path / "out").exists()


def test_each_file_is_shown_on_the_page() -> None:
    shown = set(re.findall(r"^<!-- the file \.\./(\S+) -->$", PAGE.read_text(), re.M))
    files = {
        str(file.relative_to(CHECKOUT))
        for file in (*INTEGRATIONS.rglob("*"), CHECKOUT / ".pre-commit-hooks.yaml")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert shown == files


def command_of(line: str) -> list[str]:
    """The arguments of the one `viommu` command in `line`."""
    _, _, arguments = line.partition("viommu ")
    return shlex.split(arguments)


def test_the_commands_of_the_files_are_right(viommu: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    # In the files, what stands for these is a word each.
    host, guest = (shutil.copy(DEMO / name, name) for name in ("host.dts", "guest.overlay"))
    (line,) = re.findall(
        r"^ +CPP=cpp (.*)$", (INTEGRATIONS / "yocto/viommu.bbclass").read_text(), re.M
    )
    values = {"HOST": host, "PROFILE": "xen-rfc", "DIR": "yocto", "GUEST": guest}
    for name, value in values.items():
        line = line.replace(f"${{VIOMMU_{name}}}", value)
    assert main(command_of(line)) == 0
    action = yaml.safe_load((INTEGRATIONS / "github/action.yml").read_text())
    step = action["runs"]["steps"][-1]
    assert set(re.findall(r"inputs\.(\w+)", json.dumps(step))) == set(action["inputs"])
    monkeypatch.setenv("VIOMMU_HOST_DTB", host)
    monkeypatch.setenv("VIOMMU_PROFILE", action["inputs"]["profile"]["default"])
    assert step["env"]["VIOMMU_ERRORS"] in MESSAGE_FORMS
    line = step["run"].replace("$VIOMMU_OUTPUT", "action").replace("$VIOMMU_GUEST", guest)
    assert main(command_of(line)) == 0
    (hook,) = yaml.safe_load((CHECKOUT / ".pre-commit-hooks.yaml").read_text())
    assert main([*command_of(hook["entry"]), "-o", "hook", guest]) == 0
    assert re.search(hook["files"], "boards/viommu.yml") and re.search(hook["files"], "app.overlay")
    for folder in ("yocto", "action", "hook"):
        assert Path(folder, "viommu.json").is_file()


def test_the_configuration_of_imagebuilder_names_what_bind_writes(viommu: Run) -> None:
    text = (INTEGRATIONS / "imagebuilder/config").read_text()
    checked = subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True)
    assert checked.returncode == 0, checked.stderr
    viommu("bind", "--host", DEMO / "host.dts", "-o", "out", DEMO / "guest.overlay")
    for name in re.findall(r"out/[\w.-]+", text):
        assert Path(name).is_file(), name
