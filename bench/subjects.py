# SPDX-License-Identifier: Apache-2.0
"""What is run on a host: our commands, and peers that do the same, or the least that it takes."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from bench.environments import CHECKOUT
from bench.hosts import Host
from bench.measure import Subject, clean_environment

BARE = "python -c pass"
LIST, LIST_JSON, BIND = "viommu list", "viommu list --format json", "viommu bind"
AUDIT, ASSIGN, SYSTEM = "viommu audit", "viommu assign", "viommu system"
PYLIBFDT, DTC, LOPPER = "pylibfdt", "dtc", "Lopper"
# Above the registers of any board, as not every tree states its RAM.
_RAM = "0x800000000000:0x40000000"
WEST, WEST_BIND = "west --version", "west viommu-bind"


def on_host(host: Host, project: Path, lopper: Path | None, folder: Path) -> list[Subject]:
    """The subjects for `host`. They write to `folder`, which is made. `project`, `lopper`: as
    environments.py has them.
    """
    folder.mkdir()
    viommu, python, dtc = project / "viommu", project / "python", shutil.which("dtc")
    commands: dict[str, list[str | Path]] = {
        BARE: [python, "-c", "pass"],
        LIST: [viommu, "list", "--host", host.blob],
        LIST_JSON: [viommu, "list", "--host", host.blob, "--format", "json"],
        PYLIBFDT: [python, CHECKOUT / "bench" / "read_pylibfdt.py", host.blob],
    }
    makes = {}
    if dtc:
        makes[DTC] = folder / "host.dts"
        commands[DTC] = [dtc, "-q", "-I", "dtb", "-O", "dts", "-o", makes[DTC], host.blob]
    if host.device:
        makes[BIND] = folder / "viommu" / "viommu.overlay"
        commands[BIND] = [viommu, "bind", "--host", host.bindable, host.guest]
    if host.audited:
        on = ("--host", host.bindable, "--profile", "xen")
        commands[AUDIT] = [viommu, "audit", *on, host.audited]
    if host.device and host.kernel and dtc:
        makes[ASSIGN] = folder / "assigned" / "xen.dtb"
        commands[ASSIGN] = [
            *(viommu, "assign", "--host", host.bindable, "--profile", "xen", host.device),
            *("--kernel", host.kernel, "--ram", _RAM, "-o", folder / "assigned"),
        ]
    if host.system:
        makes[SYSTEM] = folder / "system" / "system.json"
        commands[SYSTEM] = [viommu, "system", host.system, "-o", folder / "system"]
    if host.device and lopper:
        # Its job in our words: the node of the device, with what it refers to, as a partial tree
        # for Xen.
        makes[LOPPER] = folder / "extracted.dts"
        commands[LOPPER] = [
            *(lopper, "--permissive", "-f", host.bindable, folder / "lopper.dts"),
            *("--", "extract", "-t", host.device),
            *("--", "extract-xen", "-t", host.device.rpartition("/")[2], "-o", makes[LOPPER]),
        ]
    environment = clean_environment()
    return [
        Subject(name, list(map(str, command)), environment, folder, makes.get(name))
        for name, command in commands.items()
    ]


def with_west(project: Path, host: Host, folder: Path) -> list[Subject]:
    """`west viommu-bind` and the least that west can do, in a workspace in `folder`, on `host`."""
    environment = clean_environment(WEST_CONFIG_GLOBAL=str(folder / "none"))
    app = folder / "app"
    app.mkdir(parents=True)
    shutil.copy(CHECKOUT / "samples" / "demo" / "west.yml", app)
    # Where `west update` would put the project.
    (folder / "west-viommu").symlink_to(CHECKOUT)
    west = str(project / "west")
    quietly = {"check": True, "stdout": subprocess.DEVNULL, "cwd": folder, "env": environment}
    subprocess.run([west, "init", "-l", "app"], **quietly)  # type: ignore[call-overload]
    bind = [west, "viommu-bind", "--host", str(host.bindable), str(host.guest)]
    return [
        Subject(BARE, [str(project / "python"), "-c", "pass"], environment, app),
        Subject(WEST, [west, "--version"], environment, app),
        Subject(WEST_BIND, bind, environment, app, app / "viommu" / "viommu.overlay"),
    ]
