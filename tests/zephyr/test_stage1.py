# SPDX-License-Identifier: Apache-2.0
"""CONFIG_VIOMMU_STAGE1 on a machine with an SMMUv3 and no Xen: the sample, and Zephyr's own tests
of the driver (tests/zephyr/stage1).
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import threading

import pytest

from tests.support import CHECKOUT, QEMU, needs_program
from tests.zephyr.workspace import Workspace, needs_toolchain, needs_zephyr

pytestmark = [needs_zephyr, needs_toolchain, needs_program(*QEMU)]

SAMPLE = CHECKOUT / "samples" / "stage1"
ZTEST = CHECKOUT / "tests" / "zephyr" / "stage1"
FLAGS = "-DEXTRA_CFLAGS=-mno-outline-atomics"


FAULT = "E: /passthrough/edu@10000000: event 0x10 of stream 0x10"


def printed(workspace: Workspace, *command: str) -> list[str]:
    """Return what a command prints up to PASS, FAIL or the end of a test, or in two minutes. The
    command need not end by itself.
    """
    lines = []
    with subprocess.Popen(
        command,
        cwd=workspace.app,
        env=workspace.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        late = threading.Timer(120, os.killpg, (process.pid, signal.SIGKILL))
        late.start()
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line.rstrip())
            if re.match("PASS|FAIL|PROJECT EXECUTION", line):
                break
        late.cancel()
        os.killpg(process.pid, signal.SIGKILL)  # west, ninja and QEMU
    return lines


def test_the_sample_runs_in_qemu(workspace: Workspace) -> None:
    build = str(workspace.build)
    ran = workspace.run(
        *("west", "build", "-p", "always", "-b", "qemu_cortex_a53", "-d", build, str(SAMPLE)),
        *("--", FLAGS),
    )
    assert ran.status == 0, ran.log
    assert workspace.iommus() == {"/passthrough/edu@10000000": [["/iommu@9050000", 0x10]]}
    symbols = subprocess.run(
        ["nm", f"{build}/zephyr/zephyr.elf"], capture_output=True, text=True, check=True
    ).stdout
    source, target = (
        int(re.findall(f"^([0-9a-f]+) . {name}$", symbols, re.MULTILINE)[0], 16)
        for name in ("from", "to")
    )
    lines = printed(workspace, "west", "build", "-d", build, "-t", "run")
    start = next(i for i, line in enumerate(lines) if line.startswith("*** Booting Zephyr"))
    assert lines[start + 1 :] == [
        "/passthrough/edu@10000000: streams 1, the first 0x10, behind /iommu@9050000",
        "by its own addresses: all bytes moved, no fault",
        f"{FAULT} at 0x4000007000",
        "by an address that is not mapped: not moved, faults",
        f"{FAULT} at {source:#x}",
        f"{FAULT} at {target:#x}",
        "by the guest's addresses: not moved, faults",
        "by addresses that changed: all bytes moved, no fault",
        "PASS",
    ]


def test_the_sample_builds_for_xen(workspace: Workspace) -> None:
    ran = workspace.run(
        *("west", "build", "-p", "always", "-b", "xenvm//gicv3", "-d", str(workspace.build)),
        *(str(SAMPLE), "--", FLAGS),
    )
    assert ran.status == 0, ran.log
    assert re.findall(r"(?:viommu|edu|main)[^ ]*: warning: .*", ran.log) == []
    assert workspace.iommus() == {"/passthrough/edu@10000000": [["/iommu@4040000", 0x10]]}


@pytest.mark.parametrize("overlay", [None, "one-setting.overlay"], ids=["stream", "device"])
def test_the_driver_isolates_devices(overlay: str | None, workspace: Workspace) -> None:
    """By an SMMU with a setting for each stream, and as for a Xen with one for each device."""
    build = str(workspace.build)
    more = [f"-DEXTRA_DTC_OVERLAY_FILE={ZTEST / overlay}"] if overlay else []
    ran = workspace.run(
        *("west", "build", "-p", "always", "-b", "qemu_cortex_a53", "-d", build, str(ZTEST)),
        *("--", FLAGS, *more),
    )
    assert ran.status == 0, ran.log
    lines = printed(workspace, "west", "build", "-d", build, "-t", "run")
    assert lines[-1] == "PROJECT EXECUTION SUCCESSFUL", "\n".join(lines)
    assert "E: /passthrough/far@10100000: event 0x04 of stream 0xfff0 at 0x0" in lines


def test_devices_that_share_a_stream_are_refused(workspace: Workspace) -> None:
    """One entry of the stream table serves both, so that neither can have memory of its own."""
    app = workspace.app / "tests" / "zephyr" / "stage1"
    shutil.copytree(ZTEST, app)
    (workspace.app / "samples").symlink_to(SAMPLE.parent)
    for name in ("app.overlay", "host.dtsi"):
        text = (app / name).read_text()
        (app / name).write_text(text.replace("0xfff8", "0x10"))
    build = str(workspace.build)
    ran = workspace.run(
        *("west", "build", "-p", "always", "-b", "qemu_cortex_a53", "-d", build, str(app)),
        *("--", FLAGS),
    )
    assert ran.status == 0, ran.log
    lines = printed(workspace, "west", "build", "-d", build, "-t", "run")
    assert "E: /passthrough/near@10000000 and /passthrough/far@10100000 share stream 0x10" in lines
    assert lines[-1] == "PROJECT EXECUTION FAILED", "\n".join(lines)
